"""What a queue has promised about its jobs, and when: what a log must hold after a crash.

Time is the number of events of a `RecordingFiles`.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from jobqueue.final import Job
from jobqueue.final.wal.reading.fold import CANCELLED, COMPLETED, QUEUED, JobState
from tests.support.disk_tree import Made, SyncBegan, Synced, SyncFailed
from tests.support.recording_files import RecordingFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Durability = Literal["async", "write", "fsync"]
Crash = Literal["power cut", "kill -9"]
ABSENT = "absent"


@dataclass(frozen=True)
class Standing:
    """Where a job stands, as the log tells it."""

    status: str
    retries: int = 0
    due: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, state: JobState | None) -> Standing:
        """Where the job of a recovered log stands."""
        if state is None:
            return NOT_THERE
        return cls(state.status, state.retries, state.due, state.error)


def is_finished(standing: Standing) -> bool:
    """Whether the job may be forgotten."""
    return standing.status in (COMPLETED, CANCELLED)


NOT_THERE = Standing(ABSENT)
FRESH = Standing(QUEUED)


@dataclass
class Step:
    """A job came to stand somewhere.

    Attributes:
        standing: where it came to stand.
        begun: no record of it was written before this time.
        seen: whether the queue has told of it, so that its record is at least waiting.
        kept: from when on the kernel has its record.
        durable: from when on it is on the disk, if that was promised by itself.
    """

    standing: Standing
    begun: int
    seen: bool = False
    kept: int | None = None
    durable: int | None = None


@dataclass
class History:
    """The steps of one job, from not being there on; `job` as it was enqueued last."""

    steps: list[Step]
    job: Job | None = None


@dataclass(frozen=True)
class Expected:
    """What may be found of one job: a step from `first` on, up to `last`."""

    history: History
    first: int
    last: int

    def find(self, standing: Standing) -> int | None:
        """The first of the steps that leads there."""
        steps = self.history.steps
        for index in range(self.first, self.last + 1):
            if steps[index].standing == standing:
                return index
        return None

    def __str__(self) -> str:
        steps = self.history.steps[self.first : self.last + 1]
        return " or ".join(str(step.standing) for step in steps)


@dataclass
class Attempt:
    """A handler ran a job between two times."""

    job_id: str
    entered: int
    left: int | None = None


class Ledger:
    """Keeps the promises of one queue after the other over one recording. Thread-safe.

    Args:
        files: the recording.
        durability: of the queue.
        forgetful: whether the queue remembers few finished jobs, so that any of them may be gone.
    """

    def __init__(
        self, files: RecordingFiles, durability: Durability, *, forgetful: bool = False
    ) -> None:
        self.durability = durability
        self.histories: dict[str, History] = {}
        self.attempts: list[Attempt] = []
        self.forgetful = forgetful
        self._files = files
        self._lock = threading.Lock()  # guards all histories and attempts
        self._syncs_found: tuple[int, _Syncs] | None = None

    # ── while the queue runs ─────────────────────────────────────────────────────────────────

    def begin(self, job_id: str, standing: Standing, job: Job | None = None) -> Step:
        """From now on the log may say this of a job. Call it before the queue is asked for it."""
        step = Step(standing, self._files.now())
        with self._lock:
            history = self.histories.setdefault(job_id, History([Step(NOT_THERE, 0)]))
            history.steps.append(step)
            if job is not None:
                history.job = job
        return step

    def refuse(self, job_id: str, step: Step) -> None:
        """The queue would not, and nothing of it may be found."""
        with self._lock:
            self.histories[job_id].steps.remove(step)

    def seen(self) -> list[Step]:
        """The steps whose records are waiting at least: the next record finds them before it."""
        with self._lock:
            return [s for h in self.histories.values() for s in h.steps if s.seen]

    def ack(self, steps: Iterable[Step], before: Iterable[Step]) -> None:
        """A call returned that promised `steps`; with them come those seen before it."""
        now = self._files.now()
        with self._lock:
            for step in steps:
                step.seen = True
            for step in (*steps, *before):
                if self.durability != "async" and step.kept is None:
                    step.kept = now
                if self.durability == "fsync" and step.durable is None:
                    step.durable = now

    def flushed(self, before: Iterable[Step]) -> None:
        """A call returned that fsyncs all that was seen before it."""
        now = self._files.now()
        with self._lock:
            for step in before:
                step.kept = now if step.kept is None else step.kept
                step.durable = now if step.durable is None else step.durable

    def last_steps(self) -> dict[str, Step]:
        """Where each job stands by now, or will in a moment."""
        with self._lock:
            return {job_id: history.steps[-1] for job_id, history in self.histories.items()}

    def note_seen(self, job_ids: Iterable[str]) -> None:
        """The queue has told that these jobs stand where they last came to stand."""
        with self._lock:
            for job_id in job_ids:
                for step in self.histories[job_id].steps:
                    step.seen = True

    def enter(self, job_id: str) -> Attempt:
        """A handler runs a job."""
        attempt = Attempt(job_id, self._files.now())
        with self._lock:
            self.attempts.append(attempt)
        return attempt

    def leave(self, attempt: Attempt) -> None:
        """It is about to return."""
        attempt.left = self._files.now()

    # ── after a crash ────────────────────────────────────────────────────────────────────────

    def expected(self, at: int, crash: Crash) -> dict[str, Expected]:
        """What may be found if the crash came after so many events."""
        with self._lock:
            return {i: self._expect(h, at, crash) for i, h in self.histories.items()}

    def _expect(self, history: History, at: int, crash: Crash) -> Expected:
        first = last = 0
        for index, step in enumerate(history.steps):
            if step.begun <= at:
                last = index
            if self._is_promised(step, at, crash):
                first = index
        return Expected(history, first, last)

    def _is_promised(self, step: Step, at: int, crash: Crash) -> bool:
        if step.durable is not None and step.durable <= at:
            return True
        if step.kept is None or step.kept > at:
            return False
        syncs = self._syncs()
        if crash == "kill -9" and not syncs.failed_between(0, at):
            return True
        # Its record may be older than the call that told of it, and than an fsync that failed
        # between the two.
        ended = syncs.end_after(step.kept)
        return ended is not None and ended <= at and not syncs.failed_between(step.begun, ended)

    def _syncs(self) -> _Syncs:
        if self._syncs_found is None or self._syncs_found[0] != self._files.now():
            self._syncs_found = (self._files.now(), _find_syncs(self._files))
        return self._syncs_found[1]

    def running(self, at: int) -> set[str]:
        """The jobs that were in a handler at that time."""
        with self._lock:
            return {
                a.job_id
                for a in self.attempts
                if a.entered <= at and (a.left is None or at < a.left)
            }

    def inherited(self, files: RecordingFiles, at: int, crash: Crash) -> Ledger:
        """A ledger of the recording that begins with what a crash has left."""
        ledger = Ledger(files, self.durability, forgetful=self.forgetful)
        kept = self.expected(at, crash)
        for job_id, durable in self.expected(at, "power cut").items():
            history = durable.history
            past = history.steps[durable.first : durable.last + 1]
            steps = [replace(step, begun=0, seen=True, kept=None, durable=None) for step in past]
            steps[0].durable = steps[kept[job_id].first - durable.first].kept = 0
            ledger.histories[job_id] = History(steps, history.job)
        return ledger

    def recovered(self, standings: Mapping[str, Standing]) -> None:
        """The log was opened and found so: what came later is gone, what is there stays."""
        now = self._files.now()
        with self._lock:
            for job_id, history in self.histories.items():
                standing = standings.get(job_id, NOT_THERE)
                stood = [step.standing for step in history.steps]
                if standing == NOT_THERE and self.forgetful and any(map(is_finished, stood)):
                    continue
                if standing in stood:
                    history.steps.append(Step(standing, now, seen=True, durable=now))


_SEGMENT = re.compile(r".*/(\d+)\.jsonl")


@dataclass(frozen=True)
class _Syncs:
    """The fsyncs of the active segment, in the order in which they began.

    Attributes:
        began: when each of them began.
        ended: when the first of it and those that follow had ended.
        failed: when each that failed had failed.
    """

    began: list[int]
    ended: list[int]
    failed: list[int]

    def end_after(self, time: int) -> int | None:
        """When the first one had ended that began at a time or later."""
        index = bisect_left(self.began, time)
        return self.ended[index] if index < len(self.ended) else None

    def failed_between(self, start: int, end: int) -> bool:
        """Whether one failed: then memory and disk may differ, whatever later ones say."""
        return any(start <= time <= end for time in self.failed)


def _find_syncs(files: RecordingFiles) -> _Syncs:
    names = files.base.names
    active = names.get(max(filter(_SEGMENT.fullmatch, names), default=""), -1)
    counted: set[int] = set()
    syncs: list[tuple[int, int]] = []
    failed: list[int] = []
    for index, event in enumerate(files.events):
        if isinstance(event, Made) and _SEGMENT.fullmatch(event.path):
            active = event.inode
        elif isinstance(event, SyncBegan) and event.target == active:
            counted.add(index)
        elif isinstance(event, Synced) and event.began in counted:
            syncs.append((event.began, index + 1))
        elif isinstance(event, SyncFailed) and event.began in counted:
            failed.append(index + 1)
    syncs.sort()
    earliest = list(accumulate((ended for _, ended in reversed(syncs)), min))
    return _Syncs([began for began, _ in syncs], earliest[::-1], failed)
