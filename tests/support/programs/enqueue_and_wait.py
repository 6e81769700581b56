"""Enqueues one job and waits to be killed. Arguments: the log, the durability, the job's id."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

if __name__ == "__main__":
    log, durability, job_id = sys.argv[1:]
    config = Config(
        persist_path=log, durability=cast("Durability", durability), fsync_interval=3600.0
    )
    jq = JobQueue(config, handler=len, start=False)
    jq.enqueue(Job(id=job_id))
    print("accepted")
    sys.stdin.readline()
