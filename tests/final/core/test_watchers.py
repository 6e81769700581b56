from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from jobqueue.final.core.watchers import Watchers
from jobqueue.final.runtime.mutex import Mutex, make_mutex
from jobqueue.final.runtime.parking import Parker
from tests.support import insides
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE, eventually


class State:
    """Something that changes under a mutex, and those who wait for it to be 0."""

    def __init__(self) -> None:
        self.mutex: Mutex = make_mutex()
        self.watchers = Watchers(self.mutex)
        self.left = 2

    def is_quiet(self) -> bool:
        assert insides.is_owned(self.mutex)
        return self.left == 0

    def change(self, left: int) -> None:
        with self.mutex:
            self.left = left
            self.watchers.look()


@pytest.fixture
def state() -> Iterator[State]:
    state = State()
    yield state
    assert state.watchers.waiting == []
    assert not insides.is_owned(state.mutex)


def test_nobody_waits_for_what_is_so_already(state: State) -> None:
    state.left = 0
    assert state.watchers.wait(state.is_quiet, None) is True


def test_who_waits_is_woken_when_it_is_so_and_not_before(state: State) -> None:
    waited = in_thread(state.watchers.wait, state.is_quiet, None)
    assert eventually(lambda: state.watchers.waiting)
    state.change(1)
    assert len(state.watchers.waiting) == 1
    assert not waited.done()

    state.change(0)

    assert waited.result(PATIENCE) is True


def test_all_who_wait_are_woken_at_once(state: State) -> None:
    waited = [in_thread(state.watchers.wait, state.is_quiet, None) for _ in range(5)]
    assert eventually(lambda: len(state.watchers.waiting) == 5)
    state.change(0)

    assert [each.result(PATIENCE) for each in waited] == [True] * 5


def test_each_waits_for_its_own_condition(state: State) -> None:
    for_one = in_thread(state.watchers.wait, lambda: state.left == 1, None)
    for_none = in_thread(state.watchers.wait, state.is_quiet, None)
    assert eventually(lambda: len(state.watchers.waiting) == 2)
    state.change(1)

    assert for_one.result(PATIENCE) is True
    assert not for_none.done()
    state.change(0)
    assert for_none.result(PATIENCE) is True


def test_who_was_woken_is_told_so_though_it_is_over_by_then(state: State) -> None:
    waited = in_thread(state.watchers.wait, state.is_quiet, None)
    assert eventually(lambda: state.watchers.waiting)
    with state.mutex:
        state.change(0)
        state.change(2)

    assert waited.result(PATIENCE) is True


@pytest.mark.parametrize("timeout", [0.0, 0.01, -1.0])
def test_a_wait_ends_with_its_time_and_leaves_nothing(state: State, timeout: float) -> None:
    assert state.watchers.wait(state.is_quiet, timeout) is False


def test_a_condition_that_fails_leaves_nothing(state: State) -> None:
    with pytest.raises(ZeroDivisionError):
        state.watchers.wait(lambda: 1 // 0 == 0, None)


def test_a_look_just_after_the_time_ran_out_finds_nobody(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. A waits, its time runs out. 2. Before it has the mutex, all is quiet: it is woken
    # for nothing. 3. Another look, before A has left: it was woken already.
    is_out = threading.Event()

    class UntilTimeIsOut(Parker):
        def park(self, _seconds: float | None = None) -> bool:
            assert is_out.wait(PATIENCE)
            return False

    monkeypatch.setattr("jobqueue.final.core.watchers.Parker", UntilTimeIsOut)
    waited = in_thread(state.watchers.wait, state.is_quiet, PATIENCE)
    assert eventually(lambda: state.watchers.waiting)
    with state.mutex:
        watcher = state.watchers.waiting[0]
        state.change(0)
        state.watchers.waiting.append(watcher)
        state.change(0)
    is_out.set()

    waited.result(PATIENCE)
