"""The whole queue against a plain model of it: what is promised, in dictionaries and lists.

The model is in `tests/support/modelled`. Here are the rules: what may be asked of a queue.
"""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any, cast
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
    DuplicateJobError,
    Job,
    JobHandle,
    JobQueueError,
    Priority,
    QueueClosedError,
    RejectJobError,
    RetryJobError,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
)
from tests.support.left_out import often
from tests.support.logs import HastyFiles
from tests.support.modelled.both import STEP, Both
from tests.support.modelled.filters import Sought
from tests.support.modelled.jobs import (
    LATE,
    LIMITED,
    SETTINGS,
    Known,
    Order,
    Raises,
    Wish,
    returns,
)
from tests.support.modelled.schedules import PERIODS
from tests.support.queues import STORES

EXAMPLES = often(10, 30) * int(os.environ.get("MODEL_EXAMPLES", "1"))
"""How many runs of a machine; `MODEL_EXAMPLES=20` makes twenty times as many."""
IDS = [f"job-{number}" for number in range(10)]
ANY_ID = st.sampled_from(IDS)
PRIORITIES = st.sampled_from(Priority)
SECONDS = st.sampled_from([0.25, 1.0, 2.5, 60.0])
DELAYS = st.sampled_from([0.0, 0.0, 0.0, 0.5, 3.0])
WHICH = st.integers(0, 1)

HANDLERS = st.sampled_from([None, None, None, LATE, *LIMITED])
UNIQUE = st.builds(
    Unique,
    st.sampled_from(["key", "handler+key", "handler+payload"]),
    st.sampled_from(["finished", "started"]),
    st.sampled_from(["existing", "replace", "raise"]),
)
WISHES = st.builds(
    Wish,
    priority=PRIORITIES,
    handler=HANDLERS,
    max_retries=st.sampled_from([None, None, 0, 1]),
    key=st.sampled_from(["a", "a", "b", None]),
    unique=st.one_of(UNIQUE, st.none()),
    after=st.one_of(
        st.lists(ANY_ID, min_size=3, max_size=5, unique=True).map(tuple), st.just(()), st.just(())
    ),
    expires=st.sampled_from([None, None, None, 1.0, 4.0]),
    is_like_others=st.booleans(),
)
WISHED = st.tuples(ANY_ID, WISHES)

TICKS_WISHES = st.builds(
    Wish,
    priority=PRIORITIES,
    handler=st.sampled_from([None, *LIMITED]),
    max_retries=st.just(0),
    key=st.just("tick"),  # others wait for none of them, which would be cancelled meanwhile
    unique=st.one_of(UNIQUE, st.none()),
    expires=st.sampled_from([None, None, 4.0, 16.0]),
)
SOUGHT = st.builds(
    Sought,
    status=st.one_of(
        st.none(), st.none(), st.lists(st.sampled_from(Status), min_size=1, max_size=3).map(tuple)
    ),
    handler=st.sampled_from([None, None, None, LATE, *LIMITED]),
    priority=st.sampled_from([None, None, None, *Priority]),
    key=st.sampled_from([None, None, None, "a", "b"]),
    error=st.sampled_from([None, None, None, None, "ValueError", "RejectJobError"]),
    text=st.sampled_from([None, None, None, "same", "LOW", "job-1", "boom"]),
)
LIMITS = st.sampled_from([None, None, 1, 2])
WHAT_IS_PAUSED: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.builds(dict, handler=st.sampled_from([LATE, *LIMITED])),
    st.builds(dict, handler=st.sampled_from([LATE, *LIMITED])),
    st.builds(dict, priority=PRIORITIES),
    st.builds(dict, handler=st.sampled_from(LIMITED), priority=PRIORITIES),
    st.builds(dict),
)

ORDERS: st.SearchStrategy[Order] = st.one_of(
    st.just(returns),
    st.just(returns),
    st.builds(lambda: Raises(ValueError("boom"))),
    st.builds(lambda: Raises(SystemExit(3))),
    st.builds(lambda: Raises(RejectJobError("never"))),
    st.builds(lambda delay: Raises(RetryJobError("later", delay=delay)), SECONDS),
)


class QueueMachine(RuleBasedStateMachine):
    """Rules that do something to a queue and to the model, and see whether they agree."""

    kind = "memory"
    reserved_workers = 0

    def __init__(self) -> None:
        super().__init__()
        self.both = Both(self.kind, self.reserved_workers)

    # Producers.

    def make(self, wished: tuple[str, Wish], *earlier: str) -> Job:
        """A job that can be accepted, in three of four cases: with a new id, after known jobs."""
        job_id, wish = wished
        number = next(self.both.numbers)
        if number % 4:
            taken = {*self.both.jobs, *self.both.reserved, *earlier}
            start = IDS.index(job_id)
            free = [each for each in IDS[start:] + IDS[:start] if each not in taken]
            job_id = free[0] if free else job_id
            there = (each for each in wish.after if each in self.both.jobs or each in earlier)
            wish = replace(wish, after=tuple(there))
        return wish.job(job_id, number)

    def enqueue(self, job: Job, delay: float, *, within: Known | None = None) -> None:
        both = self.both
        expected = both.refuses(job) or both.meets(job, delay, within=within is not None)

        def call() -> JobHandle:
            return both.jq.enqueue(job, timeout=0, delay=delay)

        try:
            handle = call() if within is None else self.have_call(within, call)
        except JobQueueError as error:
            handle = None
            told: object = type(error)
        if handle is None:
            assert told is expected, f"{told}, not {expected}"
        elif expected is None:
            assert not handle.existing
            both.accept(job, handle, delay)
            both.settle()
        else:
            assert isinstance(expected, Known), f"{job.id} was accepted, not {expected}"
            assert handle.existing
            assert (handle.id, handle.status) == (expected.job.id, expected.status)

    def have_call(self, known: Known, call: Any) -> Any:
        """Have a running handler do something."""
        answer = self.both.stage.ask(known.job.id, lambda _context: call())
        if isinstance(answer, Exception):
            raise answer
        return answer

    @rule(wished=st.lists(WISHED, min_size=1, max_size=4), delay=DELAYS)
    def enqueue_some(self, wished: list[tuple[str, Wish]], delay: float) -> None:
        for each in wished:
            self.enqueue(self.make(each), delay)

    @rule(
        ids=st.lists(ANY_ID, min_size=3, max_size=6, unique=True),
        priority=PRIORITIES,
        delay=DELAYS,
        together=st.booleans(),
    )
    def enqueue_some_late(
        self, ids: list[str], priority: Priority, delay: float, together: bool
    ) -> None:
        wish = Wish(priority, LATE)
        if together:
            jobs: list[Job] = []
            for job_id in ids:
                jobs.append(self.make((job_id, wish), *(job.id for job in jobs)))
            self.both.enqueue_together(jobs, [delay] * len(jobs))
        else:
            for job_id in ids:
                self.enqueue(self.make((job_id, wish)), delay)

    @rule(
        first=ANY_ID,
        uniques=st.lists(UNIQUE, min_size=2, max_size=4),
        wish=WISHES,
        delay=DELAYS,
        handler=HANDLERS,
    )
    def enqueue_some_alike(
        self, first: str, uniques: list[Unique], wish: Wish, delay: float, handler: str | None
    ) -> None:
        alike = replace(wish, key="a", is_like_others=True)
        for number, unique in enumerate(uniques):
            other = replace(alike, unique=unique, handler=handler if number else wish.handler)
            self.enqueue(self.make((first, other)), delay)

    @rule(ids=st.lists(ANY_ID, min_size=2, max_size=4, unique=True), wish=WISHES)
    def enqueue_a_chain(self, ids: list[str], wish: Wish) -> None:
        after = wish.after
        for job_id in ids:
            job = self.make((job_id, replace(wish, after=after, key=job_id)))
            self.enqueue(job, 0.0)
            after = (job.id,)

    @rule(
        ids=st.lists(ANY_ID, min_size=3, max_size=6, unique=True),
        priorities=st.lists(PRIORITIES, min_size=6, max_size=6),
        handler=st.sampled_from(LIMITED),
    )
    def enqueue_some_limited(
        self, ids: list[str], priorities: list[Priority], handler: str
    ) -> None:
        for job_id, priority in zip(ids, priorities, strict=False):
            self.enqueue(self.make((job_id, Wish(priority, handler, key="a"))), 0.0)

    @rule(wished=st.lists(WISHED, max_size=6))
    def enqueue_many(self, wished: list[tuple[str, Wish]]) -> None:
        both = self.both
        jobs: list[Job] = []
        for each in wished:
            jobs.append(self.make(each, *(job.id for job in jobs)))
        refused = self.refuses_all(jobs)
        if refused is not None:
            with pytest.raises(refused):
                both.jq.enqueue_many(jobs, timeout=0)
            return
        error: JobQueueError | None = None
        try:
            handles = list(both.jq.enqueue_many(jobs, timeout=0))
        except JobQueueError as raised:
            error, handles = raised, list(raised.accepted)
        is_any_new = False
        for job, handle in zip(jobs, handles, strict=False):
            both.forget()  # the oldest, if one before it has ended, or was cancelled at once
            expected = both.refuses(job) or both.meets(job, 0.0)
            both.forget()  # the next one may be to run after what this has had forgotten
            if isinstance(expected, Known):
                assert handle.existing
                assert handle.id == expected.job.id
            else:
                assert expected is None, f"{job.id} was accepted, not {expected}"
                both.accept(job, handle)
                is_any_new = True
        rest = jobs[len(handles) :]
        both.forget()
        if rest:
            assert error is not None
            expected = both.refuses(rest[0]) or both.meets(rest[0], 0.0)
            assert type(error) is expected, f"{error!r}, not {expected}"
        if is_any_new:
            both.settle()

    @rule(wished=st.lists(WISHED, max_size=5), delays=st.lists(DELAYS, min_size=5, max_size=5))
    def enqueue_together(self, wished: list[tuple[str, Wish]], delays: list[float]) -> None:
        jobs: list[Job] = []
        for each in wished:
            jobs.append(self.make(each, *(job.id for job in jobs)))
        self.both.enqueue_together(jobs, delays[: len(jobs)])

    def refuses_all(self, jobs: list[Job]) -> type[Exception] | None:
        """Why none of these is accepted."""
        before: set[str] = set()
        if len({job.id for job in jobs}) < len(jobs):
            return DuplicateJobError
        for job in jobs:
            if (refused := self.both.refuses(job)) is not None:
                return refused
            if any(each not in before and each not in self.both.jobs for each in job.after):
                return UnknownJobError
            before.add(job.id)
        return None

    # Workers.

    # What a crash leaves is a matter of chance, and Hypothesis wants to draw the same rules all the
    # same: so what cannot be done now does nothing, and is not left out by a precondition.

    def one_running(self, which: int, *, starts: bool = False) -> Known | None:
        if starts and self.both.can_start():
            self.both.start_one()
        running = self.both.running
        return running[which % len(running)] if running else None

    @rule(order=ORDERS, which=WHICH, starts=st.booleans())
    def go_on(self, order: Order, which: int, starts: bool) -> None:
        """Start a job, or end one that was started."""
        known = self.one_running(which)
        if self.both.can_start() and (starts or known is None):
            self.both.start_one()
        elif known is not None:
            self.both.finish_one(known, order)

    @rule(orders=st.lists(ORDERS, min_size=2, max_size=6))
    def run_some(self, orders: list[Order]) -> None:
        for order in orders:
            while self.both.can_start():
                self.both.start_one()
            if (known := self.one_running(0)) is not None:
                self.both.finish_one(known, order)

    @rule(which=WHICH, wished=WISHED)
    def enqueue_from_a_handler(self, which: int, wished: tuple[str, Wish]) -> None:
        known = self.one_running(which, starts=True)
        if known is not None:
            self.enqueue(self.make(wished), 0.0, within=known)

    @rule(which=WHICH, wished=st.lists(WISHED, min_size=1, max_size=3))
    def hold_back(self, which: int, wished: list[tuple[str, Wish]]) -> None:
        parent = self.one_running(which, starts=True)
        if parent is None:
            return
        held = [job.id for job in parent.children]
        jobs: list[Job] = []
        for each in wished:
            jobs.append(self.make(each, *held, *(job.id for job in jobs)))
        refused = self.refuses_to_hold_back(parent, jobs)
        answer = self.both.stage.ask(parent.job.id, lambda context: context.enqueue_many(jobs))
        assert type(answer) is (type(None) if refused is None else refused), answer
        if refused is None:
            parent.children += jobs
            for job in jobs:
                self.both.reserved[job.id] = parent

    def refuses_to_hold_back(self, parent: Known, jobs: list[Job]) -> type[Exception] | None:
        both, new = self.both, set[str]()
        for job in jobs:
            if job.id in new or job.id in both.jobs or job.id in both.reserved:
                return DuplicateJobError
            for each in job.after:
                if each not in new | set(both.jobs) and both.reserved.get(each) is not parent:
                    return UnknownJobError
            if both.is_parked(job) and both.parked(job.priority) >= SETTINGS["queue_size"]:
                return UnknownHandlerError
            is_one = job.unique is not None and job.unique.on_conflict == "raise"
            if is_one and both.holder(job) is not None:
                return DuplicateJobError
            new.add(job.id)
        return None

    # Others.

    @rule(seconds=SECONDS)
    def advance(self, seconds: float) -> None:
        self.both.advance(seconds)

    @rule(job_id=ANY_ID)
    def cancel(self, job_id: str) -> None:
        both = self.both
        both.advance(STEP)
        known = both.jobs.get(job_id)
        if known is None:
            with pytest.raises(UnknownJobError):
                both.jq.cancel(job_id)
            return
        assert both.jq.cancel(job_id) is known.is_live
        if not known.is_live:
            return
        both.cancel_one(known)
        both.settle()

    @rule(job_id=ANY_ID)
    def requeue(self, job_id: str) -> None:
        both = self.both
        known = both.jobs.get(job_id)
        if known is None or known.status is not Status.FAILED:
            with pytest.raises(UnknownJobError if known is None else ValueError):
                both.jq.requeue(job_id)
            return
        both.jq.requeue(job_id)
        both.requeue_one(known)
        both.settle()

    @rule(job_id=ANY_ID)
    def discard(self, job_id: str) -> None:
        both = self.both
        known = both.jobs.get(job_id)
        if known is None or known.status is not Status.FAILED:
            with pytest.raises(UnknownJobError if known is None else ValueError):
                both.jq.discard(job_id)
            return
        both.jq.discard(job_id)
        both.discard_one(known)
        both.settle()

    @rule(which=WHICH)
    def cancel_running(self, which: int) -> None:
        known = self.one_running(which)
        if known is not None:
            self.cancel(known.job.id)

    # Many jobs.

    @rule(sought=SOUGHT, limit=st.integers(1, 4))
    def look(self, sought: Sought, limit: int) -> None:
        self.both.check_page(sought, limit)
        self.both.check_handlers()

    @rule(sought=SOUGHT, limit=LIMITS)
    def cancel_jobs(self, sought: Sought, limit: int | None) -> None:
        both = self.both
        both.advance(STEP)
        if limit is not None:  # so many are cancelled in one step, before others are for that
            live = (Status.QUEUED, Status.SCHEDULED, Status.PROCESSING)
            sought = replace(sought, status=live)
            if any(known.waits_for for known in both.jobs.values()):
                limit = 1
        both.cancel_all(sought, limit)

    @rule(sought=SOUGHT, limit=LIMITS)
    def requeue_jobs(self, sought: Sought, limit: int | None) -> None:
        both = self.both
        fitting = both.first_of(sought, lambda known: known.status is Status.FAILED, limit)
        assert both.jq.requeue_jobs(**sought.options(), limit=limit) == len(fitting)
        both.change_all(fitting, both.requeue_one)

    @rule(sought=SOUGHT, limit=LIMITS)
    def discard_jobs(self, sought: Sought, limit: int | None) -> None:
        both = self.both
        fitting = both.first_of(sought, lambda known: known.status is Status.FAILED, limit)
        assert both.jq.discard_jobs(**sought.options(), limit=limit) == len(fitting)
        both.change_all(fitting, both.discard_one)

    @rule(sought=SOUGHT, limit=LIMITS)
    def run_now(self, sought: Sought, limit: int | None) -> None:
        both = self.both
        fitting = both.first_of(sought, both.can_be_hastened, limit)
        assert both.jq.run_now(**sought.options(), limit=limit) == len(fitting)
        both.change_all(fitting, both.hasten_one)

    # What is paused.

    @rule(what=WHAT_IS_PAUSED)
    def pause(self, what: dict[str, Any]) -> None:
        self.both.pause(**what)

    @rule(what=WHAT_IS_PAUSED)
    def resume(self, what: dict[str, Any]) -> None:
        self.both.resume(**what)

    @rule()
    def resume_all(self) -> None:
        self.both.resume_all()

    @rule(name=st.sampled_from([*PERIODS]), seconds=st.sampled_from([None, 20.0, 60.0]))
    def pause_schedule(self, name: str, seconds: float | None) -> None:
        """For so many seconds, or until another rule resumes it."""
        if name not in self.both.schedules.there:
            with pytest.raises(ValueError, match="there is no schedule"):
                self.both.jq.pause(periodic=name)
            return
        self.both.pause_schedule(name)
        if seconds is not None:
            self.both.advance(seconds)
            self.both.resume_schedule(name)

    @rule(name=st.sampled_from([*PERIODS]))
    def resume_schedule(self, name: str) -> None:
        if name in self.both.schedules.there:
            self.both.resume_schedule(name)

    # Schedules.

    @rule(
        name=st.sampled_from([*PERIODS]),
        wish=TICKS_WISHES,
        catch_up=st.sampled_from(["none", "last", "all"]),
    )
    def periodic(self, name: str, wish: Wish, catch_up: Any) -> None:
        self.both.periodic(name, wish, catch_up)

    @rule(beyond=st.sampled_from([0.0, 0.0, 20.0]))
    def advance_to_a_tick(self, beyond: float) -> None:
        """To where the next one comes, or would if it were not paused; or some seconds later."""
        wall = self.both.wall
        if upcoming := [each.first_after(wall) for each in self.both.schedules.there.values()]:
            self.both.advance(min(upcoming) - wall + beyond)

    @precondition(lambda self: not self.both.has_late)
    @rule(now=st.sampled_from([False, False, False, True]))
    def register_late(self, now: bool = True) -> None:
        if now:
            self.both.register_late()

    # The end of a process, and the next one.

    @precondition(lambda self: self.kind != "memory")
    @rule(late=st.booleans())
    def close_and_open(self, late: bool) -> None:
        before = self.both.jq
        self.both.reopen(late=late)
        with pytest.raises(QueueClosedError):
            before.enqueue(Job())

    @precondition(lambda self: self.kind != "memory")
    @rule(flush=st.booleans(), late=st.booleans())
    def crash_and_open(self, flush: bool, late: bool) -> None:
        self.both.crash(flush=flush, late=late)

    # Whether they agree.

    @invariant()
    def jobs_agree(self) -> None:
        for job_id in {*IDS, *self.both.jobs}:
            self.both.check_job(job_id)

    @invariant()
    def results_agree(self) -> None:
        for known in self.both.jobs.values():
            self.both.check_result(known)

    @invariant()
    def the_rest_agrees(self) -> None:
        self.both.check_metrics()
        self.both.check_rest()

    def teardown(self) -> None:
        try:
            if not self.both.has_late:
                self.both.register_late()
            self.both.run_to_rest()
            self.both.check_metrics()
            self.both.check_handlers()
            metrics = self.both.jq.metrics()
            assert metrics.enqueued == metrics.completed + metrics.failed + metrics.cancelled
        finally:
            self.both.close()


def hold_to_the_model(kind: str, reserved_workers: int, examples: int) -> None:
    attributes = {"kind": kind, "reserved_workers": reserved_workers}
    machine = cast("type[QueueMachine]", type("Machine", (QueueMachine,), attributes))
    options = settings(
        max_examples=examples,
        stateful_step_count=50,
        suppress_health_check=list(HealthCheck),
    )
    with patch("jobqueue.final.life.recovery.Files", HastyFiles):
        run_state_machine_as_test(machine, settings=options)


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.timeout(500)  # a failure is made smaller, which takes a wait that is in vain each time
@pytest.mark.parametrize("kind", STORES)
def test_whatever_is_done_the_queue_does_as_its_model(kind: str) -> None:
    hold_to_the_model(kind, 0, EXAMPLES)


@pytest.mark.slow
@pytest.mark.usefixtures("no_tracer")
@pytest.mark.timeout(500)
def test_whatever_is_done_a_queue_with_reserved_workers_does_as_its_model() -> None:
    hold_to_the_model("memory", 1, EXAMPLES)
