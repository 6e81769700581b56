"""The job queue that everyone writes first: one FIFO and some threads.

It is correct as far as it goes. Every job that a worker takes runs once, and no job keeps a
worker from its next one. It has five flaws, which are here to be seen and are all mended by
the other tiers:

1. Memory grows without bound: `enqueue` never blocks, so a producer that is faster than the
   workers fills the memory instead of being slowed down.
2. Everything waits in one line: an urgent job runs after all that came before it.
3. A failed job is gone: its traceback is logged, and nothing tries it again.
4. `close` waits for nothing: jobs in the line are lost, jobs in flight are left to themselves.
5. Nothing survives the process: the line is in memory, and an exit or a kill empties it.

There is no lock of our own here: `queue.Queue` guards the line and `threading.Event` the flag.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

logger = logging.getLogger("jobqueue")


@dataclass(frozen=True, slots=True)
class Job:
    """A piece of work: `handler` is called once, without arguments; its result is dropped."""

    id: str
    handler: Callable[[], object]


class JobQueue:
    """Runs jobs in the order they came, on `num_workers` threads.

    All methods may be called from any thread, handlers included. Used in a `with` statement,
    the queue is closed at the end of the block.

    Raises:
        ValueError: `num_workers` is less than 1, so that no job would ever run.
    """

    def __init__(self, num_workers: int) -> None:
        if num_workers < 1:
            raise ValueError(f"num_workers must be at least 1, not {num_workers!r}")
        self._line: queue.Queue[Job | None] = queue.Queue()  # flaws 1 and 2: no bound, one line
        self._closed = threading.Event()
        self._workers = [
            threading.Thread(target=self._work, name=f"jobqueue-naive-{n}", daemon=True)
            for n in range(num_workers)
        ]
        for worker in self._workers:
            worker.start()

    def enqueue(self, job: Job) -> None:
        """Put a job at the end of the line. Never blocks.

        Raises:
            RuntimeError: the queue is closed.
            TypeError: `job` is no `Job`.
        """
        if not isinstance(job, Job):
            raise TypeError(f"enqueue takes a Job, not {job!r}")
        if self._closed.is_set():
            raise RuntimeError(f"job {job.id!r} was refused: the queue is closed")
        self._line.put(job)

    def close(self) -> None:
        """Let no worker start another job. Returns at once (flaw 4). May be called again."""
        self._closed.set()
        for _ in self._workers:
            self._line.put(None)  # wakes a worker that waits for a job, so that it sees the flag

    def _work(self) -> None:
        while True:
            job = self._line.get()
            if job is None or self._closed.is_set():
                return
            try:
                job.handler()
            except BaseException:  # SystemExit too: it would end this thread, one worker fewer
                with suppress(BaseException):  # a log handler of the program's may raise as well
                    logger.exception("job %r failed", job.id)  # flaw 3: and that was that

    def __enter__(self) -> JobQueue:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
