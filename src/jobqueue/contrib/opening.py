"""What the integrations have in common: settings that suit a server, and what is not there yet."""

from __future__ import annotations

from dataclasses import replace
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


def refuse_dashboard(web: object, access: object) -> None:
    """Say that the dashboard is not there, if it is asked for.

    Raises:
        ValueError: of the two that it needs only one is given.
        ImportError: this release does not have it.
    """
    if web is None and access is None:
        return
    if web is None or access is None:
        raise ValueError(
            "to mount the dashboard give both: web, its path, and access, which says who may use it"
        )
    raise ImportError(
        "the dashboard (web=..., access=...) is not part of this release of jobqueue: there is no "
        "jobqueue.web; leave both out",
        name="jobqueue.web",
    )
