"""Runs jobs, one of which never ends, until SIGTERM, which may come again.

Arguments: the log, a file of acks, the durability, and what the handler of SIGTERM does: it
"closes" the queue, or it "exits", that is, raises SystemExit.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue, QueueClosedError
from tests.support.children import Acks

if TYPE_CHECKING:
    from types import FrameType

    from jobqueue.final.config import Durability

SHUTDOWN_SECONDS = 1.0


def main(log: str, acks_path: str, durability: str, how: str) -> None:
    """Do it."""
    acks = Acks(acks_path)
    stuck = threading.Event()

    def handler(payload: bytes) -> None:
        if payload == b"stuck":
            stuck.set()
            threading.Event().wait()

    config = Config(
        persist_path=log,
        durability=cast("Durability", durability),
        num_workers=2,
        queue_size=20,
        shutdown_timeout=SHUTDOWN_SECONDS,
    )
    with JobQueue(config, handler=handler) as jq:

        def terminate(_number: int, _frame: FrameType | None) -> None:
            os.write(1, b"terminating\n")  # `print` must not interrupt itself
            if how == "exits":
                raise SystemExit(0)
            jq.close()

        jq.enqueue(Job(b"stuck", id="stuck"))
        acks.add("accepted stuck")
        stuck.wait()
        signal.signal(signal.SIGTERM, terminate)
        print("serving")
        n = 0
        while True:
            try:
                job_id = jq.enqueue(Job(id=f"job-{n}")).id
            except QueueClosedError:
                break
            acks.add(f"accepted {job_id}")
            n += 1


if __name__ == "__main__":
    main(*sys.argv[1:])
