"""Enqueues and runs jobs until it is killed, and keeps a record of it outside of the log.

Arguments: the log, the file of acks, the durability, a name for this run, and a seed. The lines of
the acks are "tried ID" before a job is enqueued (also one that comes with its parent's completion),
"accepted ID" afterwards, "cancelled ID" after it was cancelled, "ran ID" from its handler, and
"flushing N", "flushed N" around a flush.
"""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobContext, JobQueue, Priority, Status
from tests.support.children import Acks

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

PRODUCERS = 3


def main(log: str, acks_path: str, durability: str, run: str, seed: str) -> None:
    """Do it."""
    acks = Acks(acks_path)

    def handler(payload: bytes, context: JobContext) -> None:
        job_id = context.job.id
        acks.add(f"ran {job_id}")
        if payload.startswith(b"parent"):
            children = [f"{job_id}/{number}" for number in range(3)]
            for each in children:
                acks.add(f"tried {each}")
            context.enqueue_many(
                [Job(id=each, after=children[:n]) for n, each in enumerate(children)]
            )
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
    for n in range(PRODUCERS):
        arguments = (jq, acks, f"{run}-{n}", random.Random(f"{seed} {n}"))
        threading.Thread(target=_produce, args=arguments, daemon=True).start()
    print("started")
    n = 0
    while True:
        acks.add(f"flushing {run}-{n}")
        jq.flush()
        acks.add(f"flushed {run}-{n}")
        n += 1


def _produce(jq: JobQueue, acks: Acks, prefix: str, rng: random.Random) -> None:
    n = 0
    while True:
        job_id = f"{prefix}-{n}"
        n += 1
        payload = rng.choice([b"", b"fails", b"parent"]) + rng.randbytes(rng.choice([0, 10, 3000]))
        priority = rng.choice(list(Priority))
        acks.add(f"tried {job_id}")
        handle = jq.enqueue(
            Job(payload, id=job_id, priority=priority), delay=rng.choice([0.0, 0.0, 0.005, 3600.0])
        )
        acks.add(f"accepted {job_id}")
        if rng.random() < 0.2:
            handle.cancel()
            if handle.status is Status.CANCELLED:
                acks.add(f"cancelled {job_id}")


if __name__ == "__main__":
    main(*sys.argv[1:])
