"""Threads against processes for handlers that compute: `python -m benchmarks.executors`.

Prints a Markdown table, the one in docs/executors.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from jobqueue.final import Config, Job, JobQueue

CALIBRATION_ROUNDS = 20_000
WARM_UP_JOBS = 50
COMPUTING_JOBS = 200
IDLE_JOBS = 1000


def no_op(payload: bytes) -> None:
    """Costs what the queue costs."""


def compute(payload: bytes) -> None:
    """So many rounds of pure Python."""
    total = 0
    for number in range(int(payload)):
        total += number


@dataclass(frozen=True)
class Setting:
    executor: Literal["thread", "process"]
    workers: int


ONE_THREAD, TWO_THREADS = Setting("thread", 1), Setting("thread", 2)
ONE_PROCESS, TWO_PROCESSES = Setting("process", 1), Setting("process", 2)
SETTINGS = (ONE_THREAD, TWO_THREADS, ONE_PROCESS, TWO_PROCESSES)


class Load:
    """One queue in each setting, its processes started; so that slices can take turns."""

    def __init__(self, handler: Callable[[bytes], None], payload: bytes, jobs: int) -> None:
        self._payload = payload
        self._jobs = jobs
        self._queues = {
            setting: JobQueue(
                Config(executor=setting.executor, num_workers=setting.workers), handler=handler
            )
            for setting in SETTINGS
        }
        self.rates: dict[Setting, list[float]] = {setting: [] for setting in SETTINGS}
        for jq in self._queues.values():
            jq.enqueue_many([Job(payload) for _ in range(WARM_UP_JOBS)])
            jq.join()

    def round(self) -> None:
        """A slice of work in each setting, one after the other."""
        for setting, jq in self._queues.items():
            start = time.perf_counter()
            for _ in range(self._jobs):
                jq.enqueue(Job(self._payload))
            jq.join()
            self.rates[setting].append(self._jobs / (time.perf_counter() - start))

    def close(self) -> None:
        for jq in self._queues.values():
            jq.close()

    def rate(self, setting: Setting) -> float:
        return statistics.median(self.rates[setting])

    def ratio(self, setting: Setting, to: Setting) -> float:
        """Median over the rounds, each compared in itself."""
        pairs = zip(self.rates[setting], self.rates[to], strict=True)
        return statistics.median(one / other for one, other in pairs)


def rounds_of(milliseconds: float) -> int:
    """How many rounds of `compute` take this long here, alone."""
    payload = b"%d" % CALIBRATION_ROUNDS
    best = min(_seconds(lambda: compute(payload)) for _ in range(20))
    return max(1, round(CALIBRATION_ROUNDS * milliseconds / 1000 / best))


def _seconds(function: Callable[[], None]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def measure(rounds: int, milliseconds: float = 1) -> tuple[Load, Load]:
    """The load that computes, and the one that does nothing."""
    payload = b"%d" % rounds_of(milliseconds)
    loads = Load(compute, payload, COMPUTING_JOBS), Load(no_op, b"", IDLE_JOBS)
    for _ in range(rounds):
        for load in loads:
            load.round()
    for load in loads:
        load.close()
    return loads


def table(computing: Load, idle: Load) -> str:
    head = (
        "| executor | workers | 1 ms of pure Python: jobs/s | against one worker thread | "
        "no-op: jobs/s | µs a job |"
    )
    rows = (
        f'| `"{setting.executor}"` | {setting.workers} | {computing.rate(setting):,.0f} | '
        f"{computing.ratio(setting, ONE_THREAD):.2f} × | {idle.rate(setting):,.0f} | "
        f"{1e6 / idle.rate(setting):.0f} |"
        for setting in SETTINGS
    )
    return "\n".join([head, "|---|---|---|---|---|---|", *rows])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="of which medians are taken")
    arguments = parser.parse_args()
    computing, idle = measure(arguments.rounds)
    print(table(computing, idle))
    ratio = computing.ratio(TWO_PROCESSES, ONE_PROCESS)
    print(f"\nTwo worker processes did {ratio:.2f} times the work of one.")


if __name__ == "__main__":
    main()
