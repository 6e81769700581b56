"""The process that is told to end: has a queue full of work, and closes it when SIGTERM comes.

`python -m lab.closing SETTINGS`, with those of `Manner` as JSON, and beside them the
process's home, how many jobs it has, and how long one takes.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jobqueue import final, improved, naive

from .ledger import Ledger

WORKERS = 4


@dataclass(frozen=True, slots=True)
class Manner:
    """How a queue is closed.

    Attributes:
        tier: "naive", "improved" or "final".
        log: whether the queue has one.
        drain: whether it is to finish everything; `None` if one cannot choose.
        timeout: how long it may take to close.
    """

    tier: str
    log: bool = False
    drain: bool | None = None
    timeout: float = 30.0


class Work:
    """Jobs, and a record of which were begun and finished that outlives the process."""

    def __init__(self, home: Path, seconds: float) -> None:
        self._ledger = Ledger(home / "ledger")
        self._seconds = seconds

    def do(self, job_id: str) -> None:
        """One job."""
        self._ledger.note("started", job_id)
        time.sleep(self._seconds)
        self._ledger.note("finished", job_id)

    def close(self) -> None:
        """Close the record."""
        self._ledger.close()


def open_final(manner: Manner, work: Work, home: Path) -> final.JobQueue:
    """The final tier with this work."""

    def handle(_payload: bytes, context: final.JobContext) -> None:
        work.do(context.job.id)

    log = home / "log" if manner.log else None
    return final.JobQueue(final.Config(num_workers=WORKERS, persist_path=log), handler=handle)


def fill(manner: Manner, work: Work, home: Path, jobs: int) -> Callable[[], object]:
    """Open a queue and put all jobs into it; returns what closes it."""
    ids = [f"job-{number}" for number in range(jobs)]
    if manner.tier == "naive":
        first = naive.JobQueue(WORKERS)
        for each in ids:
            first.enqueue(naive.Job(each, partial(work.do, each)))
        return first.close
    if manner.tier == "improved":
        config = improved.Config(num_workers=WORKERS, shutdown_timeout=manner.timeout)
        second = improved.JobQueue(config)
        for each in ids:
            second.enqueue(improved.Job(each, partial(work.do, each)))
        return second.close
    third = open_final(manner, work, home)
    for each in ids:
        third.enqueue(final.Job(id=each))
    return lambda: third.close(manner.timeout, drain=manner.drain)


def main(settings: dict[str, Any]) -> None:
    """Work until SIGTERM comes, close, and end."""
    # Kept pending, in all threads that are started from here on, until this one waits for it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    manner, home = Manner(**settings["manner"]), Path(settings["home"])
    close = fill(manner, Work(home, settings["seconds"]), home, settings["jobs"])
    print("full", flush=True)
    signal.sigwait({signal.SIGTERM})
    close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
