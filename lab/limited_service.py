"""A web service with a limit of its own: what is too much it answers with 429 and `Retry-After`."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol, cast

CALL_SECONDS_MAX = 30.0


class Limiter(Protocol):
    """Says which requests are too many. Not thread-safe: the service holds its lock."""

    def admit(self, now: float) -> float:
        """Take a request, and return 0; or take none, and return in how many seconds to come."""


class Window:
    """Takes at most `count` requests in any `seconds`, and looks back that far."""

    def __init__(self, count: int, seconds: float) -> None:
        self._seconds = seconds
        self._taken: deque[float] = deque((-math.inf,) * count, maxlen=count)

    def admit(self, now: float) -> float:
        """See `Limiter`."""
        wait = self._taken[0] + self._seconds - now
        if wait > 0:
            return wait
        self._taken.append(now)
        return 0.0


class Bucket:
    """Takes `count` requests at a stroke, and gets room for as many again within `seconds`."""

    def __init__(self, count: int, seconds: float) -> None:
        self._count = count
        self._per_second = count / seconds
        self._tokens = float(count)
        self._looked = -math.inf

    def admit(self, now: float) -> float:
        """See `Limiter`."""
        new = (now - self._looked) * self._per_second
        self._tokens = min(self._count, self._tokens + new)
        self._looked = now
        if self._tokens < 1:
            return (1 - self._tokens) / self._per_second
        self._tokens -= 1
        return 0.0


@dataclass(frozen=True)
class Call:
    """A request that has come: for which job, and whether it was taken."""

    job: str
    taken: bool


class LimitedService(ThreadingHTTPServer):
    """The service, on a free port of this machine; a thread for each request.

    Args:
        limiter: says what is too much.
        work_seconds: how long it takes to do what it has taken. To refuse takes no time.
        second: how long a second of `Retry-After` lasts; less than 1 for runs that are quick.

    Attributes:
        calls: all requests that have come, in order.
        at_once_max: how many of them it had to do at once, at most.
    """

    daemon_threads = False  # its end waits for them
    request_queue_size = 128

    def __init__(self, limiter: Limiter, work_seconds: float, second: float = 1.0) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.calls: list[Call] = []
        self.at_once_max = 0
        self._at_once = 0
        self._lock = threading.Lock()  # guards what is above, and the limiter
        self._limiter = limiter
        self._work_seconds = work_seconds
        self._second = second

    def serve(self, job: str) -> int:
        """Do what was asked for; or return how many seconds to wait before the next try, >= 1."""
        with self._lock:
            wait = self._limiter.admit(time.monotonic())
            self.calls.append(Call(job, taken=wait <= 0))
            if wait > 0:
                return max(1, math.ceil(wait / self._second))
            self._at_once += 1
            self.at_once_max = max(self.at_once_max, self._at_once)
        time.sleep(self._work_seconds)
        with self._lock:
            self._at_once -= 1
        return 0


class _Answer(BaseHTTPRequestHandler):
    """One request: its body is the job."""

    def do_POST(self) -> None:
        job = self.rfile.read(int(self.headers["Content-Length"])).decode()
        seconds = cast("LimitedService", self.server).serve(job)
        self.send_response(HTTPStatus.TOO_MANY_REQUESTS if seconds else HTTPStatus.OK)
        if seconds:
            self.send_header("Retry-After", str(seconds))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def running(service: LimitedService) -> Iterator[LimitedService]:
    """Have it serve for as long as the block runs."""
    thread = threading.Thread(target=service.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield service
    finally:
        service.shutdown()
        thread.join()
        service.server_close()


class TooManyRequestsError(Exception):
    """The service answered 429; `retry_after` is what it said, in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"too many requests; retry after {retry_after} s")
        self.retry_after = retry_after


def call(port: int, job: bytes) -> None:
    """One request to the service on that port of this machine.

    Raises:
        TooManyRequestsError: it was refused.
    """
    connection = HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS_MAX)
    try:
        connection.request("POST", "/", body=job)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    if answer.status == HTTPStatus.TOO_MANY_REQUESTS:
        raise TooManyRequestsError(int(answer.headers["Retry-After"]))
    if answer.status != HTTPStatus.OK:
        raise OSError(f"the service answered {answer.status}")
