"""An HTTP server with endpoints that fail in the ways of real ones, and a record of its own.

The faults are drawn from the seed, the event's id and the attempt, not from the clock. So the
same events meet the same faults in every run.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from socket import socket
from socketserver import TCPServer
from typing import Any

from ..lines import LineWriter


@dataclass(frozen=True)
class Endpoint:
    """What one subscriber is like; the shares are of its requests."""

    errors: float = 0.0  # answered 500
    limited: float = 0.0  # answered 429 with Retry-After
    late: float = 0.0  # taken, but answered after the sender has lost patience
    gone: bool = False  # unsubscribed: 410, always
    down_seconds: float = 0.0  # refuses connections at first


ENDPOINTS = {
    "ledger": Endpoint(errors=0.05),
    "shop": Endpoint(errors=0.01),
    "warehouse": Endpoint(down_seconds=3.0),
    "crm": Endpoint(limited=0.10),
    "archive": Endpoint(late=0.04),
    "analytics": Endpoint(errors=0.02),
    "closed": Endpoint(gone=True),
    "broken": Endpoint(errors=1.0),
}

_WORK_SECONDS = (0.04, 0.12)  # what an endpoint takes to do its work
_LATE_SECONDS = 1.5


@dataclass(frozen=True)
class Answer:
    """An HTTP status with its reason, sent after `seconds`."""

    status: HTTPStatus
    text: str = ""
    seconds: float = 0.0
    retry_after_seconds: int | None = None


def answer(endpoint: Endpoint, body: bytes, rng: Random) -> Answer:
    """Decide what becomes of one request."""
    work_seconds = rng.uniform(*_WORK_SECONDS)
    chance = rng.random()
    if endpoint.gone:
        return Answer(HTTPStatus.GONE, "unsubscribed", work_seconds)
    if missing := [name for name, value in json.loads(body)["data"].items() if value is None]:
        return Answer(HTTPStatus.BAD_REQUEST, f"{missing[0]} is missing", work_seconds)
    if chance < endpoint.errors:
        return Answer(HTTPStatus.INTERNAL_SERVER_ERROR, seconds=work_seconds)
    if chance < endpoint.limited:
        return Answer(HTTPStatus.TOO_MANY_REQUESTS, seconds=0.0, retry_after_seconds=1)
    late = chance < endpoint.late
    return Answer(HTTPStatus.OK, "late" if late else "", _LATE_SECONDS if late else work_seconds)


class Receiver:
    """Answers requests, and writes each answer down before it is sent.

    It knows a delivery by its Idempotency-Key: the second of one event is thanked for, no more.
    """

    def __init__(self, seed: int, record: LineWriter) -> None:
        self._seed = seed
        self._record = record
        self._mutex = threading.Lock()  # guards the two below
        self._attempts: Counter[str] = Counter()
        self._taken: set[str] = set()

    def take(self, path: str, key: str, body: bytes) -> Answer:
        with self._mutex:
            result = self._decide(ENDPOINTS[path.removeprefix("/hooks/")], key, body)
            self._attempts[key] += 1
            if result.status == HTTPStatus.OK:
                self._taken.add(key)
        self._record.add(f"{key} {result.status} {result.text}".rstrip())
        return result

    def _decide(self, endpoint: Endpoint, key: str, body: bytes) -> Answer:
        if key in self._taken:
            return Answer(HTTPStatus.OK, "again")
        return answer(endpoint, body, Random(f"{self._seed} {key} {self._attempts[key]}"))


class _Request(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # keep-alive
    wbufsize = -1  # head and body leave in one packet
    server: Server

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:  # the sender died in the middle of it
            self.close_connection = True
            return
        result = self.server.receiver.take(self.path, self.headers["Idempotency-Key"], body)
        time.sleep(result.seconds)
        text = result.text.encode()
        self.send_response(result.status)
        self.send_header("Content-Length", str(len(text)))
        if result.retry_after_seconds is not None:
            self.send_header("Retry-After", str(result.retry_after_seconds))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the record tells it all."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128  # every worker of the sender may connect at once

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", 0), _Request, bind_and_activate=False)
        self.receiver = receiver
        self.server_bind()  # has its port now, but refuses connections until it is activated

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # HTTPServer's would ask the resolver for this host's name

    def url(self, endpoint: str) -> str:
        host, port = self.socket.getsockname()
        return f"http://{host}:{port}/hooks/{endpoint}"

    def open(self, after_seconds: float) -> None:
        timer = threading.Timer(after_seconds, self._serve)
        timer.daemon = True
        timer.start()

    def _serve(self) -> None:
        self.server_activate()
        self.serve_forever()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """A sender that lost patience, or was killed, has hung up: that is expected."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def main(seed: int, record: Path, parent: Connection) -> None:
    """Serve until the parent goes away; tell it each endpoint's URL first."""
    with LineWriter(record) as writer:
        receiver = Receiver(seed, writer)
        servers = {down: Server(receiver) for down in {e.down_seconds for e in ENDPOINTS.values()}}
        for down_seconds, server in servers.items():
            server.open(down_seconds)
        parent.send(
            {name: servers[endpoint.down_seconds].url(name) for name, endpoint in ENDPOINTS.items()}
        )
        try:
            parent.recv()  # nothing is ever sent: returns when the other end closes
        except EOFError:
            pass
