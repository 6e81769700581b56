"""What a queue knows, as the model has it: jobs, what ties them, and what becomes of them."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING

from jobqueue.final import (
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    Priority,
    Status,
    UnknownHandlerError,
    UnknownJobError,
)
from tests.support.modelled.jobs import LATE, SETTINGS, Known, identity_of
from tests.support.modelled.lines import Lines
from tests.support.modelled.schedules import Schedules

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from jobqueue.final import JobHandle

_WHAT = {Status.FAILED: "failed", Status.CANCELLED: "was cancelled"}


class State:
    """The jobs of a model, and the rules by which they change; no real queue is asked.

    Attributes:
        holders: which jobs are unique by an identity; no other job may have it.
        reserved: ids that a running job will enqueue, and which job that is.
        counts: what the metrics tell.
        by_handler: what they tell of each handler.
        failures: how many attempts of a handler have failed by an error of a class.
        paused, paused_handlers, paused_priorities: what is.
        listed: the ids of all jobs, in order, once anybody has looked.
        schedules: what is enqueued by itself.
        perhaps_there: jobs that the last completion has forgotten in place of others that ended at
            the same time: the queue may have known them still, and forgotten those first.
    """

    def __init__(self, reserved_workers: int) -> None:
        self.now = 0.0
        self.numbers = itertools.count(1)
        self.workers_for_lower = int(SETTINGS["num_workers"]) - reserved_workers
        self.jobs: dict[str, Known] = {}
        self.schedules = Schedules()
        self.begin_again(has_late=False)

    def begin_again(self, *, has_late: bool) -> None:
        """Another queue: it knows no more than the jobs."""
        self.has_late = has_late
        self.lines = Lines(lambda: self.now)
        self.counts: Counter[tuple[str, Priority]] = Counter()
        self.by_handler: Counter[tuple[str, str | None]] = Counter()
        self.failures: Counter[tuple[str | None, str]] = Counter()
        self.paused = False
        self.paused_handlers: set[str] = set()
        self.paused_priorities: set[Priority] = set()
        self.listed: list[str] | None = None
        self.schedules.begin_again()
        self.holders: dict[tuple[object, ...], list[Known]] = {}
        self.reserved: dict[str, Known] = {}
        self.perhaps_there: dict[str, Known] = {}

    def count(self, name: str, known: Known) -> None:
        """Count in the metrics."""
        self.counts[name, known.job.priority] += 1
        if not self.is_parked(known.job):
            self.by_handler[name, known.job.handler] += 1

    # ── where jobs are ───────────────────────────────────────────────────────────────────────

    @property
    def running(self) -> list[Known]:
        """The jobs that handlers run."""
        return [known for known in self.jobs.values() if known.status is Status.PROCESSING]

    def lane(self, priority: Priority) -> list[Known]:
        """The jobs of a lane that are in it, in order."""
        lane = [
            known
            for known in self.jobs.values()
            if known.job.priority is priority
            and known.status is Status.QUEUED
            and known.line is None
            and not known.held
            and not self.is_parked(known.job)
        ]
        return sorted(lane, key=lambda known: known.rank)

    def with_work(self) -> list[Priority]:
        """The lanes from which a worker may take a job now."""
        lower = sum(known.job.priority > Priority.HIGH for known in self.running)
        allowed = set(Priority) if lower < self.workers_for_lower else {Priority.HIGH}
        allowed -= set(Priority) if self.paused else self.paused_priorities
        return [priority for priority in sorted(allowed) if self.lane(priority)]

    def room(self, priority: Priority) -> int:
        """The places left in a lane for new jobs."""
        taken = sum(
            known.has_room for known in self.jobs.values() if known.job.priority is priority
        )
        return int(SETTINGS["queue_size"]) - taken

    def is_parked(self, job: Job) -> bool:
        """Whether a job waits for its handler."""
        return job.handler == LATE and not self.has_late

    def parked(self, priority: Priority) -> int:
        """How many jobs of a lane wait for their handler, or will; they take no room."""
        return sum(
            known.waits and self.is_parked(known.job)
            for known in self.jobs.values()
            if known.job.priority is priority
        )

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is left that could run by itself."""
        return not any(
            known.is_live and not (known.status is Status.QUEUED and self.is_parked(known.job))
            for known in self.jobs.values()
        )

    def in_order(self) -> list[Known]:
        """All jobs: as they were made when anybody looked first, then as they were accepted."""
        if self.listed is None:
            self.listed = sorted(self.jobs, key=lambda each: (self.jobs[each].job.created, each))
        return [self.jobs[each] for each in self.listed if each in self.jobs]

    # ── a new job ────────────────────────────────────────────────────────────────────────────

    def refuses(self, job: Job) -> type[Exception] | None:
        """Why a job is not accepted, whatever room there is and whatever it is tied to."""
        if job.id in self.jobs or job.id in self.reserved:
            return DuplicateJobError
        if self.is_parked(job) and self.parked(job.priority) >= SETTINGS["queue_size"]:
            return UnknownHandlerError
        return None

    def meets(
        self,
        job: Job,
        delay: float,
        *,
        within: bool = False,
        siblings: Collection[Known] | None = None,
    ) -> type[Exception] | Known | None:
        """What a job that is not refused meets: an error, one that is like it, or nothing.

        One whose place it takes is cancelled by this.

        Args:
            within: whether it is a handler that enqueues it.
            siblings: those that came by the same completion, if it comes by one.
        """
        if siblings is None and any(each not in self.jobs for each in job.after):
            return UnknownJobError
        needs_none = within or bool(delay or job.after or self.is_parked(job))
        while (first := self.holder(job)) is not None:
            assert job.unique is not None
            if job.unique.on_conflict == "raise":
                return DuplicateJobError
            is_kept = job.unique.on_conflict != "replace" or not first.is_new
            if is_kept or first in (siblings or ()):
                return first
            leaves_room = first.has_room and first.job.priority is job.priority
            if not (needs_none or leaves_room or self.room(job.priority)):
                break
            self.end(first, Status.CANCELLED, JobCancelledError)
        return None if needs_none or self.room(job.priority) else EnqueueTimeoutError

    def holder(self, job: Job) -> Known | None:
        """The job that is like this one, if there is one."""
        if job.unique is None:
            return None
        return next(iter(self.holders.get(identity_of(job), ())), None)

    def accept(
        self,
        job: Job,
        handle: JobHandle | None,
        delay: float = 0.0,
        *,
        parent: Known | None = None,
        after: Sequence[str] | None = None,
        doomed: list[Known] | None = None,
    ) -> Known:
        """It is added.

        Args:
            parent: the job whose completion does so, if one does.
            after: the jobs that it is to run after, if not those that it says.
            doomed: if it is to be cancelled at once, it is put here, and not cancelled yet.
        """
        known = Known(job, Status.QUEUED, next(self.numbers), handle=handle)
        self.jobs[job.id] = known
        if self.listed is not None:
            self.listed = [each for each in self.listed if each != job.id] + [job.id]
        self.count("enqueued", known)
        if delay:
            known.status, known.due = Status.SCHEDULED, self.now + delay
        why = self._wait(known, job.after if after is None else after, parent)
        if job.expires is not None:
            known.expires_at = self.now + job.expires
        self.hold(known)
        if why is not None:
            known.status, known.error = Status.SCHEDULED, why
            if doomed is not None:
                doomed.append(known)
            elif parent is None:  # else when all that come with it are there
                self.end(known, Status.CANCELLED, JobCancelledError)
        elif known.waits_for:
            known.status = Status.SCHEDULED
        elif not delay:
            known.has_room = bool(
                not self.is_parked(job) and not job.after and self.room(job.priority)
            )
            self.queue(known, next(self.numbers))
        return known

    def _wait(self, known: Known, after: Sequence[str], parent: Known | None) -> str | None:
        """Have it wait for those that it is to run after; returns why it is to be cancelled."""
        why: list[str] = []
        perhaps: list[str] = []
        for each in dict.fromkeys(after):
            before = self.jobs.get(each)
            if parent is not None and each == parent.job.id:
                continue
            if before is None:  # it was known when the parent's handler asked for this one
                gone = f"job {each!r}, which it waits for, is not known any more"
                if each not in self.perhaps_there:
                    why = [gone]
                    continue
                perhaps.append(gone)
                status = self.perhaps_there[each].status
                perhaps += [reason(each, status)] if status in _WHAT else []
            elif before.is_live:
                known.waits_for.append(each)
            elif before.status in _WHAT:
                why.append(reason(each, before.status))
        if not perhaps:
            return self.choose_reason(known, [*why]) if why else None
        return self.choose_reason(known, [*perhaps, *why] if why else [*perhaps, None])

    def choose_reason(self, known: Known, reasons: list[str | None]) -> str | None:
        """Why a job is cancelled, if there are several reasons; None is for not at all."""
        del known
        return reasons[0]

    def hold(self, known: Known) -> None:
        """From now on it is unique, if it is to be."""
        unique = known.job.unique
        if unique is not None and not (unique.until == "started" and known.has_begun):
            self.holders.setdefault(identity_of(known.job), []).append(known)

    def release(self, known: Known) -> None:
        """It is not unique any more."""
        if known.job.unique is not None:
            held = self.holders.get(identity_of(known.job), [])
            if known in held:
                held.remove(known)

    def queue(self, known: Known, number: float, *order: float) -> None:
        """It enters its lane at the back; jobs with the same number in any order."""
        known.status = Status.QUEUED
        known.rank = (number, *order)
        known.held = 0

    # ── an attempt ───────────────────────────────────────────────────────────────────────────

    def start(self, known: Known) -> None:
        """A handler runs it."""
        self.lines.start(known)
        known.status = Status.PROCESSING
        known.has_room = False
        known.started = self.now
        known.has_begun = known.has_run = True
        if known.job.unique is not None and known.job.unique.until == "started":
            self.release(known)

    def retry(self, known: Known, delay: float) -> None:
        """It is tried again later."""
        known.status = Status.SCHEDULED
        known.due = self.now + delay
        known.retries += 1
        known.has_begun_in_log = True
        self.count("retried", known)
        self.leave(known)

    def leave(self, known: Known) -> None:
        """Its attempt has ended."""
        for job_id, parent in tuple(self.reserved.items()):
            if parent is known:
                del self.reserved[job_id]
        known.children = []
        self.lines.leave(known)

    def complete(self, known: Known, outcome: object) -> list[Known]:
        """Its handler has returned; returns the jobs that come of it."""
        self.release(known)
        known.status, known.outcome, known.finished = Status.COMPLETED, outcome, self.now
        self.count("completed", known)
        self.perhaps_there.clear()
        self.forget()
        born: list[Known] = []
        children, number = known.children, next(self.numbers)
        self.leave(known)
        names: dict[str, str] = {}
        for held in children:
            after = [names.get(each, each) for each in held.after]
            met = self.meets(held, 0.0, within=True, siblings=born)
            self.forget()
            if isinstance(met, Known):
                names[held.id] = met.job.id
            if met is None:
                child = self.accept(held, None, parent=known, after=after)
                child.has_room = False
                if child.status is Status.QUEUED:
                    child.rank = (number,)
                born.append(child)
        for child in born:
            if child.error is not None:
                self.end(child, Status.CANCELLED, JobCancelledError)
        self._let_go(known, number)
        return born

    def end(self, known: Known, status: Status, outcome: object) -> None:
        """It has failed, or is cancelled."""
        known.status, known.outcome, known.finished = status, outcome, self.now
        known.has_room = False
        self.count(status.value, known)
        self.release(known)
        self.leave(known)
        self._let_go(known, next(self.numbers))

    def _let_go(self, known: Known, number: float) -> None:
        """It has ended: what waits for it waits no more, or is about to be cancelled."""
        for each in self.jobs.values():
            if each.waits and known.job.id in each.waits_for:
                each.waits_for.remove(known.job.id)
                if known.status is not Status.COMPLETED:
                    each.doomed_by.append(reason(known.job.id, known.status))
                elif not (each.waits_for or each.doomed_by or each.due is not None):
                    self.queue(each, number)

    def doomed(self) -> list[Known]:
        """The jobs that are about to be cancelled."""
        return [each for each in self.jobs.values() if each.waits and each.doomed_by]

    # ── time ─────────────────────────────────────────────────────────────────────────────────

    def pass_time(self, seconds: float) -> None:
        """Jobs become due, tokens come, jobs expire."""
        self.now += seconds
        number = next(self.numbers)
        for known in self.jobs.values():
            if known.status is Status.SCHEDULED and known.due is not None and known.due <= self.now:
                due, known.due = known.due, None
                if not known.waits_for:
                    self.queue(known, number, due)
        self.lines.refill()

    def expired(self) -> list[Known]:
        """The jobs that have not started in time, those that should have first coming first."""
        late = [
            known
            for known in self.jobs.values()
            if known.waits and not known.has_begun and (known.expires_at or 0.0) <= self.now
            if known.expires_at is not None
        ]
        return sorted(late, key=lambda known: (known.expires_at or 0.0, known.number))

    # ── what is forgotten ────────────────────────────────────────────────────────────────────

    def forget(self) -> None:
        """Forget the oldest of the jobs that have ended, if there are too many."""
        ended = [known for known in self.jobs.values() if known.has_ended]
        failed = [known for known in self.jobs.values() if known.status is Status.FAILED]
        for alike, count in ((ended, "status_retention"), (failed, "max_dead_letters")):
            while len(alike) > SETTINGS[count]:
                oldest = self.choose_oldest(alike)
                alike.remove(oldest)
                del self.jobs[oldest.job.id]
                if any(other.finished == oldest.finished for other in alike):
                    self.perhaps_there[oldest.job.id] = oldest

    def choose_oldest(self, alike: list[Known]) -> Known:
        """One of those that ended first."""
        return min(alike, key=lambda known: known.finished or 0.0)

    # ── what is paused ───────────────────────────────────────────────────────────────────────

    def pause_some(self, handler: str | None, priority: Priority | None) -> None:
        """Hold the jobs of a handler, of a lane, or both."""
        self.paused_handlers |= set() if handler is None else {handler}
        self.paused_priorities |= set() if priority is None else {priority}
        self.lines.withdraw(
            [
                known
                for known in self.jobs.values()
                if known.status is Status.QUEUED
                and (
                    known.job.handler in self.paused_handlers
                    or known.job.priority in self.paused_priorities
                )
            ]
        )

    def resume_some(self, handler: str | None, priority: Priority | None) -> None:
        """Let them go on: those that were moved aside stand at the front of their lane again."""
        self.paused_handlers -= {handler}
        self.paused_priorities -= {priority}
        held = [each for each in self.jobs.values() if each.held and each.job.handler == handler]
        for known in sorted(held, key=lambda known: -known.held):
            known.held = 0
            if known.status is Status.QUEUED:
                self.lines.to_front(known)


def reason(job_id: str, status: Status | None) -> str:
    """Why a job is cancelled that waits for this one."""
    what = "was not completed" if status is None else _WHAT[status]
    return f"job {job_id!r}, which it waits for, {what}"
