"""How the mutex is taken."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sized
from functools import partial

import pytest

from jobqueue.final import Config, Job, JobQueue, UnknownHandlerError
from jobqueue.final.model.handlers import Handler
from jobqueue.final.runtime import mutex as module
from jobqueue.final.runtime.clock import give_way
from jobqueue.final.runtime.mutex import (
    Mutex,
    WorkerCondition,
    acquire_in_turn,
    await_turn,
    make_mutex,
    release_if_owned,
)
from jobqueue.final.runtime.parking import Parker
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE, eventually


def raise_in_thread(ident: int, error: type[BaseException]) -> None:
    """As programs do that put an end to what takes too long."""
    set_async_exc = ctypes.pythonapi.PyThreadState_SetAsyncExc
    assert set_async_exc(ctypes.c_ulong(ident), ctypes.py_object(error)) == 1


def has(those: Sized, number: int) -> bool:
    return len(those) == number


def take_and_let_go(mutex: Mutex) -> None:
    acquire_in_turn(mutex)
    mutex.release()


class Watched:
    """A mutex that tells when somebody is about to sleep on it."""

    claimant: object = None
    unfinished: object = None

    def __init__(self, mutex: Mutex) -> None:
        self.slept = threading.Event()
        self.release = mutex.release
        self._acquire = mutex.acquire

    def acquire(self, blocking: bool = True) -> bool:
        if blocking:
            self.slept.set()
        return self._acquire(blocking)


@pytest.fixture
def ways_given(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """One entry for each time that somebody let go of the interpreter's lock."""
    ways: list[None] = []
    real = give_way

    def counting(seconds: float = 0.0) -> None:
        ways.append(None)
        real(seconds)

    monkeypatch.setattr(module, "give_way", counting)
    return ways


def test_a_free_mutex_is_taken_without_giving_way(ways_given: list[None]) -> None:
    mutex = make_mutex()
    acquire_in_turn(mutex)
    assert insides.is_owned(mutex)
    mutex.release()
    assert not ways_given


def test_a_worker_does_not_sleep_on_a_mutex_that_is_free_soon(
    ways_given: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutex = make_mutex()
    mutex.acquire()
    monkeypatch.setattr(*insides.give_way_seconds(), PATIENCE)

    worker = in_thread(take_and_let_go, mutex)
    assert eventually(lambda: len(ways_given) > 1)
    mutex.release()

    worker.result(PATIENCE)


@pytest.mark.parametrize("seconds", [0.0, 0.002])
def test_a_worker_sleeps_on_a_mutex_that_stays_taken(
    seconds: float, ways_given: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    mutex = make_mutex()
    mutex.acquire()
    monkeypatch.setattr(*insides.give_way_seconds(), seconds)
    watched = Watched(mutex)

    worker = in_thread(take_and_let_go, watched)
    assert watched.slept.wait(PATIENCE)
    assert bool(ways_given) == bool(seconds)
    mutex.release()

    worker.result(PATIENCE)


def test_a_thread_that_tries_in_vain_asks_less_and_less_for_the_interpreters_lock(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If it did not, the mutex's holder would get that lock once in a turn of all who wait."""
    pauses: list[float] = []

    def give_way(seconds: float = 0.0) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(module, "give_way", give_way)
    monkeypatch.setattr(*insides.give_way_seconds(), PATIENCE)
    mutex = make_mutex()
    mutex.claimant = "another"
    await_turn(mutex)
    assert pauses[0] == 0.0
    assert pauses[-1] >= 1e-3
    assert pauses == sorted(pauses)


# --- claims ---------------------------------------------------------------------------------


def test_a_caller_gives_way_to_who_has_claimed_the_mutex_until_he_is_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mutex = make_mutex()
    mutex.claimant = "another"
    ways: list[None] = []

    def give_way(_seconds: float = 0.0) -> None:
        ways.append(None)
        if len(ways) == 3:
            mutex.claimant = None

    monkeypatch.setattr(module, "give_way", give_way)
    monkeypatch.setattr(*insides.give_way_seconds(), PATIENCE)
    await_turn(mutex)
    assert len(ways) == 3


def test_a_caller_does_not_give_way_for_ever_to_a_claim_that_was_left(
    ways_given: list[None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an interrupted call leaves one; the next call takes its place and clears it."""
    monkeypatch.setattr(*insides.give_way_seconds(), PATIENCE)
    with JobQueue(Config(), handler=bytes, start=False) as jq:
        insides.mutex(jq).claimant = "gone"
        jq.enqueue(Job(b""))
        assert 0 < len(ways_given) <= 100
        assert insides.mutex(jq).claimant is None
        ways_given.clear()

        jq.enqueue(Job(b""))
        assert not ways_given


def test_a_call_that_is_refused_leaves_no_claim() -> None:
    with JobQueue(Config(), start=False) as jq:
        with pytest.raises(UnknownHandlerError):
            jq.enqueue(Job(b""))
        assert insides.mutex(jq).claimant is None


def test_a_caller_leaves_the_claim_of_one_who_sleeps_on_the_mutex(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """He will be handed it, so that others are to give way until he is through."""
    with JobQueue(Config(), handler=bytes, start=False) as jq:
        mutex = insides.mutex(jq)
        real = getattr(*insides.refusing(jq))

        def refuse(job: Job, call: Handler | None) -> None:
            mutex.claimant = "sleeper"
            real(job, call)

        monkeypatch.setattr(*insides.refusing(jq), refuse)
        jq.enqueue(Job(b""))
        assert mutex.claimant == "sleeper"


def test_a_worker_claims_the_mutex_while_it_has_it_and_only_then() -> None:
    mutex = make_mutex()
    condition = WorkerCondition(mutex)

    def work() -> None:
        try:
            acquire_in_turn(mutex)
            claims.append(mutex.claimant)
            condition.wait(Parker())
            claims.append(mutex.claimant)
        finally:
            release_if_owned(mutex)

    claims: list[object] = []
    worker = in_thread(work)
    assert eventually(partial(has, insides.asleep_on(condition), 1))
    with mutex:
        assert mutex.claimant is None
        condition.notify()
    worker.result(PATIENCE)
    assert len(claims) == 2
    assert None not in claims
    assert mutex.claimant is None


def test_a_worker_leaves_the_claim_of_a_caller_who_came_up_meanwhile() -> None:
    mutex = make_mutex()
    acquire_in_turn(mutex)
    mutex.claimant = "sleeper"
    release_if_owned(mutex)
    assert mutex.claimant == "sleeper"


# --- workers that wait for work -------------------------------------------------------------


def test_whoever_fell_asleep_last_is_woken_first() -> None:
    mutex = make_mutex()
    condition = WorkerCondition(mutex)
    woken: list[str] = []

    def sleep(name: str) -> None:
        with mutex:
            condition.wait(Parker())
            woken.append(name)

    sleepers = []
    for number, name in enumerate("abc", 1):
        sleepers.append(in_thread(sleep, name))
        assert eventually(partial(has, insides.asleep_on(condition), number))

    for number in range(1, 4):
        with mutex:
            condition.notify()
        assert eventually(partial(has, woken, number))
    with mutex:
        condition.notify()  # nobody is left: nothing happens

    for sleeper in sleepers:
        sleeper.result(PATIENCE)
    assert woken == ["c", "b", "a"]


def test_a_wake_up_that_was_interrupted_leaves_nobody_behind_who_sleeps_no_more() -> None:
    mutex = make_mutex()
    condition = WorkerCondition(mutex)

    def sleep() -> None:
        with mutex:
            condition.wait(Parker())

    first = in_thread(sleep)
    assert eventually(partial(has, insides.asleep_on(condition), 1))
    with mutex:
        insides.asleep_on(condition)[0].unpark()  # as far as `notify` got
    first.result(PATIENCE)
    assert insides.asleep_on(condition) == []

    second = in_thread(sleep)
    assert eventually(partial(has, insides.asleep_on(condition), 1))
    with mutex:
        condition.notify()
    second.result(PATIENCE)


def test_a_worker_that_an_exception_from_outside_ends_leaves_the_mutex_free() -> None:
    """Wherever it comes: here as soon as the mutex has been taken."""
    mutex = make_mutex()

    def work() -> None:
        try:
            acquire_in_turn(mutex)
            raise SystemExit
        finally:
            release_if_owned(mutex)

    for _ in range(2):
        with pytest.raises(SystemExit):
            in_thread(work).result(PATIENCE)
    release_if_owned(mutex)  # where it is not: nothing happens
    assert mutex.acquire(False)


def test_notify_all_wakes_everybody_and_each_holds_the_mutex_once() -> None:
    mutex = make_mutex()
    condition = WorkerCondition(mutex)
    owned: list[bool] = []

    def sleep() -> None:
        acquire_in_turn(mutex)
        condition.wait(Parker())
        owned.append(insides.is_owned(mutex))
        mutex.release()
        owned.append(insides.is_owned(mutex))

    sleepers = [in_thread(sleep) for _ in range(5)]
    assert eventually(lambda: len(insides.asleep_on(condition)) == 5)
    with mutex:
        condition.notify_all()

    for sleeper in sleepers:
        sleeper.result(PATIENCE)
    assert owned.count(True) == owned.count(False) == 5


def test_a_worker_that_is_broken_off_while_it_takes_the_mutex_leaves_it_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(*insides.give_way_seconds(), 0.0)  # it sleeps on the mutex at once
    jq = JobQueue(Config(num_workers=1), handler=len)
    (worker,) = insides.pool(jq).workers
    idle = insides.scheduler(jq).not_empty
    assert eventually(partial(has, insides.asleep_on(idle), 1))
    with insides.mutex(jq):
        idle.notify()
        assert worker.thread.ident is not None
        raise_in_thread(worker.thread.ident, SystemExit)  # comes out once it has the mutex

    enqueued = in_thread(jq.enqueue, Job(b"abc"))
    assert enqueued.result(PATIENCE).result(PATIENCE) == 3
    jq.close()
