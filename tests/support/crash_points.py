"""The crashes of a recorded run: what each could leave, and what was promised by then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.crash_check import Verdict, examine
from tests.support.crash_runs import CrashRun, Way
from tests.support.power_cut import Disk, Remains, power_cuts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from random import Random

    from tests.support.ledger import Crash, Expected, Ledger
    from tests.support.recording_files import RecordingFiles


@dataclass(frozen=True)
class Point:
    """One crash.

    Attributes:
        at: after how many events it came.
        remains: what it left.
        expected: what may be found of each job.
        running: the jobs that must be known to have been running.
    """

    at: int
    crash: Crash
    remains: Remains
    expected: Mapping[str, Expected]
    running: frozenset[str]
    ledger: Ledger

    def verdict(self) -> Verdict:
        """Recover from it."""
        return examine(
            self.remains,
            self.expected,
            running=self.running,
            forgetful=self.ledger.forgetful,
        )

    def go_on(
        self,
        seed: int | str,
        way: Way,
        *,
        requests: int,
        fsync_interval: float = 0.002,
        faults: Callable[[str], int] | None = None,
    ) -> CrashRun:
        """Record a queue that is opened over what the crash left, and has ended by now.

        Args:
            faults: has calls of the disk fail, see `RecordingFiles.inject`.
        """
        files = self.remains.files(maps=way.mapped, sync_seconds=0)
        files.inject = faults
        run = CrashRun(
            seed,
            way,
            forgetful=self.ledger.forgetful,
            files=files,
            ledger=self.ledger.inherited(files, self.at, self.crash),
            fsync_interval=fsync_interval,
        )
        with run:
            run.open()
            run.script(requests)
            run.close()
        return run


def points(run: CrashRun, rng: Random, *, all_up_to: int, samples: int) -> Iterator[Point]:
    """The crashes of a run that has ended, each different one once; see `power_cuts`."""
    told: set[int] = set()
    for point in _all_points(run.files, run.ledger, rng, all_up_to, samples):
        promised = tuple((each.first, each.last) for each in point.expected.values())
        image = point.remains.image()
        key = hash((point.crash, promised, frozenset(image.items()), point.running))
        if key not in told:
            told.add(key)
            yield point


def _all_points(
    files: RecordingFiles, ledger: Ledger, rng: Random, all_up_to: int, samples: int
) -> Iterator[Point]:
    disk = Disk(files)
    nobody: frozenset[str] = frozenset()
    before, running_before = ledger.expected(files.started, "kill -9"), nobody
    for at in range(files.started, files.now() + 1):
        disk.advance(at)
        for remains in disk.killed_within(rng) if at > files.started else ():
            yield Point(at - 1, "kill -9", remains, before, running_before, ledger)
        before, running_before = ledger.expected(at, "kill -9"), frozenset(ledger.running(at))
        yield Point(at, "kill -9", disk.killed_after(), before, running_before, ledger)
        promised = ledger.expected(at, "power cut")
        for remains in power_cuts(disk, rng, all_up_to=all_up_to, samples=samples):
            yield Point(at, "power cut", remains, promised, nobody, ledger)
