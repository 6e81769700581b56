"""Clients of the servers that tests start."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.error
import urllib.request
from email.message import Message
from pathlib import Path
from typing import Any

from jobqueue import Config, Status, Tasks
from tests.support.served import SERVED_SECONDS_MAX
from tests.support.waiting import PATIENCE, eventually

PROCESS = "X-Process"
"""The header with the id of the process that answers."""


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def _content(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()


def _pid(headers: Message) -> int:
    return int(headers.get(PROCESS, 0))


class Site:
    """A server on this machine."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    def ask(self, path: str, method: str = "GET", timeout: float = 10.0) -> tuple[int, Any]:
        """Status and content of an answer: what its JSON stands for, or else text.

        Raises:
            OSError: there is none.
        """
        return self.ask_whom(path, method, timeout)[1:]

    def ask_whom(
        self, path: str, method: str = "GET", timeout: float = 10.0
    ) -> tuple[int, int, Any]:
        """The same, after the id of the process that answers, if `tests.support.shops` is served.

        Raises:
            OSError: there is no answer.
        """
        request = urllib.request.Request(self._root + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return _pid(answer.headers), answer.status, _content(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return _pid(error.headers), error.code, _content(error.read())

    def is_there(self, path: str = "/jobs/none") -> bool:
        """Whether it answers."""
        try:
            self.ask(path)
        except (OSError, http.client.HTTPException):
            return False
        return True

    def until_there(self, path: str = "/jobs/none") -> None:
        """Wait until it answers."""
        eventually(lambda: self.is_there(path), SERVED_SECONDS_MAX)


def statuses_after_a_start(log: Path, ids: list[str]) -> set[Status]:
    """Run what an example has left in its log, as its next start does; where these jobs stand."""
    tasks = Tasks()

    @tasks.task(name="send_mail", store_result=True)
    def send_mail(to: str) -> str:
        return f"sent to {to}"

    with tasks.open(Config(persist_path=log)) as queue:
        assert queue.join(PATIENCE)
        return {queue.status(each) for each in ids}
