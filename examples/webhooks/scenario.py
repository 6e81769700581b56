"""The story: a receiver, a sender that is killed half-way, and the same sender again."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TypeVar

from jobqueue.final import Priority

from . import receiver, sender
from .audit import Audit, Record, audit
from .events import events
from .lines import LineReader
from .screen import LaneProgress, Screen

_STALL_SECONDS = 30.0  # without a word from a process, or without a delivery
_spawn = multiprocessing.get_context("spawn")  # a fork would take this one's state along
T = TypeVar("T")


class ScenarioError(Exception):
    """The run cannot go on: a process has ended, or nothing happens any more."""


@dataclass(frozen=True)
class Outcome:
    """What there is to tell at the end."""

    audit: Audit
    answers: Mapping[str, int]  # the receiver's, by status and text
    seconds: float
    lanes: Mapping[Priority, sender.Lane]  # of the sender's second life


@dataclass(frozen=True)
class _Child:
    """A process, and this end of the pipe to it."""

    name: str
    process: SpawnProcess
    pipe: Connection

    def check(self) -> None:
        if not self.process.is_alive():
            raise ScenarioError(f"the {self.name} has ended by itself: {self.process.exitcode}")

    def receive(self, kind: type[T]) -> T:
        """Return the next message, which must be of that type."""
        try:
            message = self.pipe.recv() if self.pipe.poll(_STALL_SECONDS) else None
        except (EOFError, ConnectionError):
            self.process.join(_STALL_SECONDS)
            self.check()
            raise
        if not isinstance(message, kind):
            raise ScenarioError(f"the {self.name} says nothing for {_STALL_SECONDS:g} s")
        return message


@contextmanager
def _child(name: str, main: Callable[..., None], *args: object) -> Iterator[_Child]:
    """Run `main(*args, pipe)` in a process, which gets a SIGKILL at the end of the block,
    whatever has led there: success, an error, Ctrl-C.
    """
    ours, theirs = _spawn.Pipe()
    process = _spawn.Process(target=main, args=(*args, theirs), daemon=True)
    # Ctrl-C reaches all processes of a terminal. The children inherit that they ignore it: this
    # process sees to them.
    ctrl_c = signal.signal(signal.SIGINT, signal.SIG_IGN)
    process.start()
    signal.signal(signal.SIGINT, ctrl_c)
    try:
        theirs.close()  # the child holds the only one now, so that its death closes the pipe
        yield _Child(name, process, ours)
    finally:
        process.kill()
        process.join()
        ours.close()


class Scenario:
    """One run, which keeps its files in the directory `home`."""

    def __init__(
        self, jobs: int, seed: int, durability: sender.Durability, home: Path, screen: Screen
    ) -> None:
        self._jobs = jobs
        self._seed = seed
        self._durability = durability
        self._home = home
        self._screen = screen
        self._priorities = {event.id: event.priority for event in events(jobs, seed)}
        self._answers = LineReader(home / "answers")
        self._record = Record()

    def run(self) -> Outcome:
        main = receiver.main
        with _child("receiver", main, self._seed, self._home / "answers") as subscribers:
            settings = sender.Settings(
                jobs=self._jobs,
                seed=self._seed,
                durability=self._durability,
                urls=subscribers.receive(dict),
                log=self._home / "jobs.db",
                acks=self._home / "acks",
            )
            return self._deliver(settings, subscribers)

    def _deliver(self, settings: sender.Settings, subscribers: _Child) -> Outcome:
        start = time.monotonic()
        with _child("sender", sender.main, settings) as child:
            self._screen.say(f"Sender {child.process.pid} starts.")
            for report in self._reports(child, subscribers):
                if len(self._record.taken) >= self._jobs / 2 or report.finished:
                    break
        self._screen.say(f"Sender {child.process.pid} got a SIGKILL. The next one takes over.")
        with _child("sender", sender.main, settings) as child:
            reports = self._reports(child, subscribers)
            last = next(report for report in reports if report.finished)
        seconds = time.monotonic() - start
        acks = LineReader(settings.acks).new()
        result = audit(self._priorities, acks, self._record, last.dead)
        return Outcome(result, self._record.answers, seconds, last.lanes)

    def _reports(self, child: _Child, subscribers: _Child) -> Iterator[sender.Report]:
        """Yield the sender's reports, with the record read and the progress shown up to each."""
        answered, since = 0, time.monotonic()
        while True:
            report = child.receive(sender.Report)
            subscribers.check()
            self._record.add(self._answers.new())
            self._screen.show(self._progress(report))
            yield report
            if answered < self._record.answers.total():
                answered, since = self._record.answers.total(), time.monotonic()
            elif time.monotonic() - since > _STALL_SECONDS:
                raise ScenarioError(f"nothing was delivered for {_STALL_SECONDS:g} s")

    def _progress(self, report: sender.Report) -> dict[Priority, LaneProgress]:
        total = Counter(self._priorities.values())
        delivered = Counter(self._priorities[event_id] for event_id in self._record.taken)
        dead = Counter(self._priorities[event_id] for event_id in report.dead)
        return {
            priority: LaneProgress(
                total[priority],
                delivered[priority],
                report.lanes[priority].retrying,
                dead[priority],
            )
            for priority in Priority
        }
