"""Servers and workers as processes of their own, in a directory with the code that they serve."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.children import ROOT
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    import signal
    from collections.abc import Mapping, Sequence

SERVED_SECONDS_MAX = 30.0
"""Such programs import much; how long a test waits for their start or end on a busy machine."""


class Served:
    """A command that runs until it is ended; killed, with its whole group, at a `with`'s end.

    Args:
        command: its arguments; the first is the name of a module for `python -m`.
        directory: where it runs.
        prefix: what it is started by.
    """

    def __init__(
        self,
        *command: object,
        directory: Path,
        env: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", *map(str, command)],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ
            | {"PYTHONUNBUFFERED": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{directory}"}
            | dict(env or {}),
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    @property
    def output(self) -> str:
        """What it has written so far."""
        return "".join(self._lines)

    def until(self, text: str, times: int = 1) -> None:
        """Wait until it has written that."""
        try:
            eventually(
                lambda: self.output.count(text) >= times or self.process.poll() is not None,
                SERVED_SECONDS_MAX,
            )
        finally:
            assert self.output.count(text) >= times, f"{text!r} did not come:\n{self.output}"

    def end(self, number: signal.Signals | None = None) -> int:
        """Wait for its end, after a signal if one is given; returns its exit code."""
        if number is not None:
            self.process.send_signal(number)
        code = self.process.wait(SERVED_SECONDS_MAX)
        self._reader.join(PATIENCE)
        return code

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_error: object) -> None:
        for pid in [*descendants(self.process.pid), self.process.pid]:
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                pass
        self.process.wait(SERVED_SECONDS_MAX)
        self._reader.join(PATIENCE)
        if self.process.stdout is not None:
            self.process.stdout.close()


def descendants(pid: int) -> list[int]:
    """The processes that it has started, and theirs; mostly the youngest last."""
    found = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False
    ).stdout
    parents = {int(pid): int(parent) for pid, parent in map(str.split, found.splitlines())}
    below = {pid}
    while more := {each for each, parent in parents.items() if parent in below} - below:
        below |= more
    return sorted(below - {pid})
