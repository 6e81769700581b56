"""Four processes that share a queue and enqueue into it, while whoever owns it is killed at random.

What has to hold in the end: each job that was accepted ran, none was accepted twice, and all
processes say the same of each.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from jobqueue.final import Config, JobQueue
from tests.support.children import Child
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

PROCESSES = 4
ASKED, KNOWN = 50, 20_000
"""How many jobs all are asked of, and of how many of the last: older ones may be forgotten."""


class Trial:
    """One run of it.

    Attributes:
        kills: how many owners were killed.
        accepted: the ids that `enqueue` returned, in their order.
    """

    def __init__(self, directory: Path, chance: Random) -> None:
        self.kills = 0
        self.accepted: list[str] = []
        self._log, self._runs, self._acks = (directory / name for name in ("jobs", "runs", "acks"))
        self._chance = chance
        self._names = iter(range(1_000_000))

    def run(self, kills: int, seconds: float) -> list[str]:
        """Kill so many owners, or as many as the time allows; returns what was not as it has to be.

        Raises:
            AssertionError: something did not come to an end.
        """
        deadline = time.monotonic() + seconds
        with ExitStack() as stack:
            children = [self._start(stack) for _ in range(PROCESSES)]
            while self.kills < kills and time.monotonic() < deadline:
                self._kill_owner(children)
                children.append(self._start(stack))
            for child in children:
                child.say("stop")
                assert child.line() == "stopped"
            self.accepted = self._acks.read_text().split("\n")[:-1]
            with JobQueue(Config(persist_path=self._log, share="client")) as client:
                assert client.join(12 * PATIENCE)
            return [*self._lost_or_doubled(), *self._told_differently(children)]

    def _start(self, stack: ExitStack) -> Child:
        name = f"process {next(self._names)}"
        child = Child("share", self._log, self._runs, self._acks, name)
        stack.enter_context(child)
        assert child.line() == "open"
        return child

    def _kill_owner(self, children: list[Child]) -> None:
        """At a random moment amid the load."""
        enough = self._size() + self._chance.randrange(2_000, 20_000)
        eventually(lambda: self._size() > enough, 6 * PATIENCE)
        pid = int((self._log / "LOCK").read_text())
        (owner,) = [child for child in children if child.process.pid == pid]
        owner.signal(signal.SIGKILL)
        owner.end()
        children.remove(owner)
        self.kills += 1

    def _size(self) -> int:
        return self._acks.stat().st_size if self._acks.exists() else 0

    def _lost_or_doubled(self) -> list[str]:
        ran = set(self._runs.read_text().split("\n"))
        twice = [job_id for job_id, count in Counter(self.accepted).items() if count > 1]
        return [
            *(f"{each} was accepted and never ran" for each in self.accepted if each not in ran),
            *(f"{each} was accepted more than once" for each in twice),
        ]

    def _told_differently(self, children: list[Child]) -> list[str]:
        problems = []
        last = self.accepted[-KNOWN:]
        for job_id in self._chance.sample(last, min(ASKED, len(last))):
            for child in children:
                child.say(job_id)
            if (told := {child.line() for child in children}) != {"completed"}:
                problems.append(f"{job_id} is said to be {told}")
        return problems
