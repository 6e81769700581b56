"""Runs of a real queue on a recorded disk, in which a bit of everything happens, by seed."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, contextmanager
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple
from unittest.mock import patch

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobInfo,
    JobQueue,
    LogWriteError,
    Priority,
    RejectJobError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal import appender as segment
from jobqueue.final.wal.reading.fold import CANCELLED, COMPLETED, FAILED, QUEUED
from tests.support.crash_check import RETENTION, WALL, on_disk
from tests.support.disk_tree import Tree
from tests.support.ledger import FRESH, NOT_THERE, Durability, Ledger, Standing, Step
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles
from tests.support.waiting import PATIENCE, eventually

from . import insides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

WINDOW_BYTES = 8192
"""Of the maps of these runs: small, so that they move on often."""
SEGMENT_BYTES = 4096
FORGETFUL_RETENTION = 3
_ROUNDS_MAX = 200
BASE_DELAY = 1.0
MAX_RETRIES = 2


class Way(NamedTuple):
    """How a log is written: the durability, and whether through a map."""

    durability: Durability
    mapped: bool

    def __str__(self) -> str:
        return f"{self.durability}, {'mapped' if self.mapped else 'plain'}"


WAYS = (
    Way("async", False),
    Way("write", True),
    Way("write", False),
    Way("fsync", True),
    Way("fsync", False),
)
"""All that there are: "async" never uses a map."""
OFTEN_AND_DAILY = [
    *(pytest.param(way) for way in (WAYS[0], WAYS[1], WAYS[4])),
    *(pytest.param(way, marks=pytest.mark.daily) for way in (WAYS[2], WAYS[3])),
]
"""In each run each level, and both ways to write; the other pairs of them once a day."""

_PAYLOADS = (b"", b"text", b"a\nb\r\0\xff", "\u2028\x85 \U0001f600".encode(), b"x" * 700)
_OUTCOMES = ("ok", "ok", "ok", "fail", "fail", "reject", "later")


@contextmanager
def small_windows() -> Iterator[None]:
    """Have maps move on often, and the package's log records go nowhere."""
    logger = logging.getLogger("jobqueue")
    was_disabled = logger.disabled
    logger.disabled = True
    try:
        with patch.object(segment, "WINDOW_BYTES", WINDOW_BYTES):
            yield
    finally:
        logger.disabled = was_disabled


class CrashRun:
    """A queue, what it is asked for by seed, and the ledger of what it promised.

    To be entered; its queue is closed, whatever happens, at the end.

    Args:
        way: how the log is written.
        forgetful: whether few finished jobs are remembered: that is when compaction pays.
        files, ledger: of a disk and its past; by default there is none.
    """

    def __init__(
        self,
        seed: int | str,
        way: Way,
        *,
        forgetful: bool = False,
        files: RecordingFiles | None = None,
        ledger: Ledger | None = None,
        fsync_interval: float = 0.002,
    ) -> None:
        if files is None:
            files = RecordingFiles(Tree(EMPTY_DISK), maps=way.mapped, sync_seconds=0)
        self.files = files
        self.ledger = ledger or Ledger(files, way.durability, forgetful=forgetful)
        self._config = Config(
            persist_path=LOG,
            durability=way.durability,
            fsync_interval=fsync_interval,
            num_workers=2,
            segment_bytes=SEGMENT_BYTES,
            status_retention=FORGETFUL_RETENTION if forgetful else RETENTION,
            max_retries=MAX_RETRIES,
            base_delay=BASE_DELAY,
            jitter=0,
            max_crashes=1000,
        )
        self._random = Random(f"{seed} {way}")
        self._name = str(seed)
        self._clock = ManualClock(WALL)
        self._count = 0
        self._plans: dict[str, list[str]] = {}
        self._held = 0
        self._gate = threading.Event()
        self._paused = False
        self._jq: JobQueue | None = None
        self._stack = ExitStack()

    def __enter__(self) -> CrashRun:
        self._stack.enter_context(small_windows())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._gate.set()
        if self._jq is not None:
            self._close()
        self._stack.close()

    @property
    def jq(self) -> JobQueue:
        """The queue that is open."""
        assert self._jq is not None
        return self._jq

    @property
    def is_broken(self) -> bool:
        """Whether the log has failed for good."""
        journal = insides.journal(self.jq)
        return journal is None or journal.writer.failure is not None

    # ── the life of a queue ──────────────────────────────────────────────────────────────────

    def open(self) -> None:
        """Open the log and let its jobs run."""
        self._jq = self._opened()
        self.ledger.recovered({i: s for i in self.ledger.histories if (s := self._told(i))})
        self._paused = False
        self._jq.start()

    def _opened(self) -> JobQueue:
        handlers = {"work": self._work}
        while True:
            faults = self.files.injected
            try:
                with on_disk(self.files):
                    return JobQueue(self._config, handlers=handlers, start=False, clock=self._clock)
            except OSError:
                if self.files.injected == faults:
                    raise

    def close(self) -> None:
        """Close the queue, which leaves what waits."""
        self.let_go()
        self.settle()
        seen = self.ledger.seen()
        has_written_all = self._close()
        log = self.jq.metrics().log
        if has_written_all and log is not None and log.error is None:
            self.ledger.flushed(seen)
        self._jq = None

    def _close(self) -> bool:
        """Whether all that was accepted is written; the disk's faults may have come between."""
        try:
            self.jq.close(PATIENCE, drain=False)
        except LogWriteError:
            assert self.files.injected
            return False
        return True

    def script(self, count: int) -> None:
        """Ask the queue for so many things."""
        for _ in range(count):
            if self.is_broken:
                return
            self._random.choices(_ASKED, _WEIGHTS)[0](self)

    # ── what a queue is asked for ────────────────────────────────────────────────────────────

    def _new_job(self, *, handler: str = "work", plan: list[str] | None = None) -> Job:
        random = self._random
        self._count += 1
        job_id = f"{self._name}-{self._count}"
        chance = [random.choice(_OUTCOMES) for _ in range(random.randrange(4))]
        self._plans[job_id] = chance if plan is None else list(plan)
        return Job(
            random.choice(_PAYLOADS),
            id=job_id,
            priority=random.choice(list(Priority)),
            handler=handler,
            max_retries=random.choice((None, 0, 1)),
            headers=random.choice((None, {"trace": "a\u2028b"})),
        )

    def enqueue(self) -> None:
        """A job for a worker."""
        self._enqueue(self._new_job())

    def enqueue_parked(self) -> None:
        """A job whose handler is not there."""
        self._enqueue(self._new_job(handler="absent"))

    def enqueue_delayed(self) -> None:
        """A job for later."""
        self._enqueue(self._new_job(), delay=self._random.choice((0.5, 3.0, 1000.0)))

    def hold(self) -> None:
        """A job whose handler does not return before it is let go."""
        if self._held or self._paused:
            return
        job = self._new_job(plan=["hold"])
        if self._enqueue(job):
            self._held = 1
            eventually(lambda: self.is_broken or self.jq.status(job.id) is Status.PROCESSING)

    def let_go(self) -> None:
        """Have that handler return."""
        self._held = 0
        self._gate.set()
        self.settle()
        self._gate.clear()

    def _enqueue(self, job: Job, delay: float = 0.0) -> bool:
        standing = Standing(QUEUED, due=self._clock.time() + delay) if delay else FRESH
        step = self.ledger.begin(job.id, standing, job)
        return self._asked({job.id: step}, lambda: self.jq.enqueue(job, delay=delay))

    def enqueue_many(self, plan: list[str] | None = None) -> None:
        """Some jobs at once."""
        jobs = [self._new_job(plan=plan) for _ in range(self._random.randrange(2, 6))]
        steps = {job.id: self.ledger.begin(job.id, FRESH, job) for job in jobs}
        self._asked(steps, lambda: self.jq.enqueue_many(jobs))

    def cancel(self) -> None:
        """Cancel a job that waits."""
        self.settle()
        waiting = self._where(Status.SCHEDULED) + self._parked()
        if waiting:
            job_id = self._random.choice(waiting)
            was = self.ledger.last_steps()[job_id].standing
            step = self._begin(job_id, CANCELLED, retries=was.retries, error=was.error)
            self._asked({job_id: step}, lambda: self.jq.cancel(job_id), undone=False)

    def requeue(self) -> None:
        """Queue a dead letter again."""
        self.settle()
        dead = self._where(Status.FAILED)
        if dead:
            job_id = self._random.choice(dead)
            step = self.ledger.begin(job_id, FRESH)
            self._asked({job_id: step}, lambda: self.jq.requeue(job_id))

    def discard(self) -> None:
        """Drop a dead letter."""
        self.settle()
        dead = self._where(Status.FAILED)
        if dead:
            job_id = self._random.choice(dead)
            step = self.ledger.begin(job_id, NOT_THERE)
            self._asked({job_id: step}, lambda: self.jq.discard(job_id), undone=False)

    def _asked(
        self, steps: dict[str, Step], call: Callable[[], object], *, undone: bool = True
    ) -> bool:
        """Make a call that promises steps; `undone`: if it raises, none of them is made."""
        seen = self.ledger.seen()
        try:
            call()
        except LogWriteError as error:
            accepted = {handle.id for handle in error.accepted}
            if accepted:
                self.ledger.ack([steps[job_id] for job_id in accepted], seen)
            if undone and not self.is_broken:
                for job_id in steps.keys() - accepted:
                    self.ledger.refuse(job_id, steps[job_id])
            return False
        self.ledger.ack(steps.values(), seen)
        return True

    def flush(self) -> None:
        """Have everything on the disk."""
        seen = self.ledger.seen()
        try:
            self.jq.flush()
        except LogWriteError:
            return
        self.ledger.flushed(seen)

    def pause(self) -> None:
        """Have the workers take nothing more, or go on."""
        (self.jq.resume if self._paused else self.jq.pause)()
        self._paused = not self._paused

    def resume(self) -> None:
        """Have the workers go on, if they do not."""
        if self._paused:
            self.pause()

    def advance(self) -> None:
        """Let time pass."""
        self.settle()
        self._clock.advance(self._random.choice((1.0, 2.0, 5.0)))

    def reopen(self) -> None:
        """Close the queue and open it again."""
        self.close()
        self.open()

    def _where(self, *statuses: Status) -> list[str]:
        """The jobs that have one of these statuses, oldest first."""
        infos = {job_id: self._info(job_id) for job_id in self.ledger.histories}
        return [i for i, info in infos.items() if info is not None and info.status in statuses]

    def _parked(self) -> list[str]:
        queued = self._where(Status.QUEUED)
        return [job_id for job_id in queued if self.jq.info(job_id).handler == "absent"]

    # ── what comes of it ─────────────────────────────────────────────────────────────────────

    def settle(self) -> None:
        """Wait until nothing goes on, and note where all jobs stand."""
        eventually(lambda: self.is_broken or (self._is_quiet() and not self._unsettled()))
        unsettled = self._unsettled()
        self.ledger.note_seen(i for i in self.ledger.histories if i not in unsettled)

    def _is_quiet(self) -> bool:
        metrics = self.jq.metrics()
        parked = insides.parked_count(self.jq)
        return metrics.processing == self._held and (self._paused or metrics.queued == parked)

    def _unsettled(self) -> set[str]:
        """The jobs that do not stand where they will in a moment."""
        steps = self.ledger.last_steps()
        return {i for i, s in steps.items() if not self._stands(i, s.standing)}

    def _stands(self, job_id: str, standing: Standing) -> bool:
        info = self._info(job_id)
        if info is None:
            return standing == NOT_THERE or (
                self.ledger.forgetful and standing.status in (COMPLETED, CANCELLED)
            )
        return _told_of(info) == (standing.status, standing.retries, standing.error)

    def _told(self, job_id: str) -> Standing | None:
        """Where the queue says that a job stands, as the ledger has it."""
        info = self._info(job_id)
        if info is None:
            return None
        told = _told_of(info)
        for step in reversed(self.ledger.histories[job_id].steps):
            standing = step.standing
            if told == (standing.status, standing.retries, standing.error):
                return standing
        raise AssertionError(f"job {job_id!r} came back as {info}")

    def _info(self, job_id: str) -> JobInfo | None:
        try:
            return self.jq.info(job_id)
        except UnknownJobError:
            return None

    def until_compacted(self) -> None:
        """Finish jobs until a snapshot has replaced segments."""
        for _ in range(_ROUNDS_MAX):
            if self.is_broken or self._has_snapshot():
                return
            self.resume()
            self.enqueue_many(plan=["ok"])
            self.settle()

    def _has_snapshot(self) -> bool:
        return any(name.endswith(".snapshot.jsonl") for name in self.files.list_directory(LOG))

    # ── in a worker ──────────────────────────────────────────────────────────────────────────

    def _work(self, payload: bytes, context: JobContext) -> None:
        job = context.job
        attempt = self.ledger.enter(job.id)
        plan = self._plans.get(job.id)
        outcome = plan.pop(0) if plan else "ok"
        if outcome == "hold":
            assert self._gate.wait(PATIENCE)
        error = self._tell(job, context.attempt, outcome)
        self.ledger.leave(attempt)
        if error is not None:
            raise error

    def _tell(self, job: Job, retries: int, outcome: str) -> Exception | None:
        """Note what will come of an attempt; returns the error that makes it so."""
        if outcome in ("ok", "hold"):
            last = self.ledger.last_steps()[job.id].standing.error
            self._begin(job.id, COMPLETED, retries=retries, error=last)
            return None
        error = _ERRORS[outcome](f"attempt {retries}")
        text = f"{type(error).__name__}: {error}"
        retries_max = MAX_RETRIES if job.max_retries is None else job.max_retries
        if outcome == "reject" or retries >= retries_max:
            self._begin(job.id, FAILED, retries=retries, error=text)
        else:
            delay = _LATER_SECONDS if outcome == "later" else BASE_DELAY * 2**retries
            due = self._clock.time() + delay
            self._begin(job.id, QUEUED, retries=retries + 1, due=due, error=text)
        return error

    def _begin(self, job_id: str, status: str, **fields: Any) -> Step:
        return self.ledger.begin(job_id, Standing(status, **fields))


def _told_of(info: JobInfo) -> tuple[str, int, str | None]:
    is_open = info.status in (Status.QUEUED, Status.SCHEDULED, Status.PROCESSING)
    return (QUEUED if is_open else info.status.value, info.retries, info.last_error)


_LATER_SECONDS = 7.0
_ERRORS: dict[str, Callable[[str], Exception]] = {
    "fail": ValueError,
    "reject": RejectJobError,
    "later": lambda text: RetryJobError(text, delay=_LATER_SECONDS),
}
_ASKED, _WEIGHTS = zip(
    (CrashRun.enqueue, 6),
    (CrashRun.enqueue_many, 3),
    (CrashRun.enqueue_parked, 2),
    (CrashRun.enqueue_delayed, 2),
    (CrashRun.hold, 1),
    (CrashRun.let_go, 1),
    (CrashRun.cancel, 2),
    (CrashRun.requeue, 2),
    (CrashRun.discard, 1),
    (CrashRun.flush, 2),
    (CrashRun.pause, 1),
    (CrashRun.advance, 3),
    (CrashRun.reopen, 1),
    strict=True,
)
