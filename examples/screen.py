"""What the user sees: bars on a terminal, plain lines elsewhere, and tables at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from jobqueue.final import Priority

_LINE_SECONDS = 1.0


@dataclass(frozen=True)
class LaneProgress:
    """How far the events of one priority are."""

    total: int
    delivered: int
    retrying: int
    dead: int


LanesProgress = Mapping[Priority, LaneProgress]


class Screen:
    """Plain lines, one a second: for a log file or a pipe."""

    def __init__(self) -> None:
        self.console = Console(highlight=False)
        self._start = time.monotonic()
        self._next_line = self._start

    def say(self, text: str) -> None:
        self.console.print(text)

    def show(self, lanes: LanesProgress) -> None:
        now = time.monotonic()
        if now < self._next_line:
            return
        self._next_line = now + _LINE_SECONDS
        each = "; ".join(f"{priority.name.lower()} {_line(lanes[priority])}" for priority in lanes)
        self.console.print(f"{now - self._start:5.1f} s  {each}", soft_wrap=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to put back."""


class Bars(Screen):
    """A bar for each priority: for a terminal."""

    def __init__(self) -> None:
        super().__init__()
        self._bars = Progress(
            TextColumn("{task.description:<6}"),
            BarColumn(),
            TextColumn("{task.fields[line]}"),
            TimeElapsedColumn(),
            console=self.console,
        )
        self._tasks: dict[Priority, TaskID] = {}

    def show(self, lanes: LanesProgress) -> None:
        for priority, lane in lanes.items():
            if priority not in self._tasks:
                name = priority.name.title()
                self._tasks[priority] = self._bars.add_task(name, total=lane.total, line="")
            done = lane.delivered + lane.dead
            self._bars.update(self._tasks[priority], completed=done, line=_line(lane))

    def __enter__(self) -> Self:
        self._bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._bars.stop()


def _line(lane: LaneProgress) -> str:
    done = f"{lane.delivered}/{lane.total} delivered"
    return f"{done}, {lane.retrying} retrying, {lane.dead} dead"


def open_screen() -> Screen:
    return Bars() if sys.stdout.isatty() else Screen()
