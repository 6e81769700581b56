"""The whole queue against a plain model of it: what is promised, in dictionaries and lists."""

from __future__ import annotations

import itertools
import os
import queue
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from jobqueue.final import (
    Config,
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobContext,
    JobHandle,
    JobQueue,
    JobQueueError,
    Priority,
    QueueClosedError,
    RejectJobError,
    RetryJobError,
    Status,
    UnknownHandlerError,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.logs import HastyFiles
from tests.support.queues import STORES
from tests.support.turns import Turns
from tests.support.waiting import PATIENCE

START = 1000.0  # Unix time
STEP = 0.25  # seconds that pass before each ending, so that no two jobs end at one time
LATE = "late"  # the name of a handler that is there later, if at all
NOT_KNOWN = object()

SETTINGS: dict[str, Any] = {
    "num_workers": 1,
    "queue_size": 3,
    "max_retries": 2,
    "base_delay": 1.0,
    "max_delay": 1.5,
    "jitter": 0,
    "fairness": 2,
    "status_retention": 4,
    "max_dead_letters": 3,
    "max_crashes": 1000,
    "segment_bytes": 4096,
}

IDS = [f"job-{number}" for number in range(9)]
ANY_ID = st.sampled_from(IDS)
PRIORITIES = st.sampled_from(Priority)
SECONDS = st.sampled_from([0.25, 1.0, 2.5, 60.0])
DELAYS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 3.0])
HANDLERS = st.sampled_from([None, None, None, LATE])
RETRIES = st.sampled_from([None, None, 0, 1])

Order = Callable[[], object]


def returns() -> object:
    return "done"


@dataclass(frozen=True)
class Raises:
    """An order to a handler."""

    error: BaseException

    def __call__(self) -> object:
        raise self.error


ORDERS: st.SearchStrategy[Order] = st.one_of(
    st.just(returns),
    st.just(returns),
    st.builds(lambda: Raises(ValueError("boom"))),
    st.builds(lambda: Raises(SystemExit(3))),
    st.builds(lambda: Raises(RejectJobError("never"))),
    st.builds(lambda delay: Raises(RetryJobError("later", delay=delay)), SECONDS),
)


class Stage:
    """The handler of all jobs: tells who enters, and waits to be told what to do."""

    def __init__(self) -> None:
        self.entered: queue.Queue[tuple[str, int, bytes]] = queue.Queue()
        self.orders: queue.Queue[Order] = queue.Queue()

    def __call__(self, payload: bytes, context: JobContext) -> object:
        self.entered.put((context.job.id, context.attempt, payload))
        return self.orders.get(timeout=PATIENCE)()


@dataclass
class Known:
    """What the model knows of a job."""

    job: Job
    status: Status
    due: float = 0.0
    rank: tuple[float, ...] = ()
    """Its place in its lane; equal where the order is open."""
    has_room: bool = False
    retries: int = 0
    error: str | None = None
    stopped: bool = False
    """Its handler was asked to stop."""
    started: object = None
    finished: float | None = None
    handle: JobHandle | None = None
    outcome: object = NOT_KNOWN
    before: list[Known] = field(default_factory=list)
    """What it may be found as after a crash: how an attempt ended is written a little later."""

    @property
    def waits(self) -> bool:
        return self.status in {Status.QUEUED, Status.SCHEDULED}

    @property
    def has_ended(self) -> bool:
        return self.status in {Status.COMPLETED, Status.CANCELLED}

    def remember(self) -> None:
        """It is about to change in a way that a crash may undo."""
        self.before.append(replace(self, before=[]))


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


class QueueMachine(RuleBasedStateMachine):
    """Rules that do something to a queue and to the model, and see whether they agree."""

    kind = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="jobqueue-model-"))
        self.numbers = itertools.count()
        self.clock = ManualClock(START)
        self.now = 0.0
        self.jobs: dict[str, Known] = {}
        self.gone: dict[str, Known] = {}
        """Jobs that were forgotten for newer ones, which a crash may undo."""
        self.open(self.directory / "log", late=False)

    def open(self, path: Path, *, late: bool) -> None:
        self.path = path
        log: dict[str, Any] = {"persist_path": path, "durability": self.kind}
        self.stage = Stage()
        self.jq = JobQueue(
            Config(**SETTINGS, **({} if self.kind == "memory" else log)),
            handler=self.stage,
            handlers={LATE: self.stage} if late else {},
            start=False,
            clock=self.clock,
        )
        self.jq.pause()
        self.jq.start()
        self.has_late = late
        self.running: Known | None = None
        self.turns = Turns(SETTINGS["fairness"])
        self.counts: Counter[tuple[str, Priority]] = Counter()

    # What the model says.

    def count(self, name: str, known: Known, by: int = 1) -> None:
        self.counts[name, known.job.priority] += by

    def lane(self, priority: Priority) -> list[Known]:
        """The jobs of a lane that can run now."""
        return [
            known
            for known in self.jobs.values()
            if known.job.priority is priority
            and known.status is Status.QUEUED
            and (known.job.handler is None or self.has_late)
        ]

    def with_work(self) -> list[Priority]:
        return [priority for priority in Priority if self.lane(priority)]

    def room(self, priority: Priority) -> int:
        taken = sum(
            known.has_room for known in self.jobs.values() if known.job.priority is priority
        )
        return int(SETTINGS["queue_size"]) - taken

    def is_parked(self, job: Job) -> bool:
        return job.handler == LATE and not self.has_late

    def parked(self, priority: Priority) -> int:
        """How many jobs of a lane wait for their handler, or will; they take no room."""
        return sum(
            known.waits and self.is_parked(known.job)
            for known in self.jobs.values()
            if known.job.priority is priority
        )

    def queue(self, known: Known, *order: float) -> None:
        """It enters its lane at the back."""
        known.status = Status.QUEUED
        known.rank = (next(self.numbers), *order)

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.now += seconds
        number = next(self.numbers)
        for known in self.jobs.values():
            if known.status is Status.SCHEDULED and known.due <= self.now:
                known.status = Status.QUEUED
                known.rank = (number, known.due)

    def accept(self, job: Job, handle: JobHandle, delay: float = 0.0) -> None:
        known = Known(job, Status.SCHEDULED, due=self.now + delay, handle=handle)
        if not delay:
            known.has_room = not self.is_parked(job)
            self.queue(known)
        self.jobs[job.id] = known
        self.gone.pop(job.id, None)
        self.count("enqueued", known)
        self.settle()

    def settle(self) -> None:
        """All that happened so far is written: where a call returned after it."""
        if self.kind != "async":
            for known in self.jobs.values():
                known.before.clear()

    def end(self, known: Known, status: Status, outcome: object) -> None:
        known.status = status
        known.has_room = False
        known.finished = self.now
        known.outcome = outcome
        self.count(status.value, known)
        self.forget_for(known)

    def forget_for(self, known: Known) -> None:
        """Forget the oldest of those like a job that has just ended, if there are too many."""
        status = known.status
        limit = SETTINGS["max_dead_letters" if status is Status.FAILED else "status_retention"]
        alike = [
            other
            for other in self.jobs.values()
            if other is known or (other.has_ended if known.has_ended else other.status is status)
        ]
        if len(alike) > limit:
            oldest = min(alike, key=lambda other: other.finished or 0.0)
            self.gone[oldest.job.id] = self.jobs.pop(oldest.job.id)

    # Producers.

    def make_job(
        self,
        job_id: str,
        priority: Priority,
        handler: str | None = None,
        max_retries: int | None = None,
    ) -> Job:
        payload = f"{job_id}/{next(self.numbers)}".encode()
        headers = {"lane": priority.name}
        return Job(
            payload,
            id=job_id,
            priority=priority,
            handler=handler,
            max_retries=max_retries,
            headers=headers,
        )

    @rule(job_id=ANY_ID, priority=PRIORITIES, handler=HANDLERS, delay=DELAYS, max_retries=RETRIES)
    def enqueue(
        self,
        job_id: str,
        priority: Priority,
        handler: str | None,
        delay: float,
        max_retries: int | None,
    ) -> None:
        job = self.make_job(job_id, priority, handler, max_retries)
        refused: type[JobQueueError] | None = None
        if job_id in self.jobs:
            refused = DuplicateJobError
        elif self.is_parked(job):
            if self.parked(priority) >= SETTINGS["queue_size"]:
                refused = UnknownHandlerError
        elif not delay and not self.room(priority):
            refused = EnqueueTimeoutError
        if refused is None:
            self.accept(job, self.jq.enqueue(job, timeout=0, delay=delay), delay)
        else:
            with pytest.raises(refused):
                self.jq.enqueue(job, timeout=0, delay=delay)

    @rule(
        ids=st.lists(ANY_ID, min_size=3, max_size=6, unique=True), priority=PRIORITIES, delay=DELAYS
    )
    def enqueue_some_late(self, ids: list[str], priority: Priority, delay: float) -> None:
        for job_id in ids:
            self.enqueue(job_id, priority, LATE, delay, None)

    @rule(wanted=st.lists(st.tuples(ANY_ID, PRIORITIES), max_size=6))
    def enqueue_many(self, wanted: list[tuple[str, Priority]]) -> None:
        jobs = [self.make_job(*each) for each in wanted]
        ids = [job.id for job in jobs]
        if len(set(ids)) < len(ids) or set(ids) & set(self.jobs):
            with pytest.raises(DuplicateJobError):
                self.jq.enqueue_many(jobs, timeout=0)
            return
        try:
            handles = list(self.jq.enqueue_many(jobs, timeout=0))
        except EnqueueTimeoutError as error:
            handles = list(error.accepted)
            assert len(handles) < len(jobs)
        for job, handle in zip(jobs, handles, strict=False):
            assert handle.id == job.id
            assert self.room(job.priority)
            self.accept(job, handle)
        if len(handles) < len(jobs):
            assert not self.room(jobs[len(handles)].priority)

    # Workers.

    # What a crash leaves is a matter of chance, and Hypothesis wants to draw the same rules all the
    # same: so what cannot be done now does nothing, and is not left out by a precondition.

    @rule(order=ORDERS)
    def go_on(self, order: Order) -> None:
        """Start a job, or end the one that was started."""
        if self.running:
            self.finish_one(order)
        elif self.with_work():
            self.start_one()

    @rule(orders=st.lists(ORDERS, min_size=2, max_size=6))
    def run_some(self, orders: list[Order]) -> None:
        for order in orders:
            if not self.running and self.with_work():
                self.start_one()
            if self.running:
                self.finish_one(order)

    def start_one(self) -> None:
        with_work = self.with_work()
        self.jq.resume()
        job_id, attempt, payload = self.stage.entered.get(timeout=PATIENCE)
        self.jq.pause()
        known = self.jobs[job_id]
        lane = self.lane(known.job.priority)
        assert known in lane
        assert known.rank == min(other.rank for other in lane), "not the first of its lane"
        self.turns.serve(known.job.priority, with_work)
        assert attempt == known.retries
        assert payload == known.job.payload
        known.status = Status.PROCESSING
        known.has_room = False
        known.started = self.now
        self.running = known

    def finish_one(self, order: Order) -> None:
        known = self.running
        assert known is not None
        self.pass_time(STEP)
        self.stage.orders.put(order)
        processing = insides.status_map(self.jq).meters[known.job.priority]
        assert insides.watchers(self.jq).wait(lambda: processing.processing == 0, PATIENCE)
        self.running = None
        known.remember()
        try:
            self.end(known, Status.COMPLETED, order())
        except BaseException as error:
            self.fail(known, error)

    def fail(self, known: Known, error: BaseException) -> None:
        known.error = f"{type(error).__name__}: {error}"
        retries_max = known.job.max_retries
        if retries_max is None:
            retries_max = SETTINGS["max_retries"]
        if known.stopped:
            self.end(known, Status.CANCELLED, JobCancelledError)
        elif isinstance(error, RejectJobError) or known.retries >= retries_max:
            self.end(known, Status.FAILED, error)
        else:
            backoff = min(SETTINGS["max_delay"], SETTINGS["base_delay"] * 2**known.retries)
            delay = error.delay if isinstance(error, RetryJobError) else backoff
            known.status = Status.SCHEDULED
            known.due = self.now + delay
            known.retries += 1
            self.count("retried", known)

    # Others.

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.pass_time(seconds)

    @rule(job_id=ANY_ID)
    def cancel(self, job_id: str) -> None:
        known = self.jobs.get(job_id)
        if known is None:
            with pytest.raises(UnknownJobError):
                self.jq.cancel(job_id)
            return
        self.pass_time(STEP)
        is_going_on = known.waits or known is self.running
        assert self.jq.cancel(job_id) is is_going_on
        if known.waits:
            self.end(known, Status.CANCELLED, JobCancelledError)
            self.settle()
        elif known is self.running:
            known.stopped = True

    @rule(job_id=ANY_ID)
    def requeue(self, job_id: str) -> None:
        known = self.jobs.get(job_id)
        if known is None or known.status is not Status.FAILED:
            with pytest.raises(UnknownJobError if known is None else ValueError):
                self.jq.requeue(job_id)
            return
        known.handle = self.jq.requeue(job_id)
        known.retries = 0
        known.finished = None
        known.outcome = NOT_KNOWN
        known.started = NOT_KNOWN
        known.error = None
        self.queue(known)
        self.count("enqueued", known)
        self.settle()

    @rule(job_id=ANY_ID)
    def discard(self, job_id: str) -> None:
        known = self.jobs.get(job_id)
        if known is None or known.status is not Status.FAILED:
            with pytest.raises(UnknownJobError if known is None else ValueError):
                self.jq.discard(job_id)
            return
        self.jq.discard(job_id)
        del self.jobs[job_id]
        self.settle()

    @rule()
    def cancel_running(self) -> None:
        if self.running:
            self.cancel(self.running.job.id)

    @precondition(lambda self: not self.has_late)
    @rule(now=st.sampled_from([False, False, False, True]))
    def register_late(self, now: bool = True) -> None:
        if not now:
            return
        self.jq.register(LATE, self.stage)
        self.has_late = True
        number = next(self.numbers)
        for known in self.jobs.values():
            if known.status is Status.QUEUED and known.job.handler == LATE:
                known.rank = (number,)

    # The end of a process, and the next one.

    @precondition(lambda self: self.kind != "memory")
    @rule(late=st.booleans())
    def close_and_open(self, late: bool) -> None:
        self.pass_time(STEP)  # so that no job ends at the time at which the last one did
        waiting = sum(known.waits for known in self.jobs.values())
        report = self.jq.close(0 if self.running else PATIENCE, drain=False)
        assert report.unfinished == ((self.running.job.id,) if self.running else ())
        assert (report.completed, report.remaining) == (0, waiting)
        with pytest.raises(QueueClosedError):
            self.jq.enqueue(Job())
        for known in self.jobs.values():
            known.before.clear()
        self.let_go()
        self.begin_again(self.path, late=late)

    @precondition(lambda self: self.kind != "memory")
    @rule(flush=st.booleans(), late=st.booleans())
    def crash_and_open(self, flush: bool, late: bool) -> None:
        if flush or self.kind == "async":
            self.jq.flush()
            for known in self.jobs.values():
                known.before.clear()
        self.pass_time(STEP)
        image = self.directory / f"log-{next(self.numbers)}"
        copy_of_one_moment(self.path, image)  # what kill -9 leaves
        self.jq.close(0, drain=False)
        self.let_go()
        self.begin_again(image, late=late)

    def let_go(self) -> None:
        """What a handler does that its queue has given up changes nothing."""
        if self.running is not None:
            self.stage.orders.put(returns)
            if self.running.stopped:  # as it was asked to: the next start cancels it
                self.running.status = Status.CANCELLED
                self.running.finished = self.now
                self.forget_for(self.running)
            else:
                self.running.status = Status.QUEUED

    def begin_again(self, path: Path, *, late: bool) -> None:
        self.open(path, late=late)
        if any(known.before for known in self.jobs.values()):
            self.see_what_was_written()
        number = next(self.numbers)
        for known in self.jobs.values():
            if known.stopped and known.finished == self.now:  # this start has cancelled it
                known.before = [replace(known, status=Status.PROCESSING)]
            known.has_room = known.stopped = False
            known.outcome = known.started = NOT_KNOWN
            known.handle = self.jq.handle(known.job.id)
            if known.waits:
                is_due = known.status is Status.QUEUED or known.due <= self.now
                known.status = Status.QUEUED if is_due else Status.SCHEDULED
                known.rank = (number,)
                self.count("enqueued", known)

    def see_what_was_written(self) -> None:
        """Take the last ends of attempts as undone where they were not written yet."""
        for job_id, known in {**self.gone, **self.jobs}.items():
            states = [known, *known.before]
            try:
                info = self.jq.info(job_id)
            except UnknownJobError:
                assert job_id in self.gone or any(each.has_ended for each in states)
                self.jobs.pop(job_id, None)
                continue
            found = [each for each in states if self.is_found_as(each) == info.status]
            assert found, f"{job_id} is {info.status}, not one of {states}"
            finished = None if info.finished is None else info.finished - START
            same = [
                replace(each, status=info.status, finished=self.is_finished_at(each), before=[])
                for each in found
                if (each.retries, each.error) == (info.retries, info.last_error)
                and self.is_finished_at(each) == finished
            ]
            self.jobs[job_id] = same[0]
            self.gone.pop(job_id, None)
        for known in self.jobs.values():
            known.before.clear()

    def is_found_as(self, known: Known) -> Status:
        if known.status is Status.PROCESSING:
            return Status.CANCELLED if known.stopped else Status.QUEUED
        if known.status is Status.SCHEDULED and known.due <= self.now:
            return Status.QUEUED
        return known.status

    def is_finished_at(self, known: Known) -> float | None:
        is_cancelled_now = known.status is Status.PROCESSING and known.stopped
        return self.now if is_cancelled_now else known.finished

    # Whether they agree.

    @invariant()
    def status_and_info_agree(self) -> None:
        for job_id in IDS:
            known = self.jobs.get(job_id)
            if known is None:
                with pytest.raises(UnknownJobError):
                    self.jq.status(job_id)
                continue
            assert self.jq.status(job_id) is known.status, job_id
            assert known.handle is not None
            assert known.handle.status is known.status
            self.check_info(known)

    def check_info(self, known: Known) -> None:
        info, job = self.jq.info(known.job.id), known.job
        assert (info.id, info.status, info.priority) == (job.id, known.status, job.priority)
        assert (info.handler, info.headers) == (job.handler, job.headers)
        assert (info.retries, info.last_error) == (known.retries, known.error)
        assert (info.last_traceback is None) == (known.error is None)
        assert info.created == job.created
        assert info.finished == (None if known.finished is None else START + known.finished)
        if known.started is not NOT_KNOWN:
            started = known.started
            assert info.started == (START + started if isinstance(started, float) else None)

    @invariant()
    def results_agree(self) -> None:
        for known in self.jobs.values():
            if known.outcome is NOT_KNOWN or known.handle is None:
                continue
            if isinstance(known.outcome, str):
                assert known.handle.result(0) == known.outcome
            else:
                kind = known.outcome if isinstance(known.outcome, type) else type(known.outcome)
                with pytest.raises(kind):
                    known.handle.result(0)

    @invariant()
    def metrics_agree(self) -> None:
        metrics = self.jq.metrics()
        for priority in Priority:
            lane = metrics.by_priority[priority]
            known = [each for each in self.jobs.values() if each.job.priority is priority]
            for name in ("enqueued", "completed", "failed", "retried", "cancelled"):
                assert getattr(lane, name) == self.counts[name, priority], (name, priority)
            for status in (Status.QUEUED, Status.SCHEDULED, Status.PROCESSING):
                assert getattr(lane, status.value) == sum(e.status is status for e in known)
            ended = lane.completed + lane.failed + lane.cancelled
            assert lane.enqueued == ended + lane.queued + lane.scheduled + lane.processing
        assert metrics.enqueued == sum(each.enqueued for each in metrics.by_priority.values())
        assert metrics.workers.busy == (self.running is not None)

    @invariant()
    def the_rest_agrees(self) -> None:
        failed = [known for known in self.jobs.values() if known.status is Status.FAILED]
        failed.sort(key=lambda known: known.finished or 0.0)
        assert [info.id for info in self.jq.dead_letters()] == [each.job.id for each in failed]
        at_rest = not (
            self.with_work()
            or self.running
            or any(each.status is Status.SCHEDULED for each in self.jobs.values())
        )
        assert self.jq.join(0) is at_rest
        assert self.stage.entered.empty(), "a job was started that nobody asked for"
        with insides.mutex(self.jq):
            insides.check_lanes(insides.scheduler(self.jq))
            rooms = [lane.room for lane in insides.scheduler(self.jq).lanes]
        assert rooms == [self.room(priority) for priority in Priority]

    def teardown(self) -> None:
        try:
            self.run_to_rest()
        finally:
            self.stage.orders.put(returns)
            self.jq.close(PATIENCE, drain=False)
            shutil.rmtree(self.directory)

    def run_to_rest(self) -> None:
        if not self.has_late:
            self.register_late()
        if self.running:
            self.finish_one(returns)
        while any(known.waits for known in self.jobs.values()):
            while self.with_work():
                self.start_one()
                self.finish_one(returns)
            self.pass_time(60.0)
        self.metrics_agree()
        assert self.jq.join(0)
        metrics = self.jq.metrics()
        assert metrics.enqueued == metrics.completed + metrics.failed + metrics.cancelled


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.timeout(500)  # a failure is made smaller, which takes a wait that is in vain each time
@pytest.mark.parametrize("kind", STORES)
def test_whatever_is_done_the_queue_does_as_its_model(kind: str) -> None:
    machine = type("Machine", (QueueMachine,), {"kind": kind})
    examples = settings(
        max_examples=30,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
    )
    with patch("jobqueue.final.life.recovery.Files", HastyFiles):
        run_state_machine_as_test(machine, settings=examples)
