"""The tiers behind one call, so that an experiment can do the same to each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count

from jobqueue import final, improved, naive
from jobqueue.final import Priority

Run = Callable[[], None]
"""What a job does."""

Opener = Callable[[], AbstractContextManager["Contender"]]
"""Opens a queue; it is closed at the end of a `with` block."""


@dataclass(frozen=True)
class Contender:
    """A queue that is open.

    Attributes:
        enqueue: takes a priority and what to run; waits if the tier does.
        queued: how many jobs wait in it, if it tells.
        final: the queue, if it is the final tier's.
    """

    enqueue: Callable[[Priority, Run], None]
    queued: Callable[[], int] = int
    final: final.JobQueue | None = None


@contextmanager
def open_naive(workers: int) -> Iterator[Contender]:
    """The naive tier, which knows no priorities. What has not been started is lost at the end."""
    with naive.JobQueue(workers) as jq:
        yield Contender(lambda _priority, run: jq.enqueue(naive.Job("", run)))


@contextmanager
def open_improved(workers: int, size: int) -> Iterator[Contender]:
    """The improved tier, with so many places in each lane."""
    with improved.JobQueue(improved.Config(num_workers=workers, queue_size=size)) as jq:

        def enqueue(priority: Priority, run: Run) -> None:
            jq.enqueue(improved.Job("", run, improved.Priority(priority)))

        yield Contender(enqueue, lambda: jq.metrics().queued)


@contextmanager
def open_final(
    config: final.Config, change: Callable[[final.JobQueue], None] | None = None
) -> Iterator[Contender]:
    """The final tier; `change` may put other parts into it before it starts."""
    runs: dict[bytes, Run] = {}  # a payload is bytes: it names what to run
    numbers = count()
    with final.JobQueue(config, handler=lambda key: runs.pop(key)(), start=False) as jq:
        if change is not None:
            change(jq)
        jq.start()

        def enqueue(priority: Priority, run: Run) -> None:
            key = str(next(numbers)).encode()
            runs[key] = run
            jq.enqueue(final.Job(key, priority=priority))

        yield Contender(enqueue, lambda: jq.metrics().queued, jq)
