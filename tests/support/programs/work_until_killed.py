"""Enqueues and runs jobs until it is killed, and keeps a record of it outside of the log.

Arguments: the log, the file of acks, the durability, a name for this run, a seed, and "ties" if
jobs are to be unique, to wait for others, to expire, to be limited or to enqueue others.

The lines of the acks are "tried ID" before a job is enqueued, "accepted ID" afterwards, "cancelled
ID" after it was cancelled, "ran ID" from its handler, and "flushing N", "flushed N" around a flush.
"after ID:OTHER" says that a job waits for another one, "parent ID" that it enqueues one more,
"ID.child", by its completion.
"""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING, cast

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    Limit,
    Priority,
    Rate,
    Status,
    Unique,
    UnknownJobError,
)
from tests.support.children import Acks

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

PRODUCERS = 3
KINDS = ("", "", "", "", "after", "unique", "expires", "parent", "limited")


def main(
    log: str, acks_path: str, durability: str, run: str, seed: str, ties: str = "no ties"
) -> None:
    """Do it."""
    acks = Acks(acks_path)

    def handler(payload: bytes, context: JobContext) -> None:
        job_id = context.job.id
        acks.add(f"ran {job_id}")
        if payload.startswith(b"children"):
            children = [f"{job_id}/{number}" for number in range(3)]
            for each in children:
                acks.add(f"tried {each}")
            context.enqueue_many(
                [Job(id=each, after=children[:n]) for n, each in enumerate(children)]
            )
        if b"parent" in payload:
            acks.add(f"tried {context.job.id}.child")
            context.enqueue(Job(id=f"{context.job.id}.child"))
        if payload.startswith(b"fails") and context.attempt < 1:
            raise ConnectionError

    config = Config(
        persist_path=log,
        durability=cast("Durability", durability),
        num_workers=2,
        queue_size=50,
        base_delay=0.002,
        segment_bytes=16 * 1024,
        fsync_interval=0.01,
    )
    jq = JobQueue(config, handler=handler)
    jq.register("limited", handler, limit=Limit(1), rate=Rate(200))
    for n in range(PRODUCERS):
        arguments = (jq, acks, f"{run}-{n}", random.Random(f"{seed} {n}"), ties == "ties")
        threading.Thread(target=_produce, args=arguments, daemon=True).start()
    print("started")
    n = 0
    while True:
        acks.add(f"flushing {run}-{n}")
        jq.flush()
        acks.add(f"flushed {run}-{n}")
        n += 1


def _produce(jq: JobQueue, acks: Acks, prefix: str, rng: random.Random, ties: bool) -> None:
    n = 0
    while True:
        job_id = f"{prefix}-{n}"
        n += 1
        kind = rng.choice(KINDS) if ties else ""
        job = _job(acks, job_id, rng, f"{prefix}-{n - 2}", kind)
        acks.add(f"tried {job_id}")
        try:
            handle = jq.enqueue(job, delay=rng.choice([0.0, 0.0, 0.005, 3600.0]))
        except UnknownJobError:  # the one that it is to run after was not added
            continue
        if handle.existing:
            continue
        acks.add(f"accepted {job_id}")
        # One that has expired or was replaced is cancelled, too, but by a record that rides with
        # the next batch: what `cancel` has not done is not promised yet.
        if rng.random() < 0.2 and handle.cancel() and handle.status is Status.CANCELLED:
            acks.add(f"cancelled {job_id}")


def _job(acks: Acks, job_id: str, rng: random.Random, before: str, kind: str) -> Job:
    """A job that is tied to the one before, to those like it, to a limit or to a time; or not."""
    payload = (rng.choice([b"", b"fails"]) + kind.encode()) or rng.choice([b"", b"children"])
    after = [before] if kind == "after" and not before.endswith("--1") else []
    if after:
        acks.add(f"after {job_id}:{before}")
    if kind == "parent":
        acks.add(f"parent {job_id}")
    return Job(
        payload + rng.randbytes(rng.choice([0, 10, 3000])),
        id=job_id,
        priority=rng.choice(list(Priority)),
        handler="limited" if kind == "limited" else None,
        key=rng.choice("kl"),
        unique=Unique("key", on_conflict="replace") if kind == "unique" else None,
        after=after,
        expires=0.01 if kind == "expires" else None,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
