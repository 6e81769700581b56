"""The same load for everything that is measured: so many jobs through, then wait for the last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue

import jobqueue.improved
import jobqueue.naive
from jobqueue.final import Config, Job, JobQueue

PAYLOAD = b'{"action": "send_email"}'
WORKERS = 4


def nothing(_payload: bytes) -> None:
    """A handler that costs nothing."""


def _produced_by(producers: int, jobs: int, produce: Callable[[int], object]) -> None:
    """Call `produce` for each job's number, from so many threads."""

    def loop(first: int) -> None:
        for number in range(first, jobs, producers):
            produce(number)

    threads = [threading.Thread(target=loop, args=(each,)) for each in range(1, producers)]
    for thread in threads:
        thread.start()
    loop(0)
    for thread in threads:
        thread.join()


def executor(jobs: int, producers: int = 1) -> None:
    """`ThreadPoolExecutor`, the yardstick."""
    with ThreadPoolExecutor(WORKERS) as pool:
        _produced_by(producers, jobs, lambda _number: pool.submit(nothing, PAYLOAD))


def bare_queue(jobs: int, producers: int = 1) -> None:
    """A bounded `queue.Queue` and threads, nothing else."""
    queue: Queue[bytes | None] = Queue(1000)

    def work() -> None:
        while (payload := queue.get()) is not None:
            nothing(payload)

    workers = [threading.Thread(target=work) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    _produced_by(producers, jobs, lambda _number: queue.put(PAYLOAD))
    for _ in workers:
        queue.put(None)
    for worker in workers:
        worker.join()


def naive(jobs: int, producers: int = 1) -> None:
    """The naive tier; it cannot be waited for, so the last job tells."""
    done = threading.Semaphore(0)
    with jobqueue.naive.JobQueue(WORKERS) as jq:

        def produce(number: int) -> None:
            jq.enqueue(jobqueue.naive.Job(f"job-{number}", done.release))

        _produced_by(producers, jobs, produce)
        for _ in range(jobs):
            done.acquire()


def improved(jobs: int, producers: int = 1) -> None:
    """The improved tier."""
    config = jobqueue.improved.Config(num_workers=WORKERS)
    with jobqueue.improved.JobQueue(config) as jq:

        def produce(number: int) -> None:
            jq.enqueue(jobqueue.improved.Job(f"job-{number}", lambda: nothing(PAYLOAD)))

        _produced_by(producers, jobs, produce)


def final(jobs: int, producers: int = 1, *, batch: int = 1, config: Config | None = None) -> None:
    """The final tier; with a log, its records are on the disk when this returns."""
    with JobQueue(config or Config(num_workers=WORKERS), handler=nothing) as jq:
        if batch == 1:
            _produced_by(
                producers, jobs, lambda number: jq.enqueue(Job(PAYLOAD, id=f"job-{number}"))
            )
        else:
            for first in range(0, jobs, batch):
                jq.enqueue_many([Job(PAYLOAD, id=f"job-{first + each}") for each in range(batch)])
        jq.join()
        jq.flush()


def logged(path: Path, durability: str) -> Config:
    """Settings with a log."""
    return Config(num_workers=WORKERS, persist_path=path, durability=durability)  # type: ignore[arg-type]  # one of the three
