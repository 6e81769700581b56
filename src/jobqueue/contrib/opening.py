"""What the integrations have in common: settings that suit a server, and a dashboard's path."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..cli.database import dsn_given, on_postgres
from ..cli.suited import shared
from ..final import Config

if TYPE_CHECKING:
    from ..final.ports import Opener
    from ..tasks import Tasks


def suited(config: Opener | None, tasks: Tasks, *, on_loop: bool = False) -> Opener:
    """The settings with which a process of a server opens its queue.

    If nothing is said on `share`, the processes of the server have one queue together. Without
    settings the environment may name a database (`JOBQUEUE_DSN`).

    Args:
        on_loop: whether an event loop runs that coroutine tasks are for. They go there if nothing
            else is said: with threads, the default, they would be refused.
    """
    dsn = dsn_given() if config is None else None
    default: Opener = Config() if dsn is None else on_postgres(dsn)
    suited: Any = default if config is None else config
    if on_loop and suited.executor == "thread" and tasks.has_coroutines:
        suited = replace(suited, executor="asyncio")
    opener: Opener = shared(suited) if isinstance(suited, Config) else suited
    return opener


def check_dashboard(web: object, access: object, *, by_wsgi: bool = False) -> str | None:
    """The path of the dashboard; `None` if there is to be none.

    Args:
        by_wsgi: whether the application speaks WSGI.

    Raises:
        ValueError: of the two that it needs only one is given, or that is no path.
        ImportError: what it is made with is not installed.
    """
    if web is None and access is None:
        return None
    if web is None or access is None:
        raise ValueError(
            "to mount the dashboard give both: web, its path, and access, which says who may use it"
        )
    if not isinstance(web, str) or not web.startswith("/") or not web.strip("/"):
        raise ValueError(f"web is the dashboard's path, as in web='/jobs', not {web!r}")
    if not callable(access):
        raise TypeError(
            f"access must be a function of a request that returns 'none', 'read' or 'write', not "
            f"{access!r}"
        )
    extra = "wsgi" if by_wsgi else "web"
    for name in ("jinja2", "starlette", "uvicorn", *(("a2wsgi",) if by_wsgi else ())):
        if find_spec(name) is None:
            raise ImportError(
                f"the dashboard needs {name}, which is not installed: pip install "
                f"'jobqueue[{extra}]'",
                name=name,
            )
    return "/" + web.strip("/")
