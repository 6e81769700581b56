"""Who may do what, and what a browser is told so that other pages can do nothing.

No state, no lock; what is here is called on the event loop.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from .errors import RefusedError
from .reporting import ABOUT_NO_JOB, logger

if TYPE_CHECKING:
    from starlette.requests import Request

    from .threads import Threads

Access = Literal["none", "read", "write"]
"""What a request may do: see nothing, look, or also act."""
AccessCheck = Callable[["Request"], "Access | Awaitable[Access]"]

LEVELS: tuple[Access, ...] = ("none", "read", "write")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    # With "no-referrer" a browser would hide the Origin of the dashboard's own forms, too.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}


async def access_of(check: AccessCheck | None, request: Request, threads: Threads) -> Access:
    """What this request may do.

    Raises:
        RefusedError: the user's function failed, or gave no such word: then nobody may do anything,
            and a log record tells why.
    """
    if check is None:
        return "read"
    try:
        return await _answer(check, request, threads)
    except Exception as error:  # it is the user's code
        logger.exception(
            "nobody may use the dashboard, for access(request) failed", extra=ABOUT_NO_JOB
        )
        raise RefusedError(
            f"Who may see this dashboard cannot be told ({type(error).__name__}); the program's "
            f"log tells why."
        ) from error


async def _answer(check: AccessCheck, request: Request, threads: Threads) -> Access:
    """What the user's function says; raises what that raises, or `ValueError` if it says nothing
    that is known.
    """
    if inspect.iscoroutinefunction(check):
        level = await check(request)
    else:  # it may ask a database
        level = await threads.run(check, request)
        if inspect.isawaitable(level):
            level = await level
    if level not in LEVELS:
        raise ValueError(f"access(request) must return 'none', 'read' or 'write', not {level!r}")
    return LEVELS[LEVELS.index(level)]


def check_origin(request: Request) -> None:
    """Raises `RefusedError` if another site may have sent this form."""
    sites = request.headers.getlist("sec-fetch-site")
    if sites:
        if sites != ["same-origin"]:
            raise RefusedError(
                "This was sent by another site, or by another page of this one, so nothing was "
                "done. Open the dashboard and press the button there."
            )
        return
    origins = request.headers.getlist("origin")
    hosts = request.headers.getlist("host")
    if len(origins) != 1 or len(hosts) != 1 or _host_of(origins[0]) != hosts[0].lower():
        raise RefusedError(
            "The browser did not say that this comes from the dashboard itself (Sec-Fetch-Site, "
            "or an Origin that is the Host), so nothing was done. If a proxy stands before it, "
            "have that pass on the Host header."
        )


def _host_of(origin: str) -> str | None:
    try:
        parts = urlsplit(origin)
    except ValueError:  # it is none
        return None
    return parts.netloc.lower() if parts.scheme in {"http", "https"} else None


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a server at this address."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:  # another name
        return False


def check_host(request: Request) -> None:
    """Raises `RefusedError` if a name of somewhere else was made to lead to this machine.

    A page of another site whose name is then changed to 127.0.0.1 has the same origin as we have,
    for its browser. But it cannot have the name of this machine.
    """
    try:
        name = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:  # it is none
        name = ""
    if not is_loopback(name):
        raise RefusedError(
            "This dashboard serves this machine alone, so it has to be asked for as localhost or "
            "127.0.0.1. To have it under another name, mount dashboard(queue, access=...) in an "
            "application, or give serve_dashboard that host, and access."
        )
