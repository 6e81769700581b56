"""Runs `jobqueue log` in this process and keeps what it said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.cli import main

if TYPE_CHECKING:
    import pytest

    from tests.support.logs import LogDirectory


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit code, and the two streams."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line, without the spaces at the ends."""
        return [line.rstrip() for line in self.out.splitlines()]

    @property
    def objects(self) -> list[Any]:
        """The JSON objects that it printed."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> Any:
        """The one JSON object that it printed."""
        (only,) = self.objects
        return only


class Command:
    """Runs `jobqueue log NAME` on a log."""

    def __init__(self, log: LogDirectory, capsys: pytest.CaptureFixture[str]) -> None:
        self.log = log
        self._capsys = capsys

    def __call__(self, name: str, *options: str, path: str | None = None) -> Outcome:
        """Run a command with options on the log, or on what is at another path."""
        self._capsys.readouterr()
        where = str(self.log.path) if path is None else path
        code = main(["log", name, *options, where])
        return Outcome(int(code), *self._capsys.readouterr())
