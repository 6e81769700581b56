"""Work for queues to do, and how much of it they get done.

Needs nothing but the final tier, so that `python load.py` also runs on a Python that has none of
the packages that the rest needs: it measures there what is measured here.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass
from statistics import mean
from typing import cast

from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.config import Executor

CALIBRATION_LOOPS = 20_000
CALIBRATION_ROUNDS = 7
WARM_UP_SECONDS = 0.1


def compute(loops: int) -> int:
    """Compute, in Python alone; what it takes is proportional to `loops`."""
    value = 0
    for number in range(loops):
        value = (value * 31 + number) & 0xFFFF
    return value


def loops_per_millisecond() -> int:
    """How many loops of `compute` are a millisecond's work for one thread that has a core."""
    best = float("inf")
    for _ in range(CALIBRATION_ROUNDS):
        before = time.thread_time()
        compute(CALIBRATION_LOOPS)
        best = min(best, time.thread_time() - before)
    return max(1, round(CALIBRATION_LOOPS / best / 1e3))


def work(payload: bytes) -> float:
    """Handler: wait, as for an answer, then compute. The payload says how long and how much.

    Returns:
        Processor seconds that it took.
    """
    wait_milliseconds, loops = json.loads(payload)
    before = time.thread_time()
    if wait_milliseconds:
        time.sleep(wait_milliseconds / 1e3)
    compute(loops)
    return time.thread_time() - before


@dataclass(frozen=True)
class Load:
    """Jobs for a queue, and the queue for the jobs.

    Attributes:
        executor: of the queue.
        workers: of the queue.
        jobs: how many.
        wait_milliseconds: how long each waits.
        loops: how much each computes.
    """

    executor: Executor
    workers: int
    jobs: int
    wait_milliseconds: float
    loops: int


@dataclass(frozen=True)
class Yield:
    """What came of a load.

    Attributes:
        jobs_per_second: from the start of the first job to the end of the last.
        cores: processor seconds used per second, by the queue and its handlers.
        run_milliseconds: how long a job was being processed, on average.
    """

    jobs_per_second: float
    cores: float
    run_milliseconds: float


def measure(load: Load) -> Yield:
    """Have a queue do a load."""
    config = Config(num_workers=load.workers, queue_size=load.jobs, executor=load.executor)
    payload = json.dumps([load.wait_milliseconds, load.loops]).encode()
    with JobQueue(config, handler=work) as jq:
        _warm_up(jq, load)
        jq.pause()
        handles = [jq.enqueue(Job(payload)) for _ in range(load.jobs)]
        cpu, start = time.process_time(), time.perf_counter()
        jq.resume()
        jq.join()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        infos = [jq.info(handle.id) for handle in handles]
    if load.executor == "process":  # what threads take is this process's own
        cpu += sum(cast("float", handle.result()) for handle in handles)
    run_seconds = mean((info.finished or 0.0) - (info.started or 0.0) for info in infos)
    return Yield(load.jobs / seconds, cpu / seconds, run_seconds * 1e3)


def _warm_up(jq: JobQueue, load: Load) -> None:
    """Have each worker do something: only then there are as many processes as workers."""
    if load.executor == "process":
        idle = json.dumps([WARM_UP_SECONDS * 1e3, 0]).encode()
        for handle in [jq.enqueue(Job(idle)) for _ in range(min(load.workers, load.jobs))]:
            handle.wait()


def is_gil_enabled() -> bool:
    """Whether this Python runs one thread at a time, as all before 3.13 do."""
    check = getattr(sys, "_is_gil_enabled", None)
    return check is None or bool(check())


def main() -> None:
    """Read loads as JSON from standard input, write what came of them to standard output."""
    loads = [Load(**each) for each in json.load(sys.stdin)]
    version = ".".join(map(str, sys.version_info[:3]))
    yields = [asdict(measure(load)) for load in loads]
    json.dump({"version": version, "gil": is_gil_enabled(), "yields": yields}, sys.stdout)


if __name__ == "__main__":
    main()
