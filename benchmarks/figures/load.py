"""Workers under load: questions asked meanwhile, handlers that wait, handlers that compute."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable

from benchmarks import loads
from benchmarks.handlers import Handler, compute_1_ms, sleep_10_ms
from benchmarks.loads import PAYLOAD, drive
from benchmarks.measure import Figure, Findings, alternate, rate
from jobqueue.final import Config, Job, JobQueue

# ── questions ────────────────────────────────────────────────────────────────────────────────

QUESTIONS_PER_SECOND = 100
JOBS = 40_000


def questions() -> Findings:
    """`status` and `metrics`, a hundred of each a second, while the workers are fully loaded."""
    samples = alternate(
        {"asked": lambda: _rate(asking=True), "left alone": lambda: _rate(asking=False)}, rounds=11
    )
    return Findings(
        [
            Figure(
                "100 status() and 100 metrics() a second: throughput against being left alone",
                samples.ratio("asked", "left alone"),
                0.97,
                detail=f"{samples.median('asked'):,.0f} against "
                f"{samples.median('left alone'):,.0f} jobs/s",
            )
        ]
    )


def _rate(*, asking: bool) -> float:
    end = threading.Event()
    with JobQueue(Config(num_workers=loads.WORKERS), handler=len) as jq:
        first = jq.enqueue(Job(PAYLOAD, id="first"))

        def ask() -> None:
            due = time.perf_counter()
            while not end.wait(max(0.0, due - time.perf_counter())):
                due += 1 / QUESTIONS_PER_SECOND
                if asking:
                    jq.status(first.id)
                    jq.metrics()

        def through() -> None:
            for number in range(JOBS):
                jq.enqueue(Job(PAYLOAD, id=f"job-{number}"))
            jq.join()

        thread = threading.Thread(target=ask)  # it only wakes up where it does not ask
        thread.start()
        try:
            return rate(JOBS, through)
        finally:
            end.set()
            thread.join()


# ── handlers that wait ───────────────────────────────────────────────────────────────────────

SLEEPERS = 200
SLEEPS = 20_000


def waiting() -> Findings:
    """200 workers whose handlers sleep for 10 ms, against as many bare threads that sleep."""
    samples = alternate(
        {
            "workers": lambda: rate(
                SLEEPS, lambda: drive(Config(num_workers=SLEEPERS), SLEEPS, handler=sleep_10_ms)
            ),
            "threads": lambda: rate(SLEEPS, lambda: _bare(SLEEPERS, SLEEPS, sleep_10_ms)),
        }
    )
    return Findings(
        [
            Figure(
                "200 workers that wait for 10 ms a job, against 200 bare threads",
                samples.ratio("workers", "threads"),
                0.95,
                detail=f"{samples.median('workers'):,.0f} against "
                f"{samples.median('threads'):,.0f} jobs/s",
            )
        ]
    )


def _bare(threads: int, calls: int, handler: Handler) -> None:
    """So many calls, shared out among threads beforehand."""

    def work() -> None:
        for _ in range(calls // threads):
            handler(PAYLOAD)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


# ── handlers that compute ────────────────────────────────────────────────────────────────────

COMPUTATIONS = 1_000


def processes() -> Findings:
    """1 ms of pure Python a job: two workers, each with a process of its own, against one."""
    samples = alternate(
        {"two": lambda: _rate_in_processes(2), "one": lambda: _rate_in_processes(1)}
    )
    return Findings(
        [
            Figure(
                'executor="process", 1 ms of computing a job, 2 workers against 1',
                samples.ratio("two", "one"),
                1.85,
                detail=f"{samples.median('two'):,.0f} against {samples.median('one'):,.0f} jobs/s",
            )
        ]
    )


def _rate_in_processes(workers: int) -> float:
    config = Config(num_workers=workers, executor="process")
    with JobQueue(config, handler=compute_1_ms) as jq:

        def through(jobs: int) -> None:
            for _ in range(jobs):
                jq.enqueue(Job(PAYLOAD))
            jq.join()

        through(100)  # the processes start, and find out how long 1 ms is
        return rate(COMPUTATIONS, lambda: through(COMPUTATIONS))


def free_threads() -> Findings:
    """1 ms of pure Python a job on two workers, where threads compute at the same time."""
    if _has_gil():
        return Findings()

    def contender(run: Callable[[], None]) -> Callable[[], float]:
        return lambda: rate(COMPUTATIONS, run)

    samples = alternate(
        {
            "workers": contender(
                lambda: drive(Config(num_workers=2), COMPUTATIONS, handler=compute_1_ms)
            ),
            "threads": contender(lambda: _bare(2, COMPUTATIONS, compute_1_ms)),
        }
    )
    return Findings(
        [
            Figure(
                "free-threaded, 1 ms of computing a job, 2 workers against 2 bare threads",
                samples.ratio("workers", "threads"),
                0.95,
                detail=f"{samples.median('workers'):,.0f} against "
                f"{samples.median('threads'):,.0f} jobs/s",
            )
        ]
    )


def _has_gil() -> bool:
    has_gil: Callable[[], bool] = getattr(sys, "_is_gil_enabled", lambda: True)
    return has_gil()
