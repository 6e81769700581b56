"""Where a job's time goes: processor time of its steps, and how often threads take turns."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from resource import RUSAGE_SELF, getrusage

from benchmarks import loads
from benchmarks.figures.throughput import (
    EXECUTOR,
    JOBS,
    JOBS_FSYNCED,
    LEVELS,
    QUEUE,
    counted_syncs,
    new_paths,
)
from benchmarks.loads import PAYLOAD, config_for, drive
from benchmarks.measure import Figure, Findings, Samples, cpu_seconds
from jobqueue.final import Job, JobQueue
from jobqueue.final.config import Durability

STEPS = ("Job()", "enqueue", "start, handler, end")
QUEUED = 1_000
ROUNDS = 9
PRODUCERS = (1, 64)
FLOOR = "the floor"


def costs() -> Findings:
    """Steps one by one, with nothing beside them; then all together."""
    steps = _steps()
    turns, figures = _turns()
    return Findings(figures, {"steps": steps, "turns": turns})


# ── steps ────────────────────────────────────────────────────────────────────────────────────


def _steps() -> dict[str, dict[str, float]]:
    """By level, what each step costs in microseconds."""
    levels = {name: level for name, level in LEVELS.items() if level != "fsync"}  # it waits
    taken: dict[str, list[dict[str, float]]] = {name: [] for name in levels}
    with new_paths() as paths:
        for _ in range(ROUNDS):
            for name, level in levels.items():
                taken[name].append(_steps_once(level, next(paths)))
    return {name: _medians(rounds) for name, rounds in taken.items()}


def _steps_once(level: Durability | None, path: Path) -> dict[str, float]:
    """One thread is at work at a time."""
    left, done = QUEUED, threading.Event()

    def handle(_payload: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set()

    with JobQueue(config_for(level, path), handler=handle) as jq:
        jq.pause()
        jobs: list[Job] = []

        def make() -> None:
            jobs.extend(Job(PAYLOAD) for _ in range(QUEUED))

        def enqueue() -> None:
            for job in jobs:
                jq.enqueue(job)

        def run() -> None:
            jq.resume()
            done.wait()

        seconds = map(cpu_seconds, (make, enqueue, run))
        return {step: each / QUEUED * 1e6 for step, each in zip(STEPS, seconds, strict=True)}


# ── turns of threads ─────────────────────────────────────────────────────────────────────────


def _turns() -> tuple[dict[str, dict[str, float]], list[Figure]]:
    """By contender: a job's time from end to end, of it the processor's, and what it took."""
    from benchmarks.floor import floor  # its records are msgspec's, which not each Python has

    with new_paths() as paths:
        runs: dict[str, tuple[Callable[[], object], int]] = {}
        for producers in PRODUCERS:
            of = f"{producers} producer{'s' if producers > 1 else ''}"
            runs[f"{QUEUE}, {of}"] = (partial(loads.bare_queue, JOBS, producers), JOBS)
            runs[f"{EXECUTOR}, {of}"] = (partial(loads.executor, JOBS, producers), JOBS)
            runs[f"{FLOOR}, {of}"] = (partial(floor, JOBS, producers), JOBS)
            for name, level in LEVELS.items():
                jobs = JOBS_FSYNCED[producers] if level == "fsync" else JOBS
                runs[f"{name}, {of}"] = (partial(_drive, level, paths, jobs, producers), jobs)
        found: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        for _ in range(ROUNDS):
            for name, run in runs.items():
                found[name].append(_turn(*run))
    return {name: _medians(turns) for name, turns in found.items()}, _against_floor(found)


def _against_floor(found: dict[str, list[dict[str, float]]]) -> list[Figure]:
    """What one producer's jobs take of the processor, beside what they cannot do without."""
    samples = Samples(
        {
            name: [each["processor µs"] for each in found[f"{name}, 1 producer"]]
            for name in (FLOOR, "memory", "async")
        }
    )
    samples["the log"] = [
        both - memory for both, memory in zip(samples["async"], samples["memory"], strict=True)
    ]
    at_least = samples.median(FLOOR)
    return [
        Figure(
            f"processor time per job, {what}, against {FLOOR}",
            samples.ratio(name, FLOOR),
            wanted,
            at_most=True,
            detail=f"{samples.median(name):.1f} against {at_least:.1f} µs",
        )
        for what, name, wanted in (
            ("in memory", "memory", 1.3),
            ('what an "async" log adds', "the log", 0.4),
        )
    ]


def _drive(level: Durability | None, paths: Iterator[Path], jobs: int, producers: int) -> None:
    drive(config_for(level, next(paths)), jobs, producers)


def _turn(run: Callable[[], object], jobs: int) -> dict[str, float]:
    before, start = getrusage(RUSAGE_SELF), time.perf_counter()
    with counted_syncs() as syncs:
        run()
    seconds, after = time.perf_counter() - start, getrusage(RUSAGE_SELF)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    switches = after.ru_nvcsw + after.ru_nivcsw - before.ru_nvcsw - before.ru_nivcsw
    return {
        "µs": seconds / jobs * 1e6,
        "processor µs": processor / jobs * 1e6,
        "switches": switches / jobs,
        "fsyncs": len(syncs) / jobs,
    }


def _medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    samples = Samples({name: [each[name] for each in rounds] for name in rounds[0]})
    return {name: samples.median(name) for name in samples}
