"""The dashboard in a Django project, for those whom the admin site lets see background jobs.

    # asgi.py
    django = get_asgi_application()
    application = Starlette(routes=[Mount("/jobs", dashboard()), Mount("/", django)])

    # wsgi.py
    django = get_wsgi_application()
    application = mount_wsgi("/jobs", django)

Whose thread: one of the dashboard's own asks for the session and the user, with a database
connection that is closed when it is done.
"""

from __future__ import annotations

import asyncio
import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth import get_user
from django.db import close_old_connections, connections
from django.http import HttpRequest

from .queues import DEFAULT, queues

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ...web import Access

__all__ = ["dashboard", "mount_wsgi", "staff_access"]


def staff_access(request: Request) -> Access:
    """What the user of Django's session may do: as in the admin site.

    Staff with the permission `change` of background jobs may act, those with `view` may look, and
    nobody else sees anything. It reads the session's cookie, as Django does.
    """
    close_old_connections()
    try:
        engine: Any = import_module(settings.SESSION_ENGINE)
        django = HttpRequest()
        django.session = engine.SessionStore(request.cookies.get(settings.SESSION_COOKIE_NAME))
        user = get_user(django)
        if not (user.is_active and user.is_staff):
            return "none"
        if user.has_perm("jobqueue.change_backgroundjob"):
            return "write"
        return "read" if user.has_perm("jobqueue.view_backgroundjob") else "none"
    finally:
        connections.close_all()  # the thread is not one of Django's, which would close them


def dashboard(alias: str = DEFAULT, *, payload: Callable[[object], str] | None = None) -> ASGIApp:
    """The dashboard of a queue of the settings, an ASGI application.

    The first request opens the queue, so in the process that answers it.

    Args:
        alias: which of the queues.
        payload: as for `jobqueue.web.dashboard`.
    """
    from ...web import dashboard as pages

    opened: dict[int, ASGIApp] = {}  # by process: a fork has to open its own

    def made() -> ASGIApp:
        return pages(queues.get(alias), access=staff_access, payload=payload)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if os.getpid() not in opened:
            fresh = await asyncio.to_thread(made)
            opened.setdefault(os.getpid(), fresh)
        await opened[os.getpid()](scope, receive, send)

    return answer


def mount_wsgi(path: str, app: Any, alias: str = DEFAULT) -> Any:
    """A WSGI application with the dashboard under a path, and Django's beside it.

    The first request for the dashboard opens the queue. It needs the extra `wsgi`.

    Args:
        path: as "/jobs".
        app: what `get_wsgi_application` returned.
    """
    from ..mounting import WsgiDashboard
    from ..opening import check_dashboard

    checked = check_dashboard(path, staff_access, by_wsgi=True)
    return WsgiDashboard(app, checked or path, lambda: queues.get(alias), staff_access)
