"""Enqueues until the disk is full, gets space again, and enqueues some more.

Arguments: the log, a file of acks, the durability, and a file to delete for space. Without that
file the limit on the size of files stands for the disk.
"""

from __future__ import annotations

import errno
import os
import resource
import sys
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue, LogWriteError
from tests.support.children import Acks
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

FILE_BYTES_MAX = 3 << 20
PAYLOAD = b"x" * 30_000
JOBS_MAX = 2000


def main(log: str, acks_path: str, durability: str, ballast: str) -> None:
    """Do it."""
    acks = Acks(acks_path)
    config = Config(
        persist_path=log, durability=cast("Durability", durability), queue_size=JOBS_MAX
    )
    if not ballast:
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_BYTES_MAX, hard))
    with JobQueue(config, handler=len, start=False) as jq:
        refused = _enqueue_until_refused(jq, acks)
        if ballast:
            os.unlink(ballast)
        else:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        eventually(lambda: _is_well(jq) or durability != "async")
        for job_id in (refused, *(f"after-{n}" for n in range(10))):
            jq.enqueue(Job(PAYLOAD, id=job_id))
            acks.add(f"accepted {job_id}")
        jq.flush()


def _enqueue_until_refused(jq: JobQueue, acks: Acks) -> str:
    """The id of the first job that was refused: by then it is free again."""
    for n in range(JOBS_MAX):
        try:
            jq.enqueue(Job(PAYLOAD, id=f"job-{n}"))
            acks.add(f"accepted job-{n}")
            if jq.metrics().queued % 10 == 0:
                _flush(jq)  # so that "async" too notices before it has taken in too much
        except LogWriteError as error:
            if error.errno not in (errno.ENOSPC, errno.EFBIG):
                raise
            acks.add(f"refused job-{n}")
            return f"job-{n}"
    raise AssertionError("the disk was never full")


def _flush(jq: JobQueue) -> None:
    try:
        jq.flush()
    except LogWriteError:
        return  # the next one to enqueue is told too


def _is_well(jq: JobQueue) -> bool:
    log = jq.metrics().log
    assert log is not None
    return log.error is None


if __name__ == "__main__":
    main(*sys.argv[1:])
