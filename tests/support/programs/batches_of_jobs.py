"""Runs 200 jobs in batches, closes, and ends; its acks are a file outside of the log.

Arguments: the log, the file of acks, the durability. Lines of the acks: "accepted ID" after the
call that accepted a job, "ran ID" from its handler.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobContext, JobQueue
from tests.support.children import Acks

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

JOBS = 200
BATCH = 20

if __name__ == "__main__":
    log, acks_path, durability = sys.argv[1:]
    acks = Acks(acks_path)

    def handler(_payload: bytes, context: JobContext) -> None:
        """Tell that it ran."""
        acks.add(f"ran {context.job.id}")

    config = Config(persist_path=log, durability=cast("Durability", durability), num_workers=2)
    with JobQueue(config, handler=handler) as jq:
        for first in range(0, JOBS, BATCH):
            jobs = [Job(b"x" * 50, id=f"job-{first + n}") for n in range(BATCH)]
            acks.add(*(f"accepted {handle.id}" for handle in jq.enqueue_many(jobs)))
        jq.join()
