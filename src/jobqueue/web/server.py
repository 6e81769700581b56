"""`serve_dashboard`: the dashboard on a port of this machine, on a thread of its own."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Self

import uvicorn

from .app import Dashboard
from .security import is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from ..final.ports import Queue
    from .security import AccessCheck

_END_SECONDS = 1
"""How long the end of the server waits for answers that are being written."""
_PORT_MAX = 65_535


class DashboardServer:
    """A dashboard that is served; `close` ends it, and so does the end of a `with` block.

    Its thread is a daemon: it does not keep the process alive. Thread-safe.

    Attributes:
        url: where it is.
    """

    def __init__(self, app: Dashboard, listener: socket.socket, host: str) -> None:
        self._app = app
        self._listener = listener
        port = listener.getsockname()[1]
        self.url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        settings = uvicorn.Config(
            app,
            lifespan="off",
            log_config=None,
            log_level="warning",
            access_log=False,
            server_header=False,
            # A page that is open in a browser keeps a connection, but holds nothing up.
            timeout_graceful_shutdown=_END_SECONDS,
            ws="none",
        )
        # On a thread that is not the main one it leaves signals to the program.
        self._server = uvicorn.Server(settings)
        self._thread = threading.Thread(target=self._run, name="jobqueue-web", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self._server.run(sockets=[self._listener])

    def close(self) -> None:
        """End the server: answers that are being written are finished, up to a second."""
        self._server.should_exit = True
        if threading.current_thread() is not self._thread:
            self._thread.join()
        self._listener.close()
        self._app.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None:
        self.close()


def serve_dashboard(
    queue: Queue,
    *,
    host: str = "127.0.0.1",
    port: int = 8099,
    access: AccessCheck | None = None,
    payload: Callable[[object], str] | bool | None = None,
    late_after: float = 300.0,
) -> DashboardServer:
    """Serve the dashboard of a queue on a thread of its own, until it is closed.

    Close it before the queue: `with queue, serve_dashboard(queue) as server: ...`.

    Args:
        queue: the queue, or whatever else has the calls of `jobqueue.final.ports.Queue`.
        host: the address; beyond this machine `access` has to be given.
        port: 0 takes a free one; `url` tells it.
        access: as for `dashboard`. Without it everybody on this machine may look, and nobody may
            change anything.
        payload: as for `dashboard`.
        late_after: as for `dashboard`.

    Raises:
        TypeError: the address is no text, or as for `dashboard`.
        ValueError: the address is beyond this machine, and `access` is not given; there is no such
            port; or as for `dashboard`.
        OSError: the port is taken.
    """
    if not isinstance(host, str):
        raise TypeError(f"host must be a name or an address, as in host='0.0.0.0', not {host!r}")
    if access is None and not is_loopback(host):
        raise ValueError(
            f"serve_dashboard(host={host!r}) would show the queue to everybody who reaches this "
            f"machine; say who may see it, as in access=lambda request: 'read' if "
            f"request.headers.get('authorization') == ... else 'none', or leave host out"
        )
    if not _is_port(port):
        raise ValueError(
            f"port must be a number from 0 to {_PORT_MAX}, as in port=8099, not {port!r}; 0 takes "
            f"a free one"
        )
    app = Dashboard(
        queue,
        access=access,
        payload=payload,
        late_after=late_after,
        local_only=is_loopback(host),
    )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    app.begin()
    return DashboardServer(app, listener, host)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= _PORT_MAX
