"""Crashes for as long as one likes, each held to what the queue had promised by then.

    make torture                     for a minute
    make torture SECONDS=600         for ten
    make torture ARGS='--seed 7'     the rounds of that seed
    make torture ARGS='--round 7.12' one round again

A round is chosen by its name: the crash images of a recorded run and of the recoveries from them,
on a disk that may be full or whose fsyncs may fail; the same for jobs that are unique, wait for
others, expire, are limited or enqueue others, each image run to its end; kill -9 of a process, and
of the owners of a queue that four processes share; the power cut of a mounted file system, where
there is root and a loop device. What threads do in it differs from time to time, so that what a
broken promise was found in is kept. Ends with 1 where one was broken.
"""

from __future__ import annotations

import argparse
import errno
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from jobqueue.final.wal.format.base import HAVE_MSGSPEC
from tests.support import loop_disk
from tests.support.acknowledged import problems_of
from tests.support.children import Child, read_acks
from tests.support.crash_check import Revival, Verdict
from tests.support.crash_points import Point, points
from tests.support.crash_runs import WAYS, CrashRun, Way, small_windows
from tests.support.killed_owners import Trial
from tests.support.recording_files import CHANGES, SYNCS, RandomFaults
from tests.support.tied_runs import a_random_story, crashes, verify
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.support.ledger import Crash, Durability
    from tests.support.power_cut import Remains
    from tests.support.tied_runs import Story

AGAIN_MAX = 3
"""How deep recoveries of recoveries go."""
VIOLATIONS_MAX = 20
FSYNC_INTERVALS = (0.0005, 0.002, 0.02, 3600.0)
DURABILITIES: tuple[Durability, ...] = ("async", "write", "fsync")


@dataclass
class Tally:
    """What was done and what came of it."""

    images: int = 0
    recoveries: int = 0
    """Recoveries that were recorded in turn."""
    revivals: int = 0
    """Crashes after which a queue ran all that was there."""
    faults: int = 0
    kills: int = 0
    owners: int = 0
    """Kills of a process that owned a shared queue."""
    power_cuts: int = 0
    violations: list[str] = field(default_factory=list)
    skipped: set[str] = field(default_factory=set)

    def add(self, other: Tally) -> None:
        """Count another one in."""
        self.images += other.images
        self.recoveries += other.recoveries
        self.revivals += other.revivals
        self.faults += other.faults
        self.kills += other.kills
        self.owners += other.owners
        self.power_cuts += other.power_cuts
        self.violations += other.violations
        self.skipped |= other.skipped

    def __str__(self) -> str:
        return (
            f"{self.images:,} crash images recovered, {self.recoveries:,} recoveries crashed in "
            f"turn, {self.revivals:,} queues run after a crash, {self.faults:,} injected errors, "
            f"{self.kills:,} kills of a process, {self.owners:,} of an owner of a shared queue, "
            f"{self.power_cuts:,} power cuts of a mounted "
            f"disk; {len(self.violations)} violations"
        )


class Round:
    """One round.

    Args:
        name: decides what happens in it.
        deadline: when it is to end, in monotonic seconds.
    """

    def __init__(self, name: str, deadline: float) -> None:
        self.tally = Tally()
        self._name = name
        self._deadline = deadline
        self._rng = Random(name)

    def play(self) -> Tally:
        """Do it."""
        kinds = (self.images, self.ties, self.kills, self.power_cuts, self.owners)
        kind = self._rng.choices(kinds, (6, 4, 1, 1, 1))[0]
        try:
            with small_windows():
                kind()
        except Exception:  # whatever it is, it should not have been
            self._violate(traceback.format_exc())
        return self.tally

    @property
    def _is_over(self) -> bool:
        return time.monotonic() >= self._deadline or len(self.tally.violations) >= VIOLATIONS_MAX

    def _violate(self, problem: str) -> None:
        self.tally.violations.append(
            f"{problem}\n  again: make torture ARGS='--round {self._name}'"
        )

    # ── images ───────────────────────────────────────────────────────────────────────────────

    def images(self) -> None:
        """Record a queue, and recover from its crashes."""
        rng = self._rng
        way = rng.choice(WAYS)
        forgetful = rng.random() < 0.4
        interval = rng.choice(FSYNC_INTERVALS)
        with CrashRun(self._name, way, forgetful=forgetful, fsync_interval=interval) as run:
            run.files.inject = self._faults()
            run.open()
            run.script(rng.randrange(5, 50))
            if forgetful:
                run.until_compacted()
            run.close()
        self.tally.faults += run.files.injected
        self._crash(run, way, AGAIN_MAX)

    def _faults(self) -> RandomFaults | None:
        rng = self._rng
        rate = rng.choice((0.0, 0.0, 0.02, 0.1))
        numbers = dict.fromkeys(CHANGES, errno.ENOSPC)
        if rng.random() < 0.5:
            numbers |= dict.fromkeys(SYNCS, errno.EIO)
        return RandomFaults(rng, rate, numbers) if rate else None

    def _crash(self, run: CrashRun, way: Way, again: int) -> None:
        rng = self._rng
        chosen: list[tuple[Point, Verdict]] = []
        for point in points(run, rng, all_up_to=rng.choice((4, 16, 64)), samples=rng.randrange(4)):
            if self._is_over:
                return
            verdict = point.verdict()
            self.tally.images += 1
            for problem in verdict.problems:
                self._keep(run, point, problem)
            if not verdict.problems and rng.random() < 0.02:
                chosen.append((point, verdict))
        for point, verdict in rng.sample(chosen, min(len(chosen), 3)):
            self._go_on(point, verdict, way, again)

    def _go_on(self, point: Point, verdict: Verdict, way: Way, again: int) -> None:
        rng = self._rng
        revival = Revival(point.remains, verdict, way.durability, maps=way.mapped)
        for problem in revival.run():
            self._violate(f"a queue that is run after a crash: {problem}")
        self.tally.revivals += 1
        if again == 0 or self._is_over:
            return
        run = point.go_on(
            f"{self._name}.{again}",
            way,
            requests=rng.randrange(8),
            fsync_interval=rng.choice(FSYNC_INTERVALS),
            faults=self._faults(),
        )
        self.tally.recoveries += 1
        self.tally.faults += run.files.injected
        self._crash(run, way, again - 1)

    def _keep(self, run: CrashRun, point: Point, problem: str) -> None:
        """Write down what a promise was broken in."""
        place = Path(tempfile.mkdtemp(prefix="torture-"))
        for path, data in point.remains.image().items():
            if data is not None:
                (place / Path(path).name).write_bytes(data)
        told = [f"{index} {event!r}" for index, event in enumerate(run.files.events)]
        told += [f"{job_id}: {each}" for job_id, each in point.expected.items()]
        (place / "recording.txt").write_text("\n".join([problem, *told]), encoding="utf-8")
        self._violate(f"{point.crash} after {point.at} events: {problem}\n  kept in {place}")

    # ── jobs that are tied ───────────────────────────────────────────────────────────────────

    def ties(self) -> None:
        """Record a queue whose jobs are tied to others, and run what its crashes leave."""
        rng = self._rng
        way = rng.choice(WAYS)
        faults = None
        if rng.random() < 0.4:
            numbers = dict.fromkeys(CHANGES, errno.ENOSPC)
            faults = RandomFaults(rng, rng.choice((0.02, 0.1)), numbers)
        story = a_random_story(self._name, way, rng.randrange(5, 30), faults)
        self.tally.faults += story.files.injected
        for at, crash, remains in crashes(story, samples=rng.randrange(2)):
            if self._is_over:
                return
            self.tally.images += 1
            self.tally.revivals += 1
            try:
                verify(story, at, crash, remains)
            except AssertionError as error:
                self._keep_tied(story, f"{crash} after {at} events, {way}: {error}", remains)

    def _keep_tied(self, story: Story, problem: str, remains: Remains) -> None:
        place = Path(tempfile.mkdtemp(prefix="torture-"))
        for path, data in remains.image().items():
            if data is not None:
                (place / Path(path).name).write_bytes(data)
        told = [f"{index} {event!r}" for index, event in enumerate(story.files.events)]
        told += map(repr, story.promises)
        (place / "recording.txt").write_text("\n".join([problem, *told]), encoding="utf-8")
        self._violate(f"{problem}\n  kept in {place}")

    # ── real crashes ─────────────────────────────────────────────────────────────────────────

    def kills(self) -> None:
        """Kill a process that works, at any moment, several times over one log."""
        rng = self._rng
        durability = rng.choice(DURABILITIES)
        with tempfile.TemporaryDirectory() as directory:
            log, acks = Path(directory, "jobs.db"), Path(directory, "acks")
            for run in range(rng.randint(2, 5)):
                if self._is_over:
                    return
                with self._child(log, acks, durability, run) as child:
                    self._wait_for_work(child, acks, run)
                    child.signal(signal.SIGKILL)
                    child.end()
                self.tally.kills += 1
                self._hold(log, read_acks(acks), durability, "kill -9")

    def owners(self) -> None:
        """Kill the owners of a queue that four processes share."""
        if not HAVE_MSGSPEC:
            self.tally.skipped.add("no shared queues: msgspec is not installed")
            return
        with tempfile.TemporaryDirectory() as directory:
            trial = Trial(Path(directory), self._rng)
            problems = trial.run(
                self._rng.randint(2, 6), max(0.0, self._deadline - time.monotonic())
            )
            self.tally.owners += trial.kills
        for problem in problems:
            self._violate(f"a shared queue: {problem}")

    def power_cuts(self) -> None:
        """Cut the power of a mounted file system while a process works on it."""
        reason = loop_disk.missing()
        if reason:
            self.tally.skipped.add(f"no power cuts of a mounted disk: {reason}")
            return
        with ExitStack() as stack:
            directory = stack.enter_context(tempfile.TemporaryDirectory())
            try:
                disk = stack.enter_context(loop_disk.LoopDisk(Path(directory)))
            except OSError as error:
                self.tally.skipped.add(f"no power cuts of a mounted disk: {error}")
                return
            self._cut_power_of(disk, Path(directory, "acks"))

    def _cut_power_of(self, disk: loop_disk.LoopDisk, acks: Path) -> None:
        durability = self._rng.choice(DURABILITIES)
        with self._child(disk.root / "jobs.db", acks, durability, 0) as child:
            for _ in range(self._rng.randint(2, 5)):
                if self._is_over:
                    return
                self._wait_for_work(child, acks, 0)
                child.signal(signal.SIGSTOP)
                lines = read_acks(acks)
                with disk.after_power_cut() as place:
                    self._hold(place / "jobs.db", lines, durability, "power cut")
                self.tally.power_cuts += 1
                child.signal(signal.SIGCONT)

    def _child(self, log: Path, acks: Path, durability: Durability, run: int) -> Child:
        seed = self._rng.randrange(2**32)
        return Child("work_until_killed", log, acks, durability, f"run{run}", seed, "ties")

    def _wait_for_work(self, child: Child, acks: Path, run: int) -> None:
        """Until it has acknowledged some more, or for a moment of its start."""
        if self._rng.random() < 0.2:
            threading.Event().wait(self._rng.uniform(0.0, 0.5))
            return
        text = f" run{run}-".encode()

        def count() -> int:
            return acks.read_bytes().count(text) if acks.exists() else 0

        wanted = count() + self._rng.randint(1, 300)
        eventually(lambda: count() >= wanted or child.process.poll() is not None, 30)

    def _hold(self, log: Path, lines: list[str], durability: Durability, crash: Crash) -> None:
        for problem in problems_of(log, lines, durability, crash):
            self._violate(f"{crash}, {durability!r}: {problem}")


def play(name: str, deadline: float) -> Tally:
    """One round, in a process of its own."""
    return Round(name, deadline).play()


def torture(seed: int, seconds: float, jobs: int, tell: Callable[[str], None]) -> Tally:
    """Rounds until the time is over; violations are told as they come."""
    deadline = time.monotonic() + seconds
    total = Tally()
    running: set[Future[Tally]] = set()
    number = 0
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        while running or time.monotonic() < deadline:
            while len(running) < jobs and time.monotonic() < deadline:
                number += 1
                running.add(pool.submit(play, f"{seed}.{number}", deadline))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for each in done:
                _add(total, each.result(), tell)
            if len(total.violations) >= VIOLATIONS_MAX:
                deadline = 0.0
    return total


def _add(total: Tally, tally: Tally, tell: Callable[[str], None]) -> None:
    for line in (*sorted(tally.skipped - total.skipped), *tally.violations):
        tell(line)
    total.add(tally)


def main(args: Iterable[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="torture", description="Crashes, by seed.")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=None, help="which rounds (a random one)")
    parser.add_argument("--round", default=None, help="one round alone, by its name")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="how many at a time")
    options = parser.parse_args(None if args is None else list(args))
    started = time.monotonic()
    if options.round is not None:
        total = Tally()
        _add(total, play(options.round, started + options.seconds), print)
    else:
        seed = random.randrange(10**6) if options.seed is None else options.seed
        print(f"seed {seed}, {options.seconds:g} s", flush=True)
        total = torture(seed, options.seconds, options.jobs, _tell)
    print(f"{time.monotonic() - started:.0f} s: {total}")
    return 1 if total.violations else 0


def _tell(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
