"""`ManualClock`: it alone moves what a queue waits for."""

from __future__ import annotations

import queue
import threading
from typing import Any

import pytest

from jobqueue.final import Job, JobContext, JobQueue, RetryJobError, Status
from jobqueue.final.testing import ManualClock, run_all
from jobqueue.final.timing import timer
from jobqueue.final.timing.timer import CHANGES_MAX, Timer
from tests.support import insides
from tests.support.handlers import Recorder, in_thread
from tests.support.queues import Attempts, Store, every_store, until, until_retried
from tests.support.waiting import PATIENCE, eventually

# ── the clock by itself ──────────────────────────────────────────────────────────────────────


def test_clock_stands_still_until_it_is_advanced() -> None:
    clock = ManualClock(start=100)
    assert (clock.monotonic(), clock.time(), clock.manual) == (0, 100, True)
    clock.advance(2.5)
    clock.advance(0)
    assert (clock.monotonic(), clock.time()) == (2.5, 102.5)


def test_clock_starts_at_the_present() -> None:
    before = Job().created
    assert before <= ManualClock().time() <= Job().created


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")], ids=lambda s: f"{s}"[:9])
def test_clock_goes_neither_back_nor_to_the_end_of_time(seconds: float) -> None:
    clock = ManualClock()
    with pytest.raises(ValueError, match="finite number"):
        clock.advance(seconds)
    assert clock.monotonic() == 0


def test_subscriber_is_called_after_each_move_until_it_ends_that() -> None:
    clock = ManualClock()
    seen: list[float] = []
    unsubscribe = clock.subscribe(lambda: seen.append(clock.monotonic()))
    clock.advance(1)
    clock.advance(2)
    unsubscribe()
    unsubscribe()  # again is no harm
    clock.advance(4)
    assert seen == [1, 3]


def test_threads_may_advance_together() -> None:
    clock = ManualClock()
    threads = [threading.Thread(target=clock.advance, args=(1,)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.monotonic() == 20


def test_closed_queue_lets_go_of_its_clock(store: Store, clock: ManualClock) -> None:
    store.open(len, clock=clock).close()
    assert insides.subscribers(clock) == []


# ── delays ───────────────────────────────────────────────────────────────────────────────────


def test_advance_returns_when_the_jobs_that_came_due_are_in_their_lanes(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(len, start=False, clock=clock)
    for seconds in (1, 2, 2, 3):
        jq.enqueue(Job(), delay=seconds)
    counts = []
    for _ in range(3):
        clock.advance(1)
        metrics = jq.metrics()
        counts.append((metrics.queued, metrics.scheduled))
    assert counts == [(1, 3), (3, 1), (4, 0)]


def test_delayed_jobs_run_in_the_order_of_their_times(store: Store, clock: ManualClock) -> None:
    recorder = Recorder()
    jq = store.open(recorder, start=False, clock=clock, num_workers=1)
    for id, seconds in (("c", 3), ("a", 1), ("d", 3), ("b", 2)):
        jq.enqueue(Job(id=id), delay=seconds)
    clock.advance(3)
    jq.start()
    assert jq.join(PATIENCE)
    assert recorder.ids() == ["a", "b", "c", "d"]


@pytest.mark.parametrize("seconds", [0.001, 0.0015, 0.3, 255.999, 256, 65_536.001, 1e7])
def test_delay_of_any_length_is_kept_to_the_tick(
    memory: Store, clock: ManualClock, seconds: float
) -> None:
    jq = memory.open(len, start=False, clock=clock)
    jq.enqueue(Job(id="a"), delay=seconds)
    clock.advance(seconds - 0.0004)
    assert jq.status("a") is Status.SCHEDULED
    clock.advance(0.0014)
    assert jq.status("a") is Status.QUEUED


def test_delay_is_counted_from_where_the_clock_stands(store: Store, clock: ManualClock) -> None:
    clock.advance(1000)
    jq = store.open(len, start=False, clock=clock)
    clock.advance(1000)
    jq.enqueue(Job(id="a"), delay=10)
    clock.advance(9.999)
    assert jq.status("a") is Status.SCHEDULED
    clock.advance(0.001)
    assert jq.status("a") is Status.QUEUED


def test_delay_that_outlasts_all_clocks_is_accepted(store: Store, clock: ManualClock) -> None:
    jq = store.open(len, clock=clock)
    handle = jq.enqueue(Job(), delay=1.7e308)
    clock.advance(1e9)
    assert handle.status is Status.SCHEDULED


def test_one_clock_drives_several_queues(tmp_path: Any, clock: ManualClock) -> None:
    stores = [Store("memory", tmp_path / "a"), Store("write", tmp_path / "b")]
    queues = [store.open(len, start=False, clock=clock) for store in stores]
    handles = [jq.enqueue(Job(), delay=1) for jq in queues]
    clock.advance(1)
    assert [handle.status for handle in handles] == [Status.QUEUED] * 2
    for store in stores:
        store.close()


def test_replayed_delay_goes_on_where_the_clock_stands(
    log_store: Store, clock: ManualClock
) -> None:
    jq = log_store.open(len, clock=clock)
    jq.enqueue(Job(id="a"), delay=10)
    clock.advance(4)
    jq.close()
    again = log_store.open(len, start=False, clock=clock)
    clock.advance(5.999)
    assert again.status("a") is Status.SCHEDULED
    clock.advance(0.001)
    assert again.status("a") is Status.QUEUED


# ── backoff ──────────────────────────────────────────────────────────────────────────────────


def test_backoff_waits_for_the_clock(store: Store, clock: ManualClock) -> None:
    attempts = Attempts(ConnectionError("down"), "done", clock=clock)
    jq = store.open(attempts, clock=clock, base_delay=30)
    handle = until(jq.enqueue(Job()), Status.SCHEDULED)
    clock.advance(29.999)
    assert handle.status is Status.SCHEDULED
    clock.advance(0.001)
    assert handle.result(PATIENCE) == "done"
    assert attempts.times == pytest.approx([0, 30])


def test_retries_without_delay_need_no_advance(store: Store, clock: ManualClock) -> None:
    attempts = Attempts(*[ConnectionError("down")] * 20, "done")
    jq = store.open(attempts, clock=clock, base_delay=0, max_retries=20)
    assert jq.enqueue(Job()).result(PATIENCE) == "done"


def test_what_is_due_at_once_is_fired_though_the_timer_was_awake_when_it_came() -> None:
    """1. The timer's thread is awake: it fires "first". 2. Meanwhile "second" is scheduled for a
    time that has come: no need to wake the thread. 3. The thread goes to sleep, and nobody
    moves the clock again."""
    clock = ManualClock()
    fired: queue.Queue[object] = queue.Queue()

    def fire(items: list[object]) -> None:
        if items == ["first"]:
            wheel.schedule("second", 0)
        fired.put(items)

    wheel = Timer(clock, fire, fired.put)
    wheel.start()
    wheel.schedule("first", 0)
    try:
        assert [fired.get(timeout=PATIENCE) for _ in range(2)] == [["first"], ["second"]]
    finally:
        wheel.stop()
        wheel.join(PATIENCE)


@every_store
def test_advance_after_each_failure_walks_a_job_through_its_retries(
    store: Store, clock: ManualClock
) -> None:
    attempts = Attempts(ConnectionError("down"), clock=clock)
    jq = store.open(attempts, clock=clock, max_retries=3)
    handle = jq.enqueue(Job(id="a"))
    for times, seconds in ((1, 1), (2, 2), (3, 4)):
        until_retried(jq, "a", times)
        clock.advance(seconds)
    assert handle.wait(PATIENCE) is Status.FAILED
    assert attempts.times == [0, 1, 3, 7]


# ── job_timeout and context.wait ─────────────────────────────────────────────────────────────


class WatchedClock(ManualClock):
    """Tells when a thread that asked for it reads the time next: as it goes to sleep, that is."""

    def __init__(self) -> None:
        super().__init__()
        self.asleep = threading.Event()
        self._watched: int | None = None

    def watch_this_thread(self) -> None:
        self._watched = threading.get_ident()

    def monotonic(self) -> float:
        now = super().monotonic()  # before the test may move it
        if threading.get_ident() == self._watched:
            self._watched = None
            self.asleep.set()
        return now


class Sleeper:
    """A handler that sleeps on the queue's clock and notes when it woke and why."""

    def __init__(self, clock: WatchedClock, seconds: float) -> None:
        self.woke: list[tuple[float, bool]] = []
        self._clock = clock
        self._seconds = seconds

    def __call__(self, payload: bytes, context: JobContext) -> None:
        self._clock.watch_this_thread()
        told_to_stop = context.wait(self._seconds)
        self.woke.append((self._clock.monotonic(), told_to_stop))


def sleeping(store: Store, seconds: float, **settings: Any) -> tuple[WatchedClock, Sleeper, Any]:
    """A job whose handler is asleep."""
    clock = WatchedClock()
    sleeper = Sleeper(clock, seconds)
    handle = store.open(sleeper, clock=clock, **settings).enqueue(Job())
    assert clock.asleep.wait(PATIENCE)
    return clock, sleeper, handle


def test_context_wait_sleeps_until_the_clock_is_moved(store: Store) -> None:
    clock, sleeper, handle = sleeping(store, 5)
    clock.advance(4.999)
    clock.advance(0.001)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert sleeper.woke == [(5, False)]


def test_context_wait_is_ended_by_a_cancel_without_the_clock(store: Store) -> None:
    _, sleeper, handle = sleeping(store, 5)
    assert handle.cancel()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert sleeper.woke == [(0, True)]


def test_context_wait_is_ended_by_the_job_timeout(store: Store) -> None:
    clock, sleeper, handle = sleeping(store, 5, job_timeout=3, max_retries=0)
    clock.advance(3)
    with pytest.raises(TimeoutError, match="longer than 3 s"):
        handle.result(PATIENCE)
    assert sleeper.woke == [(3, True)]


def test_context_wait_of_no_time_returns_at_once(store: Store, clock: ManualClock) -> None:
    jq = store.open(lambda payload, context: context.wait(0), clock=clock)
    assert jq.enqueue(Job()).result(PATIENCE) is False


def test_handler_may_advance_the_clock_itself(store: Store, clock: ManualClock) -> None:
    jq = store.open(lambda payload: clock.advance(10), clock=clock)
    handle = jq.enqueue(Job(), delay=5)
    clock.advance(5)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert clock.monotonic() == 15


def test_close_does_not_wait_for_a_clock_that_nobody_moves(
    store: Store, clock: ManualClock
) -> None:
    jq = store.open(Attempts(ConnectionError("down")), clock=clock)
    jq.enqueue(Job(), delay=1)
    until(jq.enqueue(Job()), Status.SCHEDULED)
    report = jq.close(drain=True)
    assert (report.remaining, report.unfinished) == (2, ())


# ── what callers wait for stays on real time ─────────────────────────────────────────────────


def test_what_callers_wait_for_is_not_the_manual_clock(store: Store, clock: ManualClock) -> None:
    jq = store.open(len, start=False, clock=clock, queue_size=1)
    handle = jq.enqueue(Job())
    assert handle.wait(0.001) is Status.QUEUED
    assert jq.join(0.001) is False
    with pytest.raises(TimeoutError):
        handle.result(0.001)
    with pytest.raises(TimeoutError):
        jq.enqueue(Job(), timeout=0.001)
    waiting = in_thread(handle.wait, PATIENCE)
    clock.advance(PATIENCE * 2)
    assert not waiting.done()
    jq.start()
    assert waiting.result(PATIENCE) is Status.COMPLETED


def test_clock_that_is_none_is_the_systems(memory: Store) -> None:
    with JobQueue(handler=len) as jq:
        assert jq.enqueue(Job(b"abc"), delay=0.001).result(PATIENCE) == 3


class ForgetfulQueue(queue.SimpleQueue[Any]):
    """Takes a short timeout for none, as CPython before 3.13 does where it is over too soon."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        return super().get(block, None if timeout is not None and timeout < 0.01 else timeout)


def test_timer_wakes_from_a_nap_that_is_over_before_it_begins(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timer, "SimpleQueue", ForgetfulQueue)
    jq = memory.open(lambda payload: 1 / 0, base_delay=0, max_retries=5)
    assert jq.enqueue(Job(), delay=0.001).wait(PATIENCE) is Status.FAILED
    assert jq.metrics().retried == 5


def test_timers_that_were_set_and_taken_back_do_not_pile_up(memory: Store) -> None:
    jq = memory.open(lambda _payload: None, job_timeout=3600.0)

    for _ in range(5):
        for handle in jq.enqueue_many([Job() for _ in range(500)]):
            handle.wait(PATIENCE)

    assert eventually(lambda: len(insides.changes_of(insides.timer(jq))) < 2 * CHANGES_MAX)


def test_run_all_runs_what_is_due_on_the_calling_thread_and_what_comes_of_it(
    memory: Store, clock: ManualClock
) -> None:
    ran: list[tuple[str, int]] = []

    def handler(payload: bytes, context: JobContext) -> None:
        ran.append((payload.decode(), threading.get_ident()))
        if payload == b"parent":
            jq.enqueue(Job(b"child"))
        if payload == b"flaky" and context.attempt == 0:
            raise RetryJobError(delay=5)

    jq = memory.open(handler, start=False, clock=clock)
    jq.enqueue(Job(b"parent"))
    jq.enqueue(Job(b"flaky"))
    jq.enqueue(Job(b"later"), delay=10)
    run_all(jq)
    assert [payload for payload, _ in ran] == ["parent", "flaky", "child"]
    clock.advance(5)
    run_all(jq)
    assert [payload for payload, _ in ran[3:]] == ["flaky"]
    assert {thread for _, thread in ran} == {threading.get_ident()}
    assert jq.metrics().scheduled == 1


def test_run_all_is_refused_beside_workers_and_within_handlers(memory: Store) -> None:
    jq = memory.open(lambda payload: run_all(jq), max_retries=0, start=False)
    handle = jq.enqueue(Job())
    run_all(jq)
    with pytest.raises(RuntimeError, match="not started"):
        handle.result(0)
    with pytest.raises(RuntimeError, match="not started"):
        run_all(memory.open(len))
