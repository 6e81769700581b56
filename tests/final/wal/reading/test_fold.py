from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobqueue.final.wal.format.record import (
    Cancelled,
    Completed,
    Crashed,
    Discarded,
    Doomed,
    Enqueued,
    Failed,
    Record,
    Requeued,
    Retried,
    Revoked,
    Ticked,
)
from jobqueue.final.wal.reading.fold import (
    CANCELLED,
    COMPLETED,
    FAILED,
    QUEUED,
    SCHEDULES_MAX,
    JobState,
    LogState,
)
from tests.support.left_out import often

if TYPE_CHECKING:
    from collections.abc import Iterable

MANY = 1000


def enqueued(number: int = 1) -> Enqueued:
    return Enqueued(number, f"job-{number}", 1, 1.0, payload="text", due=20.0, delay=10.0)


def retried(number: int = 1, retries: int = 1) -> Retried:
    return Retried(number, 30.0, 29.0, retries, 35.0, 5.0, "ValueError: boom", "trace")


def completed(number: int = 1) -> Completed:
    return Completed(number, 40.0, 39.0, 2)


def failed(number: int = 1) -> Failed:
    return Failed(number, 50.0, 49.0, 3, "KeyError: 'x'", "its trace")


def cancelled(number: int = 1) -> Cancelled:
    return Cancelled(number, 60.0, None, 0)


def waiting(number: int, *after: int, key: str | None = None) -> Enqueued:
    """A job that waits for others."""
    unique = None if key is None else "key"
    return Enqueued(number, f"job-{number}", 1, 1.0, key=key, unique=unique, after=after)


def completed_with(number: int, *children: Enqueued) -> Completed:
    return Completed(number, 40.0, 39.0, 2, children=children)


def folded(records: Iterable[Record], retention: int = MANY) -> LogState:
    state = LogState(retention)
    for record in records:
        state.apply(copy.deepcopy(record))
    return state


def one(*records: Record) -> JobState:
    """Return the state of the only job there is."""
    (state,) = folded(records).jobs.values()
    return state


def test_an_accepted_job_is_queued_until_its_due_time() -> None:
    state = one(enqueued())
    assert state == JobState(enqueued(), 20.0, 10.0, QUEUED)


def test_a_retry_replaces_what_was_known_of_the_last_attempt() -> None:
    state = one(enqueued(), Crashed(1, 2), retried())
    assert (state.status, state.retries, state.crashes) == (QUEUED, 1, 0)
    assert (state.due, state.delay) == (35.0, 5.0)
    assert (state.error, state.traceback) == ("ValueError: boom", "trace")
    assert (state.started, state.finished) == (29.0, None)


def test_a_completed_job_keeps_its_story_but_not_its_payload() -> None:
    state = one(enqueued(), retried(), Crashed(1, 1), completed())
    assert (state.status, state.retries, state.crashes) == (COMPLETED, 2, 0)
    assert (state.started, state.finished) == (39.0, 40.0)
    assert (state.due, state.delay) == (None, 0.0)
    assert state.error == "ValueError: boom"
    assert (state.enqueued.payload, state.enqueued.id) == ("", "job-1")


def test_a_job_that_is_cancelled_before_it_ran_says_why_and_has_no_attempt() -> None:
    expired = Cancelled(1, 60.0, None, 0, "expired after 5 s", "")
    state = folded([enqueued(), expired])
    assert (state.jobs[1].error, state.jobs[1].attempts) == ("expired after 5 s", ())
    assert folded(state.records()).jobs[1] == state.jobs[1]


def test_a_binary_payload_is_dropped_too() -> None:
    record = Enqueued(1, "a", 1, 1.0, binary=b"\xff" * 100)
    assert one(record, cancelled()).enqueued.binary == b""


def test_a_failed_job_keeps_its_payload() -> None:
    state = one(enqueued(), Crashed(1, 1), failed())
    assert (state.status, state.retries, state.crashes) == (FAILED, 3, 0)
    assert (state.error, state.traceback) == ("KeyError: 'x'", "its trace")
    assert (state.started, state.finished) == (49.0, 50.0)
    assert state.due is None
    assert state.enqueued.payload == "text"


def test_a_requeued_job_starts_over() -> None:
    accepted = Enqueued(1, "job-1", 1, 1.0, payload="text")
    assert one(enqueued(), failed(), Requeued(1, 70.0)) == JobState(accepted)


def test_a_discarded_job_is_forgotten() -> None:
    assert folded([enqueued(), failed(), Discarded(1)]).jobs == {}


def test_crashes_are_counted_as_told() -> None:
    assert one(enqueued(), Crashed(1, 1), Crashed(1, 2)).crashes == 2


ENDS: dict[str, list[Record]] = {
    COMPLETED: [enqueued(), completed()],
    CANCELLED: [enqueued(), cancelled()],
    FAILED: [enqueued(), failed()],
    QUEUED: [enqueued()],
}
ANY: list[Record] = [
    enqueued(),
    retried(),
    completed(),
    failed(),
    cancelled(),
    Requeued(1, 70.0),
    Discarded(1),
    Crashed(1, 1),
    Revoked(1, 80.0),  # whether that follows is tested below, as is the next
    Doomed(1, "job-0"),
]
FOLLOWS = {
    (QUEUED, Retried),
    (QUEUED, Completed),
    (QUEUED, Failed),
    (QUEUED, Cancelled),
    (QUEUED, Crashed),
    (FAILED, Requeued),
    (FAILED, Discarded),
}


@pytest.mark.parametrize("record", ANY, ids=lambda record: type(record).__name__)
@pytest.mark.parametrize("status", ENDS)
def test_a_record_that_does_not_follow_changes_nothing(status: str, record: Record) -> None:
    before = folded(ENDS[status])
    after = folded([*ENDS[status], record])
    follows = (status, type(record)) in FOLLOWS
    assert (after.jobs != before.jobs) == follows


@pytest.mark.parametrize("record", ANY[1:], ids=lambda record: type(record).__name__)
def test_a_record_of_an_unknown_job_changes_nothing(record: Record) -> None:
    assert folded([record]).jobs == {}


def test_finished_jobs_are_forgotten_oldest_first() -> None:
    ends: list[Record] = [completed(2), cancelled(1), completed(4), completed(3)]
    state = folded([enqueued(n) for n in range(1, 6)] + ends, retention=2)
    assert set(state.jobs) == {3, 4, 5}


def test_failed_jobs_are_not_forgotten() -> None:
    state = folded([enqueued(1), failed(1), enqueued(2), completed(2)], retention=0)
    assert set(state.jobs) == {1}


@pytest.mark.parametrize("retention", [0, MANY])
def test_repeated_records_never_run_a_finished_job_again(retention: int) -> None:
    story: list[Record] = [
        enqueued(1),
        completed(1),
        enqueued(2),
        failed(2),
        Discarded(2),
        enqueued(3),
    ]
    state = folded([*story, *story, *story], retention)
    assert [n for n, job in state.jobs.items() if job.status == QUEUED] == [3]
    assert 2 not in state.jobs


def test_jobs_may_come_in_any_order_of_their_numbers() -> None:
    numbers = [5, 2, 9, 1, 7, 8, 3, 4, 6, 10]
    state = folded(enqueued(number) for number in numbers)
    assert list(state.jobs) == numbers
    assert state.next_number == 11


def test_jobs_stay_in_the_order_in_which_they_were_accepted() -> None:
    state = folded([*map(enqueued, range(1, 5)), retried(1), failed(2), Requeued(2, 70.0)])
    assert list(state.jobs) == [1, 2, 3, 4]


def test_the_next_number_is_above_those_of_forgotten_jobs() -> None:
    assert LogState(0).next_number == 1
    assert folded([enqueued(7), completed(7)], retention=0).next_number == 8


@given(st.lists(st.integers(1, 12), max_size=40), st.integers(0, 3))
def test_each_number_counts_once_whatever_the_order(numbers: list[int], retention: int) -> None:
    state = LogState(retention)
    seen: set[int] = set()
    for number in numbers:
        before = set(state.jobs)
        state.apply(enqueued(number))
        assert (set(state.jobs) - before == {number}) == (number not in seen)
        if number % 2:
            state.apply(completed(number))
        seen.add(number)
    assert state.next_number == max(seen, default=0) + 1


events = st.lists(
    st.one_of(
        *(
            st.builds(make, st.integers(1, 5))
            for make in (enqueued, retried, completed, failed, cancelled)
        ),
        st.builds(Requeued, st.integers(1, 5), st.just(70.0)),
        st.builds(Discarded, st.integers(1, 5)),
        st.builds(Crashed, st.integers(1, 5), st.integers(1, 3)),
        st.builds(Revoked, st.integers(1, 5), st.just(80.0)),
        st.builds(waiting, st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)),
        st.builds(
            completed_with,
            st.integers(1, 5),
            st.builds(waiting, st.integers(1, 9), st.integers(1, 9), key=st.sampled_from("ab")),
            st.builds(enqueued, st.integers(1, 9)),
        ),
        st.builds(Doomed, st.integers(1, 9), st.just("job-1")),
        st.builds(Ticked, st.sampled_from(["a", "b"]), st.floats(0, 9), st.integers(0, 5)),
    ),
    max_size=30,
)


def unfinished_doomed(state: LogState) -> set[int]:
    """The unfinished jobs that are to be cancelled at the next start."""
    return {
        number
        for number in state.doomed
        if number in state.jobs and state.jobs[number].status == QUEUED
    }


def test_a_job_waits_for_those_that_are_not_completed() -> None:
    state = folded([enqueued(1), enqueued(2), waiting(3, 1, 2), completed(1)])
    assert state.jobs[3].enqueued.after == (2,)
    assert not state.doomed
    state.apply(completed(2))
    assert not state.jobs[3].enqueued.after
    assert not state.doomed


@pytest.mark.parametrize("end", [failed, cancelled])
def test_a_job_after_one_that_was_not_completed_is_doomed(end: Any) -> None:
    before = folded([enqueued(1), waiting(2, 1), waiting(3, 2), end(1)])
    later = folded([enqueued(1), end(1), waiting(2, 1), waiting(3, 2)])
    for state in (before, later):
        assert state.doomed == {2: "job-1"}
        state.apply(cancelled(2))
        assert state.doomed == {3: "job-2"}
        state.apply(cancelled(3))
        assert state.doomed == {}


def test_a_job_after_one_that_is_not_known_waits_for_nothing() -> None:
    forgotten = folded([enqueued(1), completed(1), waiting(2, 1)], retention=0)
    never = folded([waiting(2, 1), waiting(3, 3), waiting(4, 9)])
    for state in (forgotten, never):
        assert all(not each.enqueued.after for each in state.jobs.values())
        assert not state.doomed


def test_a_job_after_one_that_failed_stays_doomed_though_that_is_requeued_or_discarded() -> None:
    story: list[Record] = [enqueued(1), waiting(2, 1), failed(1)]
    assert folded([*story, Requeued(1, 70.0)]).doomed == {2: "job-1"}
    assert folded([*story, Discarded(1)]).doomed == {2: "job-1"}


def test_a_requeued_job_has_no_time_to_expire() -> None:
    expiring = Enqueued(1, "job-1", 1, 1.0, expires=50.0, within=49.0)
    kept = one(expiring, failed(), Requeued(1, 70.0)).enqueued
    assert (kept.expires, kept.within) == (None, None)


def test_the_children_of_a_completion_are_accepted_by_it_once() -> None:
    ending = completed_with(1, waiting(2, 1), waiting(3, 2))
    state = folded([enqueued(1), ending, ending, ending])
    assert [each.status for each in state.jobs.values()] == [COMPLETED, QUEUED, QUEUED]
    assert state.jobs[2].enqueued.after == ()  # the parent is completed
    assert state.jobs[3].enqueued.after == (2,)
    assert state.next_number == 4
    for number in (2, 3):
        state.apply(completed(number))
    state.apply(copy.deepcopy(ending))
    assert {each.status for each in state.jobs.values()} == {COMPLETED}


@pytest.mark.parametrize("end", [failed, cancelled, completed])
def test_the_children_of_a_completion_that_does_not_follow_are_none(end: Any) -> None:
    state = folded([enqueued(1), end(1), completed_with(1, enqueued(2))])
    assert set(state.jobs) == {1}


def test_the_children_of_a_job_that_is_forgotten_at_once_are_there() -> None:
    state = folded([enqueued(1), completed_with(1, enqueued(2), waiting(3, 2))], retention=0)
    assert set(state.jobs) == {2, 3}
    assert state.jobs[3].enqueued.after == (2,)


def test_a_snapshot_keeps_that_a_job_is_doomed_though_the_other_is_forgotten() -> None:
    state = folded([enqueued(1), waiting(2, 1), cancelled(1)], retention=0)
    records = [copy.deepcopy(each) for each in state.records()]
    assert [type(each) for each in records] == [Enqueued, Doomed]
    assert folded(records, retention=0).doomed == {2: "job-1"}


def unfinished_revoked(state: LogState) -> dict[int, float]:
    """The unfinished jobs that were asked to stop, and when."""
    return {
        number: at
        for number, at in state.revoked.items()
        if number in state.jobs and state.jobs[number].status == QUEUED
    }


def test_only_an_unfinished_job_is_asked_to_stop_and_a_requeued_one_is_not() -> None:
    asked = Revoked(1, 80.0)
    assert unfinished_revoked(folded([enqueued(), asked])) == {1: 80.0}
    assert unfinished_revoked(folded([enqueued(), failed(), asked, Requeued(1, 70.0)])) == {}
    assert unfinished_revoked(folded([enqueued(), asked, failed(), Requeued(1, 70.0)])) == {}


def test_what_has_ended_is_in_the_order_of_the_log_whatever_the_clock_said() -> None:
    story: list[Record] = [enqueued(1), enqueued(2), enqueued(3), enqueued(4)]
    story += [Completed(2, 90.0, 1.0, 0), Completed(1, 10.0, 1.0, 0)]
    story += [Failed(4, 90.0, 1.0, 0, "", ""), Failed(3, 10.0, 1.0, 0, "", "")]
    state = folded(story)
    assert [each.enqueued.job for each in state.finished()] == [2, 1]
    assert [each.enqueued.job for each in state.failed()] == [4, 3]


def test_a_tick_is_kept_whatever_becomes_of_its_job() -> None:
    tick = Ticked("report", 90.0, 1)
    stories: list[list[Record]] = [
        [enqueued(), tick, completed()],
        [enqueued(), failed(), Discarded(1), tick],
    ]
    for story in stories:
        assert folded(story, 0).ticks == {"report": tick}


def test_of_a_schedules_ticks_the_last_in_the_log_counts_whatever_the_clock_said() -> None:
    state = folded([Ticked("a", 90.0, 1), Ticked("b", 1.0), Ticked("a", 10.0)])
    assert list(state.ticks.values()) == [Ticked("b", 1.0), Ticked("a", 10.0)]


def test_the_last_tick_that_enqueued_a_job_is_kept_beside_one_that_was_left_out() -> None:
    worked, left_out = Ticked("a", 10.0, 1), Ticked("a", 20.0)
    state = folded([worked, Ticked("a", 15.0), left_out, Ticked("b", 1.0), Ticked("b", 2.0, 2)])
    again = folded(state.records())
    for each in (state, again):
        assert each.ticks == {"a": left_out, "b": Ticked("b", 2.0, 2)}
        assert each.working_ticks == {"a": worked}
    state.apply(Ticked("a", 30.0, 3))
    assert state.working_ticks == {}


def test_of_a_schedule_that_is_forgotten_nothing_is_kept() -> None:
    others = [Ticked(f"schedule-{number}", 1.0) for number in range(SCHEDULES_MAX)]
    state = folded([Ticked("a", 10.0, 1), Ticked("a", 20.0), *others])
    assert "a" not in state.ticks
    assert state.working_ticks == {}


def test_the_schedules_that_ticked_last_are_kept_if_there_are_too_many() -> None:
    names = [f"schedule-{number}" for number in range(SCHEDULES_MAX + 2)]
    state = folded([Ticked(name, 1.0) for name in (*names[:-1], names[1], names[-1])])
    assert list(state.ticks) == [*names[3:-1], names[1], names[-1]]


@settings(max_examples=often(75, 150))
@given(events, st.integers(0, 4))
def test_a_snapshots_records_rebuild_the_state(story: list[Record], retention: int) -> None:
    state = folded(story, retention)
    again = folded(state.records(), retention)
    assert again.jobs == state.jobs
    assert list(again.jobs) == list(state.jobs)
    assert again.finished() == state.finished()
    assert again.failed() == state.failed()
    assert unfinished_revoked(again) == unfinished_revoked(state)
    assert unfinished_doomed(again) == unfinished_doomed(state)
    for number in sorted(state.jobs):  # and jobs after those that end now are told alike
        for each in (state, again):
            each.apply(cancelled(number) if number % 2 else completed(number))
        assert again.jobs == state.jobs
        assert unfinished_doomed(again) == unfinished_doomed(state)
    assert list(again.ticks.items()) == list(state.ticks.items())
    assert again.working_ticks == state.working_ticks
    for number in range(16, 20):  # and it forgets in the same order
        for record in (enqueued(number), completed(number)):
            state.apply(copy.copy(record))
            again.apply(copy.copy(record))
        assert again.jobs == state.jobs
