"""Workers under load: questions asked meanwhile, handlers that wait, handlers that compute."""

from __future__ import annotations

import threading
import time

from benchmarks import executors, loads
from benchmarks.handlers import Handler, sleep_10_ms
from benchmarks.loads import PAYLOAD, drive
from benchmarks.measure import ROUNDS, Figure, Findings, alternate, rate
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
                0.99,
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

        thread = threading.Thread(target=ask)  # it only wakes up if it does not ask
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
                0.98,
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


def processes() -> Findings:
    """1 ms of pure Python a job: two workers, each with a process of its own, against one."""
    computing, _idle = executors.measure(ROUNDS)
    two, one = executors.TWO_PROCESSES, executors.ONE_PROCESS
    return Findings(
        [
            Figure(
                'executor="process", 1 ms of computing a job, 2 workers against 1',
                computing.ratio(two, one),
                2,
                detail=f"{computing.rate(two):,.0f} against {computing.rate(one):,.0f} jobs/s",
            )
        ]
    )
