"""The table of statuses, and that a real queue's jobs follow it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest

from jobqueue.final import Job, JobHandle, RejectJobError, RetryJobError, Status
from jobqueue.final.core.status_map import StatusMap
from jobqueue.final.model.handle import Raised
from jobqueue.final.model.handler_meter import COUNTED
from jobqueue.final.model.transitions import FINAL, FIRST, FOLLOWS, Event, after
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.queues import Attempts, Store, every_store, until
from tests.support.waiting import PATIENCE

Q, S, P = Status.QUEUED, Status.SCHEDULED, Status.PROCESSING
C, F, X = Status.COMPLETED, Status.FAILED, Status.CANCELLED

# Written out again, by status and event: what is not here cannot happen.
TABLE = {
    (S, Event.DUE): Q,
    (S, Event.CANCEL): X,
    (Q, Event.START): P,
    (Q, Event.CANCEL): X,
    (P, Event.RETURN): C,
    (P, Event.RETRY): S,
    (P, Event.FAIL): F,
    (P, Event.CANCEL): X,
    (P, Event.CRASH): Q,
    (F, Event.REQUEUE): Q,
}


@pytest.mark.parametrize(("status", "event"), list(itertools.product(Status, Event)), ids=str)
def test_every_event_in_every_status_leads_where_the_table_says_or_is_refused(
    status: Status, event: Event
) -> None:
    if (status, event) in TABLE:
        assert after(status, event) is TABLE[status, event]
    else:
        with pytest.raises(ValueError, match=f"{status.name} cannot {event.name}"):
            after(status, event)


def test_statuses_are_those_of_the_contract() -> None:
    assert {status.name for status in Status} == {
        *("QUEUED", "SCHEDULED", "PROCESSING", "COMPLETED", "FAILED", "CANCELLED")
    }


def test_nothing_leaves_a_final_status_but_a_requeue() -> None:
    leaving = {event for (status, event) in FOLLOWS if status in FINAL}
    assert leaving == {Event.REQUEUE}
    assert {C, F, X} == FINAL


def test_every_status_can_be_reached_from_where_jobs_begin() -> None:
    reached = set(FIRST)
    for _ in Status:
        reached |= {after for (before, _), after in FOLLOWS.items() if before in reached}
    assert reached == set(Status)


def test_a_final_status_can_be_reached_from_everywhere() -> None:
    ends = set(FINAL)
    for _ in Status:
        ends |= {before for (before, _), after in FOLLOWS.items() if after in ends}
    assert ends == set(Status)


# ── a real queue ─────────────────────────────────────────────────────────────────────────────


class StatusChanges:
    """Stands in for `JobHandle._status` and keeps every change of it, job by job."""

    def __init__(self, slot: Any) -> None:
        self._slot = slot
        self._last: dict[str, Status] = {}
        self.first: set[Status] = set()
        self.seen: set[tuple[Status, Status]] = set()

    def __get__(self, handle: JobHandle | None, owner: type[JobHandle]) -> Any:
        return self if handle is None else self._slot.__get__(handle, owner)

    def __set__(self, handle: JobHandle, status: Status) -> None:
        before = self._last.get(handle.id)
        self._last[handle.id] = status
        if before is None:
            self.first.add(status)
        elif before is not status:
            self.seen.add((before, status))
        self._slot.__set__(handle, status)


@pytest.fixture
def changes(monkeypatch: pytest.MonkeyPatch) -> StatusChanges:
    slot = insides.recorded_statuses(JobHandle)
    changes = StatusChanges(getattr(*slot))
    monkeypatch.setattr(*slot, changes)
    return changes


@every_store
def test_jobs_of_a_real_queue_go_every_way_of_the_table_and_no_other(
    store: Store, clock: ManualClock, changes: StatusChanges
) -> None:
    blocker = store.blocker(error=ConnectionError("cut off"))
    handlers: dict[str, Callable[..., object]] = {
        "well": Attempts("done"),
        "later": Attempts(RetryJobError(delay=5), "done"),
        "never": Attempts(RejectJobError("no"), "done"),
        "held": blocker,
    }
    jq = store.open(handlers=handlers, clock=clock, num_workers=1)

    done = jq.enqueue(Job(handler="well"))
    delayed = jq.enqueue(Job(handler="well"), delay=5)
    retried = until(jq.enqueue(Job(handler="later")), S)
    failed = jq.enqueue(Job(handler="never"))
    failed.wait(PATIENCE)
    requeued = jq.requeue(failed.id)
    clock.advance(5)
    for handle in (done, delayed, retried, requeued):
        assert handle.wait(PATIENCE) is C

    running = jq.enqueue(Job(handler="held"))
    blocker.await_entered()
    queued, scheduled = jq.enqueue(Job(handler="well")), jq.enqueue(Job(handler="well"), delay=5)
    assert all(handle.cancel() for handle in (queued, scheduled, running))
    blocker.gate.set()
    assert running.wait(PATIENCE) is X

    assert changes.first == FIRST
    assert changes.seen == {
        (before, after) for (before, event), after in TABLE.items() if event is not Event.CRASH
    }


FAULT = Raised(OSError(), None)
CHANGES: dict[Event, Callable[[StatusMap, JobHandle], object]] = {
    Event.START: lambda status, handle: status.start(handle, 0.0, 0.0),
    Event.RETURN: lambda status, handle: status.complete(handle, None, 0.0, 0.0),
    Event.RETRY: lambda status, handle: status.retry(handle, ("error", ""), 0.0, 0.0),
    Event.FAIL: lambda status, handle: status.fail(handle, ("error", ""), FAULT, 0.0, 0.0),
    Event.CANCEL: lambda status, handle: status.cancel(handle, 0.0, 0.0),
}


@pytest.mark.parametrize(
    ("status", "event"),
    [
        pair
        for pair in itertools.product(Status, CHANGES)
        if pair not in TABLE and pair != (X, Event.CANCEL)  # see the next test
    ],
    ids=str,
)
def test_what_the_table_does_not_allow_is_refused_by_the_status_map_and_changes_nothing(
    memory: Store, status: Status, event: Event
) -> None:
    jq = memory.open(Attempts(), start=False)
    handle = jq.enqueue(Job(id="a"))
    insides.set_status(handle, status)
    known = insides.status_map(jq)

    def state() -> tuple[Any, ...]:
        counts = [getattr(known.meters[1], name) for name in COUNTED]
        return insides.recorded_status(handle), counts, set(known.live), set(known.finished)

    before = state()
    with pytest.raises(ValueError, match=f"{status.name} cannot {event.name}"), insides.mutex(jq):
        CHANGES[event](known, handle)
    assert state() == before
    insides.set_status(handle, Q)


def test_a_cancel_that_another_thread_makes_again_changes_nothing(memory: Store) -> None:
    """It may have been broken off at any step, the last one too."""
    jq = memory.open(Attempts(), start=False, status_retention=2)
    jq.enqueue(Job(id="before")).cancel()
    handle = jq.enqueue(Job(id="a"))
    handle.cancel()
    before = jq.metrics()

    with insides.mutex(jq):
        insides.status_map(jq).cancel(handle, 0.0, 0.0)

    assert jq.metrics() == before
    assert jq.status("before") is handle.status is X
