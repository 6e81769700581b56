"""The process whose memory is watched: a fast producer and slow workers.

`python -m lab.filling SETTINGS`, with those of `Load` as JSON.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from jobqueue import final, improved, naive

WORKERS = 4
STEP_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """How much is produced, and how slowly it is worked off.

    Attributes:
        tier: "naive", "improved" or "final".
        seconds: how long jobs are produced.
        rate: how many a second, if the producer does not have to wait for room.
        payload_bytes: what each carries.
        job_seconds: how long each takes.
    """

    tier: str
    seconds: float
    rate: int
    payload_bytes: int
    job_seconds: float


class Workers:
    """What the jobs do, and how many have done it."""

    def __init__(self, job_seconds: float) -> None:
        self._seconds = job_seconds
        self._lock = threading.Lock()
        self.done = 0

    def handle(self, _payload: bytes) -> None:
        """One job."""
        time.sleep(self._seconds)
        with self._lock:
            self.done += 1


def open_queue(tier: str, handle: Callable[[bytes], None]) -> Callable[[bytes], object]:
    """Open a queue with its default bound; returns what puts a payload into it."""
    if tier == "naive":
        first = naive.JobQueue(WORKERS)
        return lambda payload: first.enqueue(naive.Job("job", partial(handle, payload)))
    if tier == "improved":
        second = improved.JobQueue(improved.Config(num_workers=WORKERS))
        return lambda payload: second.enqueue(improved.Job("job", partial(handle, payload)))
    # It remembers what became of the last 100,000 jobs. Here it is the queue that is watched.
    config = final.Config(num_workers=WORKERS, status_retention=1)
    third = final.JobQueue(config, handler=handle)
    return lambda payload: third.enqueue(final.Job(payload))


def produce(load: Load, enqueue: Callable[[bytes], object]) -> tuple[int, float]:
    """Produce jobs at the load's rate; returns how many were accepted, and how long that blocked.

    What could not be produced because there was no room is not made up for.
    """
    accepted, blocked = 0, 0.0
    step = int(load.rate * STEP_SECONDS)
    end = time.monotonic() + load.seconds
    while (now := time.monotonic()) < end:
        for _ in range(step):
            enqueue(bytes(load.payload_bytes))
        accepted += step
        took = time.monotonic() - now
        blocked += max(0.0, took - STEP_SECONDS)
        time.sleep(max(0.0, STEP_SECONDS - took))
    return accepted, blocked


def main(load: Load) -> None:
    """Say when it begins, produce, and say how many jobs were accepted and done by then.

    Then nothing but SIGTERM ends it: somebody looks at its memory, which is gone with it.
    """
    workers = Workers(load.job_seconds)
    enqueue = open_queue(load.tier, workers.handle)
    print("begin", flush=True)
    accepted, blocked = produce(load, enqueue)
    told = {"accepted": accepted, "done": workers.done, "blocked": round(blocked, 3)}
    print(json.dumps(told), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main(Load(**json.loads(sys.argv[1])))
