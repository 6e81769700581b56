"""The story: a receiver, a sender that is killed half-way, and the same sender again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from jobqueue.final import Priority

from ..children import STALL_SECONDS, Child, StoryError, child
from ..lines import LineReader
from ..screen import LaneProgress, Screen
from . import receiver, sender
from .audit import Audit, Record, audit
from .events import events


@dataclass(frozen=True)
class Outcome:
    """What there is to tell at the end."""

    audit: Audit
    answers: Mapping[str, int]  # the receiver's, by status and text
    seconds: float
    lanes: Mapping[Priority, sender.Lane]  # of the sender's second life


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
        with child("receiver", main, self._seed, self._home / "answers") as subscribers:
            settings = sender.Settings(
                jobs=self._jobs,
                seed=self._seed,
                durability=self._durability,
                urls=subscribers.receive(dict),
                log=self._home / "jobs.db",
                acks=self._home / "acks",
            )
            return self._deliver(settings, subscribers)

    def _deliver(self, settings: sender.Settings, subscribers: Child) -> Outcome:
        start = time.monotonic()
        with child("sender", sender.main, settings) as life:
            self._screen.say(f"Sender {life.process.pid} starts.")
            for report in self._reports(life, subscribers):
                if len(self._record.taken) >= self._jobs / 2 or report.finished:
                    break
        self._screen.say(f"Sender {life.process.pid} got a SIGKILL. The next one takes over.")
        with child("sender", sender.main, settings) as life:
            reports = self._reports(life, subscribers)
            last = next(report for report in reports if report.finished)
        seconds = time.monotonic() - start
        acks = LineReader(settings.acks).new()
        result = audit(self._priorities, acks, self._record, last.dead)
        return Outcome(result, self._record.answers, seconds, last.lanes)

    def _reports(self, life: Child, subscribers: Child) -> Iterator[sender.Report]:
        """Yield the sender's reports, with the record read and the progress shown up to each."""
        answered, since = 0, time.monotonic()
        while True:
            report = life.receive(sender.Report)
            subscribers.check()
            self._record.add(self._answers.new())
            self._screen.show(self._progress(report))
            yield report
            if answered < self._record.answers.total():
                answered, since = self._record.answers.total(), time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise StoryError(f"nothing was delivered for {STALL_SECONDS:g} s")

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
