"""Clients of the servers that tests start."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import Any

from tests.support.served import SERVED_SECONDS_MAX
from tests.support.waiting import eventually


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


class Site:
    """A server on this machine."""

    def __init__(self, port: int) -> None:
        self._root = f"http://127.0.0.1:{port}"

    def ask(self, path: str, method: str = "GET", timeout: float = 10.0) -> tuple[int, Any]:
        """Status and JSON of an answer.

        Raises:
            OSError: there is none.
        """
        request = urllib.request.Request(self._root + path, method=method)
        try:
            with urllib.request.urlopen(request, timeout=timeout) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.loads(error.read() or b"null")

    def is_there(self, path: str = "/jobs/none") -> bool:
        """Whether it answers."""
        try:
            self.ask(path)
        except (OSError, ValueError):
            return False
        return True

    def until_there(self, path: str = "/jobs/none") -> None:
        """Wait until it answers."""
        eventually(lambda: self.is_there(path), SERVED_SECONDS_MAX)
