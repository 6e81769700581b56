"""The three tiers behind one door, for experiments that do the same to each.

A handler takes the id of a job here, and jobs are nothing but ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jobqueue import final, improved, naive
from jobqueue.final.config import Durability

Handle = Callable[[str], object]
Queue = naive.JobQueue | improved.JobQueue | final.JobQueue

ROOM = 1_000_000
"""Jobs that a lane holds, if no producer is to wait for room."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Which queue.

    Attributes:
        tier: "naive", "improved" or "final".
        durability: of the log; `None` for the queues in memory.
    """

    tier: str
    durability: Durability | None = None


@dataclass(frozen=True, slots=True)
class Door:
    """A queue that runs, and how a job is put into it."""

    queue: Queue
    enqueue: Callable[[str], object]


def open_queue(kind: Kind, handle: Handle, *, workers: int, log: Path, room: int = ROOM) -> Door:
    """Open a queue with so many workers, each lane with so much room; `log` is where its log is."""
    if kind.tier == "naive":
        return _open_naive(handle, workers)
    if kind.tier == "improved":
        return _open_improved(handle, workers, room)
    return _open_final(kind, handle, workers, log, room)


def _open_naive(handle: Handle, workers: int) -> Door:
    jq = naive.JobQueue(workers)
    return Door(jq, lambda job_id: jq.enqueue(naive.Job(job_id, partial(handle, job_id))))


def _open_improved(handle: Handle, workers: int, room: int) -> Door:
    jq = improved.JobQueue(improved.Config(num_workers=workers, queue_size=room))
    return Door(jq, lambda job_id: jq.enqueue(improved.Job(job_id, partial(handle, job_id))))


def _open_final(kind: Kind, handle: Handle, workers: int, log: Path, room: int) -> Door:
    def by_id(_payload: bytes, context: final.JobContext) -> None:
        handle(context.job.id)

    config = final.Config(num_workers=workers, queue_size=room)
    if kind.durability is not None:
        config = final.Config(
            num_workers=workers, queue_size=room, persist_path=log, durability=kind.durability
        )
    jq = final.JobQueue(config, handler=by_id)
    return Door(jq, lambda job_id: jq.enqueue(final.Job(id=job_id)))
