"""Enqueues groups of jobs until it is killed, and keeps a record of them outside of the log.

Arguments: the log, the file of acks, the durability, a name for this run, and a seed. The lines of
the acks are "tried GROUP COUNT" before a group is enqueued, "accepted GROUP COUNT" afterwards. The
ids of its jobs are GROUP-0, GROUP-1, …
"""

from __future__ import annotations

import random
import sys
import threading
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue
from tests.support.children import Acks

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

PRODUCERS = 3
GROUP_MAX = 6


def main(log: str, acks_path: str, durability: str, run: str, seed: str) -> None:
    """Do it."""
    acks = Acks(acks_path)
    config = Config(
        persist_path=log,
        durability=cast("Durability", durability),
        queue_size=100_000,
        segment_bytes=16 * 1024,
        fsync_interval=0.01,
    )
    jq = JobQueue(config, handler=len, start=False)
    for n in range(PRODUCERS):
        arguments = (jq, acks, f"{run}-{n}", random.Random(f"{seed} {n}"))
        threading.Thread(target=_produce, args=arguments, daemon=True).start()
    print("started")
    threading.Event().wait()


def _produce(jq: JobQueue, acks: Acks, prefix: str, rng: random.Random) -> None:
    n = 0
    while True:
        name, count = f"{prefix}-{n}", rng.randint(2, GROUP_MAX)
        jobs = [
            Job(
                rng.randbytes(rng.choice([0, 10, 3000])),
                id=f"{name}-{k}",
                after=[f"{name}-{k - 1}"] if k and rng.random() < 0.7 else None,
            )
            for k in range(count)
        ]
        n += 1
        acks.add(f"tried {name} {count}")
        jq.enqueue_together(jobs)
        acks.add(f"accepted {name} {count}")


if __name__ == "__main__":
    main(*sys.argv[1:])
