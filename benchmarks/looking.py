"""How long looks and bulk changes hold the queue's mutex: `python -m benchmarks.looking`.

A million jobs are known, and a worker runs others beside. For each call it prints how long it took,
how long one of its holds of the mutex was at the median and at the worst, and how much of the worst
was computed: on a machine that does other things too, a hold also lasts while its thread waits for
a processor. Python's garbage collector, which may go through all objects in any hold, is off.

Before, the queue has run as many jobs as it remembers, as one that is not new. What is left at the
worst of many changes is the dictionary of those that have ended, which Python makes anew after some
hundred thousand changes: 3 to 10 ms in one hold with a hundred thousand that are remembered (the
default of `status_retention`), 70 ms with a million, as `--retention 2000000` shows.
"""

from __future__ import annotations

import argparse
import gc
import threading
import time
from collections.abc import Callable
from statistics import median
from typing import Any

from jobqueue.final import Config, Job, JobQueue

from .handlers import nothing
from .loads import PAYLOAD

JOBS = 1_000_000
CHUNK = 1000


class Timed:
    """Stands in for the mutex of what calls it, and times its holds."""

    def __init__(self, mutex: Any) -> None:
        self.holds: list[tuple[float, float]] = []
        self._mutex = mutex
        self._began = self._computed = 0.0

    def __enter__(self) -> None:
        self._mutex.__enter__()
        self._began, self._computed = time.perf_counter(), time.thread_time()

    def __exit__(self, *error: object) -> None:
        held = time.perf_counter() - self._began
        self.holds.append((held, time.thread_time() - self._computed))
        self._mutex.__exit__(*error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mutex, name)


CALLS: dict[str, Callable[[JobQueue], object]] = {
    "jobs(): the first page": lambda jq: jq.jobs(),
    "jobs(text=...): through all": lambda jq: jq.jobs(text="not there"),
    "jobs(key=...): through all": lambda jq: jq.jobs(key="not there"),
    "handlers()": lambda jq: jq.handlers(),
    "cancel_jobs(key=...): a tenth": lambda jq: jq.cancel_jobs(key="3"),
    "run_now(key=...): a tenth": lambda jq: jq.run_now(key="4"),
    "cancel_jobs(): the rest": lambda jq: jq.cancel_jobs(),
}


def measure(jobs: int, retention: int) -> list[str]:
    """A row of the table for each call."""
    config = Config(num_workers=1, queue_size=jobs, status_retention=retention)
    with JobQueue(config, handlers={"busy": nothing, "held": nothing}) as jq:
        if retention <= jobs:
            for _ in range(retention + CHUNK):
                jq.enqueue(Job(PAYLOAD, handler="busy"))
            jq.join()
        jq.pause(handler="held")
        for start in range(0, jobs, CHUNK):
            for n in range(start, min(start + CHUNK, jobs)):
                job = Job(PAYLOAD, id=f"job-{n}", handler="held", key=str(n % 10))
                jq.enqueue(job, delay=3600.0 * (n % 10 > 2))
        stop = threading.Event()
        beside = threading.Thread(target=_keep_busy, args=(jq, stop))
        beside.start()
        rows = [_row(jq, name, call) for name, call in CALLS.items()]
        stop.set()
        beside.join()
        jq.close(0.0, drain=False)
    return rows


def _keep_busy(jq: JobQueue, stop: threading.Event) -> None:
    while not stop.is_set():
        jq.enqueue(Job(PAYLOAD, handler="busy")).wait()


def _row(jq: JobQueue, name: str, call: Callable[[JobQueue], object]) -> str:
    doors: tuple[Any, ...] = (jq._looking, jq._bulk)
    timed = Timed(doors[0]._mutex)
    for door in doors:
        door._mutex = timed
    gc.disable()
    began = time.perf_counter()
    call(jq)
    seconds = time.perf_counter() - began
    gc.enable()
    for door in doors:
        door._mutex = timed._mutex
    held = sorted(each for each, _ in timed.holds)
    computed = max(each for _, each in timed.holds)
    milliseconds = [1e3 * each for each in (median(held), held[-1], computed)]
    figures = " | ".join(f"{each:.2f}" for each in milliseconds)
    return f"| `{name}` | {seconds:.2f} | {len(held)} | {figures} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=JOBS, help="how many are known")
    retained = Config().status_retention
    parser.add_argument("--retention", type=int, default=retained, help="ended jobs remembered")
    arguments = parser.parse_args()
    print("| call | s | holds | median ms | worst ms | worst, computed ms |")
    print("|---|---:|---:|---:|---:|---:|")
    for row in measure(arguments.jobs, arguments.retention):
        print(row)


if __name__ == "__main__":
    main()
