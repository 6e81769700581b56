"""`jobqueue.run` in the processes of a shared queue: the owner, a client, one that takes over."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

import jobqueue
from jobqueue.final import Job
from tests.support import insides
from tests.support.children import Child
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from tests.final.sharing.conftest import Sharing


def soon(act: Callable[[], object]) -> Future[object]:
    """Another thread does something once this one, the main thread, sleeps in `run`."""
    before = signal.getsignal(signal.SIGTERM)

    def wait_and_act() -> None:
        eventually(lambda: signal.getsignal(signal.SIGTERM) is not before)
        act()

    return in_thread(wait_and_act)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("is_owner", [True, False], ids=["owner", "client"])
def test_a_signal_closes_the_queue(sharing: Sharing, is_owner: bool) -> None:
    first, second = sharing.open(len), sharing.open(len)
    jq = first if is_owner else second
    done = soon(terminate)
    assert jobqueue.run(jq) == 0
    done.result(PATIENCE)
    assert jq.closed
    handle = (second if is_owner else first).enqueue(Job(b"abc"))
    assert handle.result(PATIENCE) == 3


@pytest.mark.parametrize("is_owner", [True, False], ids=["owner", "client"])
def test_it_returns_when_somebody_else_closes_the_queue(sharing: Sharing, is_owner: bool) -> None:
    first, second = sharing.open(len), sharing.open(len)
    jq = first if is_owner else second
    done = soon(jq.close)
    assert jobqueue.run(jq) == 0
    done.result(PATIENCE)


def test_a_client_that_takes_over_is_served_as_the_owner(sharing: Sharing) -> None:
    first = sharing.open(len)
    blocker = sharing.blocker()
    second = sharing.open(blocker, shutdown_timeout=3600)

    def take_over_and_end_twice() -> None:
        first.close()
        second.enqueue(Job(id="stuck"))
        blocker.await_entered()
        terminate()
        eventually(lambda: second.closed)
        terminate()

    done = soon(take_over_and_end_twice)
    assert jobqueue.run(second) == 1
    done.result(PATIENCE)
    assert second.close().unfinished == ("stuck",)


@pytest.mark.slow
def test_it_returns_1_when_the_log_of_one_that_took_over_fails(sharing: Sharing) -> None:
    first, second = sharing.open(len), sharing.open(len)

    def take_over_and_fail() -> None:
        first.close()
        eventually(lambda: insides.is_owner(second))
        shutil.rmtree(sharing.path)

    done = soon(take_over_and_fail)
    assert jobqueue.run(second) == 1
    done.result(PATIENCE)


def test_it_returns_1_when_a_clients_thread_dies(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a supervisor starts the program anew: it would never run a job."""
    sharing.open(len)
    second = sharing.open(len)
    second.metrics()

    def die() -> None:
        def dead(*_: object) -> bool:
            raise ZeroDivisionError

        monkeypatch.setattr(*insides.finding_an_owner(second), dead)
        insides.break_off(second)

    with ExitStack() as stack:
        stack.callback(soon(die).result, PATIENCE)
        assert jobqueue.run(second) == 1


@pytest.mark.slow
def test_a_constructor_does_not_wait_for_the_log_of_another_process(sharing: Sharing) -> None:
    with Child("hold_log", sharing.path) as owner:
        assert owner.line() is not None
        jq = sharing.open(len, lock_timeout=3600.0)
        assert not insides.is_owner(jq)
