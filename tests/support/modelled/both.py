"""A real queue beside its model: each is asked for the same, and they are compared."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.final import (
    Config,
    HandlerCounts,
    HandlerInfo,
    Job,
    JobCancelledError,
    JobQueue,
    Paused,
    Priority,
    RejectJobError,
    RetryJobError,
    Status,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.modelled.filters import Sought
from tests.support.modelled.groups import Group
from tests.support.modelled.jobs import (
    LATE,
    LIMITED,
    NOT_KNOWN,
    SETTINGS,
    Known,
    Order,
    Stage,
    Wish,
    options_of,
    returns,
)
from tests.support.modelled.schedules import PERIODS, Schedule
from tests.support.modelled.state import State, reason
from tests.support.turns import Turns
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jobqueue.final.model.periodic import CatchUp

START = 1000.0
"""Unix time."""
STEP = 0.25
"""Seconds that pass before what ends by a call, so that most jobs end at times of their own."""
COUNTED = ("enqueued", "completed", "failed", "retried", "cancelled", "expired")


def copy_of_one_moment(log: Path, image: Path) -> None:
    """Copy a log between two steps of a compaction, which goes on meanwhile."""
    names: list[str] | None = None
    while names != sorted(os.listdir(log)):
        shutil.rmtree(image, ignore_errors=True)
        names = sorted(os.listdir(log))
        try:
            shutil.copytree(log, image)
        except shutil.Error:
            names = None  # a file was gone before its turn came


class Both(State):
    """A queue and its model.

    Args:
        kind: "memory", or the durability of the log.
        reserved_workers: of the queue.
    """

    def __init__(self, kind: str, reserved_workers: int = 0) -> None:
        super().__init__(reserved_workers)
        self.kind = kind
        self.directory = Path(tempfile.mkdtemp(prefix="jobqueue-model-"))
        self.clock = ManualClock(START)
        self._settings: dict[str, Any] = {**SETTINGS, "reserved_workers": reserved_workers}
        self._images = itertools.count()
        self._every_id: set[str] = set()
        self._told_otherwise: list[object] = []
        self._ended: list[Known] = []  # by the start that is looked at
        self._past: list[dict[str, Known]] = []
        """The jobs as they were before what was written a little later, which a crash undoes."""
        self._open(self.directory / "log", late=False)

    def _open(self, path: Path, *, late: bool) -> None:
        self.path = path
        log: dict[str, Any] = {"persist_path": path, "durability": self.kind}
        self.stage = Stage()
        self.jq = JobQueue(
            Config(**self._settings, **({} if self.kind == "memory" else log)),
            handler=self.stage,
            start=False,
            clock=self.clock,
        )
        for name in (*LIMITED, LATE) if late else LIMITED:
            self.jq.register(name, self.stage, **options_of(name))
        self._tickets = insides.Tickets(self.jq)
        self.jq.start()
        self.turns = Turns(SETTINGS["fairness"])
        self.begin_again(has_late=late)

    def close(self) -> None:
        """The end, of whatever came out."""
        for known in self.running:
            self.stage.tell(known.job.id, returns)
        self.jq.close(PATIENCE, drain=False)
        shutil.rmtree(self.directory)

    # ── what is open until the queue is asked ────────────────────────────────────────────────

    def is_known(self, job_id: str) -> bool:
        """Whether the queue knows a job."""
        try:
            self.jq.status(job_id)
        except UnknownJobError:
            return False
        return True

    def choose_oldest(self, alike: list[Known]) -> Known:
        """Of several jobs that ended at one time, one that the queue has forgotten."""
        first = super().choose_oldest(alike)
        ties = [known for known in alike if known.finished == first.finished]
        gone = [known for known in ties if not self.is_known(known.job.id)]
        return gone[0] if len(ties) > 1 and gone else first

    def choose_reason(self, known: Known, reasons: list[str | None]) -> str | None:
        """One of them that the queue tells."""
        if not self.is_known(known.job.id):
            return reasons[0]
        told = self.jq.info(known.job.id).last_error
        return told if told in reasons else reasons[0]

    def look(self) -> None:
        """Have both know who is at the front of each lane, and may start."""
        eventually(self._has_arrived)
        with insides.mutex(self.jq):
            for priority in Priority:
                # A worker may have looked before: then some of the first have left the lane.
                left = set(insides.out_of_lane(self.jq, priority))
                first = [known.job.id for known in self.lane(priority) if known.job.id in left]
                self._order(priority, [*first, *insides.lane_order(self.jq, priority)])
            insides.look_at_lanes(self.jq)
        for priority in Priority:
            if priority not in self.paused_priorities:
                self.lines.look(self.lane(priority), self.paused_handlers)

    def _has_arrived(self) -> bool:
        with insides.mutex(self.jq):
            return insides.has_arrived(self.jq)

    def _order(self, priority: Priority, real: list[str]) -> None:
        """Take on the order of the real lane, where it is open in the model."""
        lane = self.lane(priority)
        ids = [known.job.id for known in lane]
        assert sorted(real) == sorted(ids), f"{priority!r} has {real}, not {ids}"
        ranks = [self.jobs[job_id].rank for job_id in real]
        assert ranks == sorted(ranks), f"{real} is not the order of {ranks}"
        shared = Counter(ranks)
        for place, job_id in enumerate(real):
            known = self.jobs[job_id]
            if shared[known.rank] > 1:
                known.rank = (*known.rank, place)

    # ── what a crash may undo ────────────────────────────────────────────────────────────────

    def remember(self) -> None:
        """Something is about to change that is written a little later."""
        if self.kind in {"write", "fsync"}:
            self._past.append({job_id: known.copy() for job_id, known in self.jobs.items()})

    def settle(self) -> None:
        """All that happened so far is written: a call has returned that waits for its record."""
        self._past.clear()
        self.see_through()

    def see_through(self) -> None:
        """Have those cancelled that wait for what has failed; the queue does so by itself."""
        while doomed := self.doomed():
            self.remember()
            for known in doomed:
                known.error = self._reason(known)
                known.doomed_by.clear()
                self.end(known, Status.CANCELLED, JobCancelledError)
        eventually(self._has_arrived)
        self.forget()
        self.look()

    def _reason(self, known: Known, *others: str, later: Sequence[Known] = ()) -> str:
        """Why it was cancelled, of the reasons that there are.

        If it was forgotten, any of them by which as many have expired as the queue has counted.

        Args:
            later: those whose time has passed, too, and that are looked at after it.
        """
        eventually(self._has_arrived)
        reasons = [*others, *known.doomed_by]
        if not self.is_known(known.job.id):
            priority = known.job.priority
            expired = self.jq.metrics().by_priority[priority].expired
            sure = [each for each in later if each.job.priority is priority and self._expires(each)]
            return reasons[0 if expired > self.counts["expired", priority] + len(sure) else -1]
        error = self.jq.info(known.job.id).last_error
        assert error in reasons, f"{known.job.id}: {error!r} is none of {reasons}"
        return error

    def _expires(self, known: Known) -> bool:
        """Whether a job whose time has passed was surely cancelled for that."""
        if self.is_known(known.job.id):
            return (self.jq.info(known.job.id).last_error or "").startswith("expired")
        return not (known.waits_for or known.doomed_by)

    # ── time and workers ─────────────────────────────────────────────────────────────────────

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.pass_time(seconds)
        expired = self.expired()
        for place, known in enumerate(expired):
            self.remember()
            why = f"expired after {known.job.expires:g} s"
            later = expired[place + 1 :]
            known.error = self._reason(known, why, later=later) if known.doomed_by else why
            known.doomed_by.clear()
            if known.error == why:
                self.count("expired", known)
            self.end(known, Status.CANCELLED, JobCancelledError)
        self.run_ticks()
        self.see_through()

    def register_late(self) -> None:
        """Register the handler that was missing."""
        self.jq.register(LATE, self.stage, **options_of(LATE))
        self.has_late = True
        number = next(self.numbers)
        for known in self.jobs.values():
            if known.status is Status.QUEUED and known.job.handler == LATE:
                self.queue(known, number)
        self.look()

    def can_start(self) -> bool:
        """Whether a worker is free, and may take a job."""
        return len(self.running) < SETTINGS["num_workers"] and bool(self.with_work())

    def start_one(self) -> None:
        """Have a worker take a job."""
        with_work = self.with_work()
        self._tickets.give(1)
        job_id, attempt, payload = self.stage.entered.get(timeout=PATIENCE)
        known = self.jobs[job_id]
        lane = self.lane(known.job.priority)
        assert known in lane
        assert known.rank == min(other.rank for other in lane), "not the first of its lane"
        self.turns.serve(known.job.priority, with_work)
        assert attempt == known.retries
        assert payload == known.job.payload
        self.start(known)
        self.look()

    def finish_one(self, known: Known, order: Order) -> None:
        """Have the handler of a job do what it is told to last."""
        self.advance(STEP)
        priority = known.job.priority
        left = sum(each.job.priority is priority for each in self.running) - 1
        self.remember()
        self.stage.tell(known.job.id, order)
        meter = insides.status_map(self.jq).meters[priority]
        assert insides.watchers(self.jq).wait(lambda: meter.processing == left, PATIENCE)
        eventually(self._has_arrived)
        try:
            outcome = order()
        except BaseException as error:  # whatever it raises
            self._fail(known, error)
        else:
            for child in self.complete(known, outcome):
                if self.is_known(child.job.id):
                    child.handle = self.jq.handle(child.job.id)
        self.see_through()

    def _fail(self, known: Known, error: BaseException) -> None:
        known.error = f"{type(error).__name__}: {error}"
        retries_max = known.job.max_retries
        if retries_max is None:
            retries_max = SETTINGS["max_retries"]
        if known.stopped:
            self.end(known, Status.CANCELLED, JobCancelledError)
            return
        self.failures[known.job.handler, type(error).__name__] += 1
        if isinstance(error, RejectJobError) or known.retries >= retries_max:
            self.end(known, Status.FAILED, error)
        else:
            backoff = min(SETTINGS["max_delay"], SETTINGS["base_delay"] * 2**known.retries)
            self.retry(known, error.delay if isinstance(error, RetryJobError) else backoff)

    def run_to_rest(self) -> None:
        """Have all jobs come to their end, those that are paused too."""
        for name in self.schedules.there:
            self.pause_schedule(name)
        self.resume_all()
        while any(known.is_live for known in self.jobs.values()):
            while self.can_start():
                self.start_one()
            for known in self.running:
                self.finish_one(known, returns)
            if not self.can_start():
                self.advance(60.0)

    # ── what is paused ───────────────────────────────────────────────────────────────────────

    def pause(self, handler: str | None = None, priority: Priority | None = None) -> None:
        """Start no jobs of a handler or a lane, or none at all."""
        self.jq.pause(handler, priority)
        if handler is None and priority is None:
            self.paused = True
        else:
            self.pause_some(handler, priority)
        self.look()

    def resume(self, handler: str | None = None, priority: Priority | None = None) -> None:
        """Undo that."""
        self.jq.resume(handler, priority)
        if handler is None and priority is None:
            self.paused = False
        else:
            self.resume_some(handler, priority)
        self.look()

    def resume_all(self) -> None:
        """Undo all of them."""
        for handler in tuple(self.paused_handlers):
            self.resume(handler)
        for priority in tuple(self.paused_priorities):
            self.resume(None, priority)
        self.resume()

    # ── many jobs ────────────────────────────────────────────────────────────────────────────

    def first_of(
        self, sought: Sought, may: Callable[[Known], bool], limit: int | None
    ) -> list[Known]:
        """The jobs that a change is about, oldest first."""
        return [known for known in self.in_order() if sought.fits(known) and may(known)][:limit]

    def cancel_one(self, known: Known) -> None:
        """A live job is cancelled, or its handler is asked to stop."""
        if known.waits:
            known.doomed_by.clear()
            self.end(known, Status.CANCELLED, JobCancelledError)
        else:
            known.stopped = True

    def cancel_all(self, sought: Sought, limit: int | None) -> None:
        """Cancel all live jobs that are like this.

        It is done in steps. Between two of them the queue may cancel a job by itself, since one
        that it waits for was cancelled: then this call does not count it.
        """
        fitting = self.first_of(sought, lambda known: known.is_live, limit)
        count = self.jq.cancel_jobs(**sought.options(), limit=limit)
        gone = [known for known in fitting if not self.is_known(known.job.id)]
        own = [
            known
            for known in fitting
            if known in gone or self.jq.info(known.job.id).last_error == known.error
        ]
        tied = sum(bool(known.waits_for) for known in gone)
        assert len(own) - tied <= count <= len(own)
        self.change_all(own, self.cancel_one)

    def requeue_one(self, known: Known) -> None:
        """A failed job is queued again."""
        known.handle = self.jq.handle(known.job.id)
        known.retries = 0
        known.finished = known.error = known.expires_at = None
        known.outcome = known.started = NOT_KNOWN
        known.has_begun = known.has_begun_in_log = known.has_run = False
        self.hold(known)
        self.queue(known, next(self.numbers))
        self.count("enqueued", known)

    def discard_one(self, known: Known) -> None:
        """A failed job is dropped."""
        del self.jobs[known.job.id]

    def hasten_one(self, known: Known) -> None:
        """A scheduled job is queued before its time."""
        known.due = None
        self.queue(known, next(self.numbers))

    def can_be_hastened(self, known: Known) -> bool:
        """Whether a job waits for nothing but a time."""
        return known.status is Status.SCHEDULED and not known.waits_for

    def change_all(self, fitting: list[Known], change: Callable[[Known], object]) -> None:
        """These are changed; if there are any the call has waited for the log."""
        for known in fitting:
            change(known)
        if fitting:
            self.settle()

    def enqueue_together(self, jobs: list[Job], delays: list[float]) -> None:
        """Enqueue all of them, or none."""
        group = Group(self, jobs, delays)
        expected = group.refused()
        if expected is not None:
            with pytest.raises(expected):
                self.jq.enqueue_together(jobs, delays=delays, timeout=0)
            return
        handles = self.jq.enqueue_together(jobs, delays=delays, timeout=0)
        group.accept()
        for each, handle in zip(group.entrants, handles, strict=True):
            assert handle.id == (each.stands_for or each.job.id)
            assert handle.existing == (each.stands_for is not None)
            if not handle.existing:
                self.jobs[handle.id].handle = handle
        if not all(handle.existing for handle in handles):
            self.settle()

    # ── schedules ────────────────────────────────────────────────────────────────────────────

    @property
    def wall(self) -> float:
        """Unix time."""
        return START + self.now

    def periodic(self, name: str, wish: Wish, catch_up: CatchUp) -> None:
        """Register a schedule."""
        known = self.schedules.there.get(name)
        schedule = self.schedules.register(name, wish, catch_up, self.wall)
        every = timedelta(seconds=PERIODS[name])
        self.jq.periodic(name, every, schedule.make, catch_up=catch_up)
        if known is None:
            self.jq.flush()  # the log is told of it a little later
            self.run_ticks()
            self.settle()

    def pause_schedule(self, name: str) -> None:
        """Have it leave out its ticks."""
        self.jq.pause(periodic=name)
        self.schedules.there[name].paused = True

    def resume_schedule(self, name: str) -> None:
        """Have it go on with the ticks that come."""
        self.jq.resume(periodic=name)
        self.jq.flush()  # as above
        self.schedules.resume(name, self.wall)
        self.settle()

    def run_ticks(self) -> None:
        """The queue has enqueued the jobs of all ticks that have come."""
        for schedule in self.schedules.there.values():
            for tick in schedule.take(self.wall):
                self._run_tick(schedule, tick)
            self.schedules.leave_out(schedule)
            assert not schedule.made, "a job was made for a tick that has not come"

    def _run_tick(self, schedule: Schedule, tick: float) -> None:
        job = insides.renamed(schedule.made.pop(0), schedule.id_of(tick))
        met = self.refuses(job) or self.meets(job, 0.0, within=True)
        if met is None:
            # One that a later tick has replaced may be forgotten by now.
            handle = self.jq.handle(job.id) if self.is_known(job.id) else None
            self.accept(job, handle).has_room = False
        if met is None or isinstance(met, Known):
            self.schedules.ran(schedule, tick)
            self._past.clear()  # its record has been waited for

    # ── the end of a process, and the next one ───────────────────────────────────────────────

    def reopen(self, *, late: bool) -> None:
        """Close the queue, which gives up what runs, and open its log."""
        self.advance(STEP)  # so that no job ends at the time at which the last one did
        waiting = sum(known.waits for known in self.jobs.values())
        running = {known.job.id for known in self.running}
        report = self.jq.close(0 if running else PATIENCE, drain=False)
        assert set(report.unfinished) == running
        assert (report.completed, report.remaining) == (0, waiting)
        self.settle()
        self._let_go_of_all()
        self._come_back(self.path, late=late, crashed=False)

    def crash(self, *, flush: bool, late: bool) -> None:
        """Open what kill -9 would leave."""
        if flush:
            self.jq.flush()
            self.settle()
        self.advance(STEP)
        if self.kind == "async":  # which waits for no record
            self.jq.flush()
            self.settle()
        image = self.directory / f"log-{next(self._images)}"
        copy_of_one_moment(self.path, image)
        self.jq.close(0, drain=False)
        self._let_go_of_all()
        self._come_back(image, late=late, crashed=True)

    def _let_go_of_all(self) -> None:
        """What a handler does that its queue has given up changes nothing."""
        for known in self.running:
            self.stage.tell(known.job.id, returns)

    def _come_back(self, path: Path, *, late: bool, crashed: bool) -> None:
        states = [*self._past, self.jobs]
        self._past.clear()
        self._every_id = {job_id for jobs in states for job_id in jobs}
        self._told_otherwise.clear()
        crashed_jobs = {known.job.id for known in self.running} if crashed else set()
        self._open(path, late=late)
        found = [
            (self._restarted(state, begun), self._ended)
            for state in states
            for begun in _begun_in(state, crashed_jobs, crashed=crashed)
        ]
        assert any(jobs is not None for jobs, _ in found), (
            f"what is there is none of these: {self._told_otherwise}"
        )
        self.jobs, ended = [(jobs, ended) for jobs, ended in found if jobs is not None][-1]
        self._count_ended(ended, crashed=crashed)
        perhaps_begun = {
            each.job.id
            for state in states
            for begun in _begun_in(state, set(), crashed=crashed)
            for each in state.values()
            if each.job.id in begun
        }
        number = next(self.numbers)
        for known in sorted(self.jobs.values(), key=lambda known: known.number):
            known.handle = self.jq.handle(known.job.id)
            known.outcome = known.started = NOT_KNOWN
            if known.waits and known.job.id in perhaps_begun:
                # Whether the log tells so can be seen by what is no more from then on.
                unique = known.job.unique
                if known.expires_at is not None:
                    known.has_begun = known.has_begun_in_log = not insides.may_expire(known.handle)
                elif unique is not None and unique.until == "started":
                    known.has_begun = known.has_begun_in_log = not insides.is_unique(known.handle)
            if known.waits:
                known.rank = (number,)
                self.count("enqueued", known)
                self.hold(known)
        self.look()
        self.jq.flush()  # what a start does is written later; that is for `tests/torture.py`

    def _restarted(
        self, before: dict[str, Known], crashed: Collection[str]
    ) -> dict[str, Known] | None:
        """The jobs as they are after a start; `None` if the queue has others."""
        self.jobs = {job_id: known.copy() for job_id, known in before.items()}
        self._ended = []
        for known in self.jobs.values():
            known.has_room, known.line, known.passed = False, None, None
            known.reserved, known.place, known.held = None, 0, 0
            # The log may know that it runs, and not how the job before it on its seat has ended.
            known.has_begun_in_log |= known.is_live and known.job.id in crashed
            if known.status is Status.PROCESSING:
                known.status = Status.QUEUED
                if known.stopped:
                    self._cancel_at_start(known, known.error)
            known.stopped = False
            known.has_begun, known.has_run = known.has_begun_in_log, known.retries > 0
            if known.waits and known.due is not None and known.due <= self.now:
                known.due = None
            if known.waits:
                known.status = Status.SCHEDULED if known.waits_for or known.due else Status.QUEUED
        for known in self.expired():
            self._cancel_at_start(known, f"expired after {known.job.expires:g} s")
        while doomed := self._doomed_at_start():
            for known, by in doomed:
                self._cancel_at_start(known, known.error)
                known.doomed_by = by
        self.forget()
        wrong = [job_id for job_id in self._every_id if not self._is_as_told(job_id)]
        self._told_otherwise += (
            (self.jobs.get(each), self.jq.info(each) if self.is_known(each) else None)
            for each in wrong
        )
        return None if wrong else self.jobs

    def _cancel_at_start(self, known: Known, error: str | None) -> None:
        known.status, known.finished, known.error = Status.CANCELLED, self.now, error
        self._ended.append(known)
        for each in self.jobs.values():
            if known.job.id in each.waits_for and each.waits:
                each.waits_for.remove(known.job.id)
                each.doomed_by.append(reason(known.job.id, None))

    def _count_ended(self, ended: list[Known], *, crashed: bool) -> None:
        """What a start ends itself is counted, once.

        After a crash the queue alone knows which these are: what has ended at this very time may
        have been written before it, or may not. Then there are at least those that cannot have.
        """
        sure = list(itertools.takewhile(lambda known: not _has_expired(known), ended))
        at_least = Counter(map(_counted_where, sure if crashed else ended))
        late = Counter(_counted_where(known) for known in ended if _has_expired(known))
        metrics = self.jq.metrics()
        for by_default, priority in itertools.product((True, False), Priority):
            # All other handlers are registered later.
            counts = metrics.by_handler[None] if by_default else metrics.unregistered
            told = counts.by_priority.get(priority)
            cancelled, expired = (0, 0) if told is None else (told.cancelled, told.expired)
            where = by_default, priority
            assert cancelled >= at_least[where]
            assert crashed or (cancelled, expired) == (at_least[where], late[where])
            for name, count in (("cancelled", cancelled), ("expired", expired)):
                self.counts[name, priority] += count
                self.by_handler[name, None] += count * by_default
            self.counts["enqueued", priority] += cancelled

    def _doomed_at_start(self) -> list[tuple[Known, list[str]]]:
        every = [reason(job_id, None) for job_id in self._every_id]
        return [(known, every) for known in self.jobs.values() if known.waits and known.doomed_by]

    def _is_as_told(self, job_id: str) -> bool:
        known = self.jobs.get(job_id)
        if known is None or not self.is_known(job_id):
            return known is None and not self.is_known(job_id)
        info = self.jq.info(job_id)
        finished = None if info.finished is None else info.finished - START
        if known.doomed_by and known.status is Status.CANCELLED:
            if info.last_error in known.doomed_by:
                known.error = info.last_error
            known.doomed_by = []
        if finished == self.now and _has_expired(known):
            known.finished = finished  # of several that expired at one time, some may be written
        return (info.status, info.retries, info.last_error, finished, info.created) == (
            known.status,
            known.retries,
            known.error,
            known.finished,
            known.job.created,
        )

    # ── whether they agree ───────────────────────────────────────────────────────────────────

    def check_job(self, job_id: str) -> None:
        """Whether both tell the same of a job."""
        known = self.jobs.get(job_id)
        if known is None:
            with pytest.raises(UnknownJobError):
                self.jq.status(job_id)
            return
        assert self.jq.status(job_id) is known.status, job_id
        if known.handle is not None:
            assert known.handle.status is known.status
        info, job = self.jq.info(job_id), known.job
        assert (info.id, info.status, info.priority) == (job.id, known.status, job.priority)
        assert (info.handler, info.headers) == (job.handler, job.headers)
        assert (info.retries, info.last_error) == (known.retries, known.error), (
            job_id,
            info,
            known,
            self.now,
        )
        assert info.last_traceback is None or known.error is not None  # a reason has none
        assert info.created == job.created
        assert info.finished == (None if known.finished is None else START + known.finished)
        if known.started is not NOT_KNOWN:
            started = known.started
            assert info.started == (START + started if isinstance(started, float) else None)

    def check_result(self, known: Known) -> None:
        """Whether its handle gives what its handler did."""
        if known.outcome is NOT_KNOWN or known.handle is None:
            return
        if isinstance(known.outcome, str):
            assert known.handle.result(0) == known.outcome
        else:
            kind = known.outcome if isinstance(known.outcome, type) else type(known.outcome)
            with pytest.raises(kind):
                known.handle.result(0)

    def check_metrics(self) -> None:
        """Whether all is counted."""
        metrics = self.jq.metrics()
        for priority in Priority:
            lane = metrics.by_priority[priority]
            known = [each for each in self.jobs.values() if each.job.priority is priority]
            for name in COUNTED:
                assert getattr(lane, name) == self.counts[name, priority], (name, priority)
            for status in (Status.QUEUED, Status.SCHEDULED, Status.PROCESSING):
                assert getattr(lane, status.value) == sum(e.status is status for e in known)
            assert lane.limited == sum(each.line is not None for each in known)
            ended = lane.completed + lane.failed + lane.cancelled
            assert lane.enqueued == ended + lane.queued + lane.scheduled + lane.processing
        assert metrics.enqueued == sum(each.enqueued for each in metrics.by_priority.values())
        assert metrics.workers.busy == len(self.running)

    def check_handlers(self) -> None:
        """Whether all is counted by handler."""
        names: list[str | None] = [None, *LIMITED, *([LATE] if self.has_late else [])]
        by_handler = self.jq.metrics().by_handler
        infos = {each.name: each for each in self.jq.handlers()}
        assert {*by_handler} == {*names}
        live = [each for each in self.jobs.values() if each.is_live]
        queued = Counter(each.job.handler for each in live if each.status is Status.QUEUED)
        assert {*infos} == {*names, *queued}
        self.in_order()  # that was a look
        for name, info in infos.items():
            assert info.queued == queued[name]
            counts: list[HandlerInfo | HandlerCounts] = [info]
            counts += [by_handler[name]] if name in by_handler else []
            for told in counts:
                for what in ("completed", "failed", "retried", "cancelled"):
                    assert getattr(told, what) == self.by_handler[what, name], (what, name)
                assert told.processing == sum(e.job.handler == name for e in self.running)
                assert told.failures == {
                    error: count for (which, error), count in self.failures.items() if which == name
                }

    def check_page(self, sought: Sought, limit: int) -> None:
        """Whether a look finds the same jobs in the same order, page by page."""
        found: list[str] = []
        page = self.jq.jobs(**sought.options(), limit=limit)
        while page:
            assert page == [self.jq.info(info.id) for info in page]
            found += [info.id for info in page]
            full = len(page) == limit
            page = self.jq.jobs(**sought.options(), limit=limit, before=found[-1])
            assert full or not page
        fitting = [known.job.id for known in self.in_order() if sought.fits(known)]
        assert found == fitting[::-1]

    def check_rest(self) -> None:
        """Whether what is there besides single jobs is the same."""
        failed = [known for known in self.jobs.values() if known.status is Status.FAILED]
        failed.sort(key=lambda known: known.finished or 0.0)
        assert [info.id for info in self.jq.dead_letters()] == [each.job.id for each in failed]
        assert self.jq.join(0) is self.is_at_rest
        assert self.jq.paused() == Paused(
            self.paused,
            frozenset(self.paused_handlers),
            frozenset(self.paused_priorities),
            frozenset(name for name, each in self.schedules.there.items() if each.paused),
        )
        assert self.jq.periodics() == [each.info() for each in self.schedules.there.values()]
        assert self.stage.entered.empty(), "a job was started that nobody asked for"
        self.lines.check()
        with insides.mutex(self.jq):
            insides.check_lanes(insides.scheduler(self.jq))
            rooms = [lane.room for lane in insides.scheduler(self.jq).lanes]
        assert rooms == [self.room(priority) for priority in Priority]


def _has_expired(known: Known) -> bool:
    return (known.error or "").startswith("expired")


def _counted_where(known: Known) -> tuple[bool, Priority]:
    """By whose counts a start counts it: the default handler's, or those of no handler."""
    return known.job.handler is None, known.job.priority


def _begun_in(state: dict[str, Known], running: set[str], *, crashed: bool) -> Iterator[set[str]]:
    """The jobs that the log may tell to have begun: it may not know yet that they have ended."""
    yield running
    if crashed:
        yield running | {name for name, known in state.items() if known.status is Status.PROCESSING}
