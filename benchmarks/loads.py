"""The same load for everything that is measured: so many jobs through, then wait for the last."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import Queue, SimpleQueue
from typing import Protocol

import jobqueue.improved
import jobqueue.naive
from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.config import Durability

from .handlers import Handler, nothing

PAYLOAD = b'{"action":"send_reminder"}'
"""26 bytes of JSON, as a small job has them."""

WORKERS = 4


class Load(Protocol):
    """Puts so many jobs through a queue; returns when the last has been handled."""

    def __call__(
        self, jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
    ) -> None: ...


def produce(producers: int, jobs: int, one: Callable[[int], object]) -> None:
    """Call `one` for each job's number, from so many threads; the caller's is one of them."""

    def loop(first: int) -> None:
        for number in range(first, jobs, producers):
            one(number)

    threads = [threading.Thread(target=loop, args=(each,)) for each in range(1, producers)]
    for thread in threads:
        thread.start()
    loop(0)
    for thread in threads:
        thread.join()


def executor(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """`ThreadPoolExecutor`, the yardstick."""
    with ThreadPoolExecutor(workers) as pool:
        produce(producers, jobs, lambda _number: pool.submit(handler, PAYLOAD))


def bare_queue(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """A bounded `queue.Queue` and threads, nothing else."""
    _through(Queue(1000), jobs, producers, workers, handler)


def bare_simple_queue(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """An unbounded `queue.SimpleQueue`, which is written in C, and threads."""
    _through(SimpleQueue(), jobs, producers, workers, handler)


def _through(
    queue: Queue[bytes | None] | SimpleQueue[bytes | None],
    jobs: int,
    producers: int,
    workers: int,
    handler: Handler,
) -> None:
    def work() -> None:
        while (payload := queue.get()) is not None:
            handler(payload)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    produce(producers, jobs, lambda _number: queue.put(PAYLOAD))
    for _ in threads:
        queue.put(None)
    for thread in threads:
        thread.join()


def naive(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """The naive tier; it cannot be waited for, so the jobs are counted."""
    done = threading.Semaphore(0)

    def handle() -> None:
        handler(PAYLOAD)
        done.release()

    with jobqueue.naive.JobQueue(workers) as jq:
        produce(
            producers, jobs, lambda number: jq.enqueue(jobqueue.naive.Job(f"job-{number}", handle))
        )
        for _ in range(jobs):
            done.acquire()


def improved(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """The improved tier."""

    def handle() -> None:
        handler(PAYLOAD)

    with jobqueue.improved.JobQueue(jobqueue.improved.Config(num_workers=workers)) as jq:
        produce(
            producers,
            jobs,
            lambda number: jq.enqueue(jobqueue.improved.Job(f"job-{number}", handle)),
        )


def final(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """The final tier, in memory."""
    drive(Config(num_workers=workers), jobs, producers, handler)


def drive(config: Config, jobs: int, producers: int = 1, handler: Handler = nothing) -> None:
    """Put jobs one by one through the final tier; a log is on the disk when this returns."""
    with JobQueue(config, handler=handler) as jq:
        produce(producers, jobs, lambda _: jq.enqueue(Job(PAYLOAD)))
        jq.join()
        jq.flush()


def drive_in_batches(config: Config, jobs: int, batch: int) -> None:
    """The same with `enqueue_many`."""
    with JobQueue(config, handler=nothing) as jq:
        for first in range(0, jobs, batch):
            jq.enqueue_many([Job(PAYLOAD) for _ in range(min(batch, jobs - first))])
        jq.join()
        jq.flush()


def config_for(durability: Durability | None, path: Path, workers: int = WORKERS) -> Config:
    """Settings with a log of that durability in `path`; `None` keeps everything in memory."""
    if durability is None:
        return Config(num_workers=workers)
    return Config(num_workers=workers, persist_path=path, durability=durability)
