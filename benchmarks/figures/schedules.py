"""How late the job of a tick is enqueued, on a machine that has nothing else to do."""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from statistics import median

from benchmarks.handlers import nothing
from benchmarks.loads import config_for
from benchmarks.measure import Figure, Findings, scratch
from jobqueue.final import Job, JobHandle, JobQueue, Middleware
from jobqueue.final.config import Durability

INTERVAL_SECONDS = 0.05
TICKS = 100
LATE_MILLISECONDS_MAX = 20.0

KINDS: tuple[Durability | None, ...] = (None, "write", "fsync")


class Lateness(Middleware):
    """Notes how long after its tick each job was accepted."""

    def __init__(self, count: int) -> None:
        self.seconds: list[float] = []
        self.is_enough = threading.Event()
        self._count = count

    def enqueue(self, job: Job, call_next: object) -> JobHandle:
        """When this has its handle, the job is enqueued."""
        handle: JobHandle = call_next(job)  # type: ignore[operator]
        due = datetime.fromisoformat(job.id.partition("@")[2]).timestamp()
        self.seconds.append(time.time() - due)
        if len(self.seconds) >= self._count:
            self.is_enough.set()
        return handle


def ticks() -> Findings:
    """In memory and at two levels of durability; the worst of some seconds counts."""
    with scratch() as directory:
        return Findings([_figure(kind, directory / str(kind)) for kind in KINDS])


def _figure(kind: Durability | None, directory: Path) -> Figure:
    late = _late(kind, directory)
    return Figure(
        f"a tick every {INTERVAL_SECONDS * 1e3:g} ms, {kind or 'memory'}: at worst late by",
        max(late) * 1e3,
        LATE_MILLISECONDS_MAX,
        at_most=True,
        unit="ms",
        detail=f"median {median(late) * 1e3:.1f} ms, of {len(late)} ticks",
    )


def _late(kind: Durability | None, directory: Path) -> list[float]:
    """Seconds from a tick until its job was accepted."""
    lateness = Lateness(TICKS)
    config = config_for(kind, directory)
    with JobQueue(config, handler=nothing, middleware=[lateness]) as jq:
        jq.periodic("tick", timedelta(seconds=INTERVAL_SECONDS), Job)
        assert lateness.is_enough.wait(TICKS * INTERVAL_SECONDS * 10)
        return lateness.seconds[:TICKS]
