"""Waits to be interrupted in a `with` block ("block"), or closes a queue at its "exit".

The queue's only handler never ends. It says "running", and "closing" once the queue is closed.
"""

from __future__ import annotations

import sys
import threading

from jobqueue.final import Config, Job, JobQueue, QueueClosedError
from tests.support.waiting import until_interrupted

queues: list[JobQueue] = []  # which live to the very end


def _run(_payload: bytes) -> None:
    print("running")
    never = threading.Event()
    try:
        while not never.wait(0.01):
            queues[0].start()
    except QueueClosedError:
        print("closing")
    never.wait()


def main(how: str) -> None:
    """Do it."""
    jq = JobQueue(Config(num_workers=1, shutdown_timeout=3600.0), handler=_run)
    queues.append(jq)
    if how == "exit":
        jq.enqueue(Job())
        return
    with jq:
        jq.enqueue(Job())
        until_interrupted()


if __name__ == "__main__":
    main(*sys.argv[1:])
