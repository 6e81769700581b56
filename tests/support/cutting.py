"""A proxy on 127.0.0.1 that passes connections on, and cuts them all when it is told to."""

from __future__ import annotations

import socket
import threading


class Proxy:
    """Passes connections on to a port. Thread-safe.

    Attributes:
        port: where it listens.
        lets_in: whether new connections are passed on; else they are closed at once.
        passes: while it is not set nothing gets through, and nobody is told.
        cuts_after: all connections are cut in place of the answer to this, once.
    """

    def __init__(self, to: int) -> None:
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.lets_in = True
        self.passes = threading.Event()
        self.passes.set()
        self.cuts_after: bytes | None = None
        self._asked: socket.socket | None = None
        self._lock = threading.Lock()  # guards the list
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            if not self.lets_in:
                inner.close()
                continue
            outer = socket.create_connection(("127.0.0.1", self._to))
            with self._lock:
                self._open += [inner, outer]
            for ends in ((inner, outer, True), (outer, inner, False)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, asks: object) -> None:
        try:
            while data := source.recv(65536):
                self.passes.wait()
                if asks and self.cuts_after is not None and self.cuts_after in data:
                    self.cuts_after, self._asked = None, target
                if not asks and self._asked is source:
                    self._asked = None
                    self.cut()
                    return
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self, *, lets_in: bool = True) -> None:
        """Cut all connections."""
        self.lets_in = lets_in
        with self._lock:
            cut, self._open = self._open, []
        for each in cut:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            each.close()

    def close(self) -> None:
        """Cut all, and listen no more."""
        self.passes.set()
        self._listener.close()
        self.cut(lets_in=False)
