"""Handlers that compute, in threads that run at once: `python -m benchmarks.free_threaded`.

To be run by a Python without the GIL, with PYTHON_GIL=0; on others it shows what the GIL costs.
Prints Markdown tables, those in docs/free_threaded.md.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from threading import Thread

from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.config import Durability
from jobqueue.final.wal.format.base import HAVE_MSGSPEC

from .handlers import compute_1_ms
from .loads import PAYLOAD, config_for, drive
from .measure import Samples, alternate, rate, scratch

THREADS = 2
JOBS = 2000
PAIRS = 5
BARE = f"{THREADS} bare threads"
ONE = "1 bare thread"
EXECUTOR = f"`ThreadPoolExecutor({THREADS})`"
OURS = f"`Config(num_workers={THREADS})`"


def bare_threads(jobs: int, threads: int) -> None:
    """The least that the work can take: each thread has its share, nothing is handed on."""

    def work() -> None:
        for _ in range(jobs // threads):
            compute_1_ms(PAYLOAD)

    started = [Thread(target=work) for _ in range(threads)]
    for thread in started:
        thread.start()
    for thread in started:
        thread.join()


def executor(jobs: int) -> None:
    """The same through the standard library's pool."""
    with ThreadPoolExecutor(THREADS) as pool:
        for _ in range(jobs):
            pool.submit(compute_1_ms, PAYLOAD)


def queue(jobs: int) -> None:
    """The same through a queue in memory: enqueue one by one, wait for the last."""
    with JobQueue(Config(num_workers=THREADS), handler=compute_1_ms) as jq:
        for _ in range(jobs):
            jq.enqueue(Job(PAYLOAD))
        jq.join()


@dataclass(frozen=True)
class Result:
    """What each contender reached in each round.

    Attributes:
        rates: jobs per second.
        costs: CPU milliseconds a job, of all threads; other programs hardly change them.
    """

    rates: Samples
    costs: Samples


def measure(jobs: int = JOBS, pairs: int = PAIRS) -> Result:
    """Let the contenders take turns."""
    compute_1_ms(PAYLOAD)  # finds out what 1 ms is, once and not in several threads
    jobs -= jobs % THREADS
    contenders: dict[str, Callable[[], None]] = {
        BARE: lambda: bare_threads(jobs, THREADS),
        OURS: lambda: queue(jobs),
        EXECUTOR: lambda: executor(jobs),
        ONE: lambda: bare_threads(jobs, 1),
    }
    costs = Samples({name: [] for name in contenders})

    def turn(name: str) -> float:
        before = time.process_time()
        jobs_per_second = rate(jobs, contenders[name])
        costs[name].append((time.process_time() - before) / jobs * 1e3)
        return jobs_per_second

    turns = {name: partial(turn, name) for name in contenders}
    return Result(alternate(turns, pairs, warm_up=False), costs)


def table(result: Result) -> str:
    """One row a contender; the ratios are medians of those within a round."""
    rates, costs = result.rates, result.costs
    head = [
        f"| 1 ms of pure Python a job | jobs/s | × {BARE} | CPU ms a job | × {BARE} |",
        "|---|---|---|---|---|",
    ]
    rows = [
        f"| {name} | {rates.median(name):,.0f} | {rates.ratio(name, BARE):.3f} | "
        f"{costs.median(name):.3f} | {costs.ratio(name, BARE):.3f} |"
        for name in rates
    ]
    return "\n".join([*head, *rows])


def own_costs(jobs: int = JOBS, pairs: int = PAIRS) -> Samples:
    """CPU microseconds that the queue itself takes for a job, without and with a log."""

    def cost(durability: Durability | None) -> float:
        with scratch() as directory:
            config = config_for(durability, directory / "log")
            before = time.process_time()
            drive(config, jobs)
            return (time.process_time() - before) / jobs * 1e6

    return alternate(
        {"in memory": lambda: cost(None), '`durability="write"`': lambda: cost("write")}, pairs
    )


def table_of_costs(costs: Samples) -> str:
    """One row a kind of queue."""
    rows = [f"| {name} | {costs.median(name):.0f} |" for name in costs]
    return "\n".join(["| no-op jobs | CPU µs a job |", "|---|---|", *rows])


def interpreter() -> str:
    """What the figures hold for."""
    is_gil_on = getattr(sys, "_is_gil_enabled", lambda: True)()
    version = ".".join(map(str, sys.version_info[:3]))
    codec = "msgspec" if HAVE_MSGSPEC else "the standard library's codec"
    return f"CPython {version}, {codec}, GIL {'on' if is_gil_on else 'off'}, {os.cpu_count()} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS, help="rounds; their median counts")
    parser.add_argument("--jobs", type=int, default=JOBS, help="jobs in each turn")
    arguments = parser.parse_args()
    print(interpreter(), end="\n\n")
    print(table(measure(arguments.jobs, arguments.pairs)), end="\n\n")
    print(table_of_costs(own_costs(arguments.jobs, arguments.pairs)))


if __name__ == "__main__":
    main()
