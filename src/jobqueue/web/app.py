"""`dashboard`: the pages as an ASGI application, to be mounted or served.

The order in which a request is looked at is the same for each: who asks, whether another site sent
it, what is asked, with which parameters. So who may not look learns nothing.

Whose thread: the event loop's; what asks the queue is done in threads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from .actions import ACTIONS, OF_READERS
from .desk import Desk, page_error
from .errors import (
    MissingError,
    PageError,
    RefusedError,
    TooLargeError,
    WrongError,
    WrongMethodError,
)
from .files import file_response
from .formatting import as_text
from .rendering import render, render_error
from .reporting import ABOUT_NO_JOB, logger
from .sampling import Samples
from .security import HEADERS, access_of, check_host, check_origin
from .site import PAGES
from .threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import Receive, Scope, Send

    from ..final.ports import Queue
    from .security import Access, AccessCheck

FORM_BYTES_MAX = 262_144
FIELDS_MAX = 1000
QUERY_BYTES_MAX = 16_384
_FORM = "application/x-www-form-urlencoded"
_ASKED = ("metrics", "look", "info", "dead_groups", "handlers", "periodics", "paused")
"""The calls that pages look at a queue by."""


def dashboard(
    queue: Queue,
    *,
    access: AccessCheck | None = None,
    payload: Callable[[object], str] | bool | None = None,
    late_after: float = 300.0,
) -> Dashboard:
    """The dashboard of a queue, an ASGI application to be mounted under any path.

        app.mount("/jobs", dashboard(queue, access=who))

    Args:
        queue: the queue, or whatever else has the calls of `jobqueue.final.ports.Queue`.
        access: called with each request (Starlette's), it returns "none", "read" or "write"; a
            plain function is called in a thread, a coroutine function is awaited. If it raises,
            nobody gets in, and a log record tells why. Without it everybody who reaches the
            dashboard may look, and nobody may change anything.
        payload: what shows payloads and results: gets bytes, or a result, and returns text, as
            `as_text` does, which `True` stands for. Without it they are not shown, and not
            searched.
        late_after: seconds after which a job that waits is late: half of what you promise.

    Raises:
        TypeError: the queue lacks a call that pages need, or `access` or `payload` is no function.
        ValueError: `late_after` is no number of seconds.
    """
    return Dashboard(queue, access=access, payload=payload, late_after=late_after)


class Dashboard:
    """An ASGI application; `dashboard` makes it. Thread-safe, and for any number of event loops.

    Its first request starts a thread that notes once a second how the queue is. That ends with
    `close`, and when the application is dropped; it keeps neither the queue nor the process alive.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        access: AccessCheck | None = None,
        payload: Callable[[object], str] | bool | None = None,
        late_after: float = 300.0,
        local_only: bool = False,
    ) -> None:
        missing = [each for each in _ASKED if not callable(getattr(queue, each, None))]
        if missing:
            raise TypeError(
                f"the dashboard needs a queue, and {queue!r} has no {missing[0]}(); give it the "
                f"JobQueue itself, or tasks.queue"
            )
        if not _is_seconds(late_after):
            raise ValueError(
                f"late_after must be so many seconds, as in late_after=300, not {late_after!r}"
            )
        if access is not None and not callable(access):
            raise TypeError(
                f"access must be a function of a request that returns 'none', 'read' or 'write', "
                f"not {access!r}"
            )
        if isinstance(payload, bool):
            payload = as_text if payload else None
        if payload is not None and not callable(payload):
            raise TypeError(
                f"payload must be a function that returns text, or True for as_text, not "
                f"{payload!r}"
            )
        self._access = access
        self._local_only = local_only
        self._desk = Desk(queue, Samples(queue), payload, late_after)
        self._threads = Threads()

    def begin(self) -> None:
        """Begin to note how the queue is; the first request does it otherwise."""
        self._desk.samples.ensure()

    def close(self) -> None:
        """End the thread that notes how the queue is."""
        self._desk.samples.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["type"] != "http":  # a web socket, which there is none of
            await send({"type": "websocket.close", "code": 1000})
            return
        request = Request(scope, receive)
        response = await self._respond(request)
        for name, value in HEADERS.items():
            response.headers[name] = value
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        page = page_name(request.scope)
        level: Access = "none"
        try:
            if self._local_only:
                check_host(request)
            level = await access_of(self._access, request, self._threads)
            if level == "none":
                raise RefusedError("You may not see this dashboard.")
            if request.method == "POST":
                return await self._act(request, page, level)
            if request.method not in {"GET", "HEAD"}:
                raise WrongMethodError("Pages are asked for with GET.")
            return await self._show(request, page, level)
        except Exception as error:  # noqa: BLE001  # `_error` tells of it, or has it recorded
            return self._error(request, page, error, level)

    async def _show(self, request: Request, page: str | None, level: Access) -> Response:
        if page is None:  # the path has no slash at its end, by which links are found
            last = request.scope["path"].rstrip("/").rpartition("/")[2]
            query = request.scope["query_string"].decode("latin-1")
            return RedirectResponse(f"{quote(last)}/" + (f"?{query}" if query else ""), 307)
        if page.startswith("static/"):
            return file_response(page.removeprefix("static/"))
        if page not in PAGES:
            if page in ACTIONS:
                raise WrongMethodError("That is done by a button, and not by a link.")
            raise MissingError("The dashboard has no such page.")
        is_fragment = "hx-request" in request.headers
        if len(request.scope["query_string"]) > QUERY_BYTES_MAX:
            raise WrongError(f"The parameters have more than {QUERY_BYTES_MAX} bytes.")
        query = fields(request.scope["query_string"])
        body = await self._threads.run(render, self._desk, page, single(query), level, is_fragment)
        return HTMLResponse(body)

    async def _act(self, request: Request, page: str | None, level: Access) -> Response:
        if level != "write" and page not in OF_READERS:
            raise RefusedError("You may look at this queue, but not change anything.")
        check_origin(request)
        if page not in ACTIONS:
            if page is None or page in PAGES:
                raise WrongMethodError("A page is asked for with GET.")
            raise MissingError("There is no such button.")
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
            raise WrongError("That is no form of the dashboard.")
        form = fields(await _body(request))
        place = await self._threads.run(ACTIONS[page], self._desk, form)
        return RedirectResponse(place, 303)

    def _error(
        self, request: Request, page: str | None, error: Exception, level: Access
    ) -> Response:
        try:
            told = page_error(error)
        except Exception as unknown:  # noqa: BLE001  # it is told to those who run the program
            logger.error("the dashboard failed at %s", page, exc_info=unknown, extra=ABOUT_NO_JOB)
            told = PageError(
                f"The dashboard failed ({type(error).__name__}); the program's log tells where."
            )
        is_fragment = "hx-request" in request.headers
        depth = (page or "").count("/")
        body = render_error(told, level, is_fragment=is_fragment, base="../" * depth)
        headers = {}
        if told.status == 503 and request.method == "GET":
            headers["Refresh"] = "2"  # a browser without scripts asks again by itself, too
        if isinstance(told, WrongMethodError):
            headers["Allow"] = "POST" if page in ACTIONS else "GET, HEAD"
        return HTMLResponse(body, told.status, headers=headers)


def _is_seconds(value: object) -> bool:
    return isinstance(value, int | float) and value >= 0


def page_name(scope: Scope) -> str | None:
    """The page that a path is of; "" is the overview, `None` that without a slash at its end.

    A slash too many, as `f"{server.url}/jobs"` has it, does no harm.
    """
    path, root = scope["path"], scope.get("root_path", "").rstrip("/")
    # A proxy may have taken off what it serves the program under: then the path has only what the
    # program has mounted this under. Starlette tells of both.
    mounted = root.removeprefix(scope.get("app_root_path", "").rstrip("/"))
    for each in (root, mounted):
        if each and (path == each or path.startswith(f"{each}/")):
            path = path[len(each) :]
            break
    return path.lstrip("/") if path else None


def fields(data: bytes) -> list[tuple[str, str]]:
    """The fields of a query or a form.

    Raises:
        Wrong: they are none.
    """
    try:
        return parse_qsl(
            data.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=FIELDS_MAX
        )
    except ValueError:  # UnicodeDecodeError is one
        raise WrongError(
            "The parameters cannot be read: they are not UTF-8, or too many."
        ) from None


def single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Each field once.

    Raises:
        Wrong: one is there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        raise WrongError("A parameter is there twice.")
    return found


async def _body(request: Request) -> bytes:
    """The body of a request, no more than a form's.

    Raises:
        TooLargeError: it is larger.
        WrongError: it ends too early.
    """
    parts, total = [], 0
    try:
        async for part in request.stream():
            parts.append(part)
            total += len(part)
            if total > FORM_BYTES_MAX:
                raise TooLargeError(f"A form has at most {FORM_BYTES_MAX} bytes.")
    except ClientDisconnect:  # nobody reads this, and nothing is wrong here
        raise WrongError("The form did not come to its end.") from None
    return b"".join(parts)


async def _live(receive: Receive, send: Send) -> None:
    """Answer a server's lifespan: there is nothing to begin or end."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
