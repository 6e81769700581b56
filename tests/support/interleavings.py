"""Runs a model of several threads in one order of their steps after another, to find a bad one.

While a model runs, the standard library's locks, conditions, threads and time are those of
`interleave-test`: one thread runs at a time, and which one goes on is the explorer's choice. Time
stands still until all threads wait: then the first timeout among them runs out. So a wake-up
that is lost is a deadlock, or shows in the time.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.final import job_queue
from jobqueue.final.life import wiring as assembly
from jobqueue.final.runtime.clock import SystemClock
from jobqueue.final.timing import timer
from jobqueue.final.workers import worker
from tests.support import insides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

    from jobqueue.final.core.turns import Turn
    from jobqueue.final.life.shutdown import Lifecycle

interleave: Any = pytest.importorskip(
    "interleave_test", reason="interleave-test needs Python 3.12 or newer"
)

Broken = interleave.InterleaveError
"""An order under which the model raises, or hangs; its text tells the order."""
Deadlock = interleave.DeadlockError

TIMES = int(os.environ.get("INTERLEAVINGS", "1"))
"""Tries so many times as many orders; if it is not 1, others in each run."""
SEED = 20 if TIMES == 1 else None
_NOWHERE = "/nowhere"


def explore(
    model: Callable[[], object], *, orders: int = 150, within: tuple[ModuleType, ...] = ()
) -> None:
    """Run a model in many orders of its threads' steps; a step ends when a thread uses a lock.

    A third each is chosen at random, and by probabilistic concurrency testing (Burckhardt et al.,
    ASPLOS 2010) with few and with many changes. In that, threads have random priorities, and at so
    many places the one that runs loses its own. That finds what takes a thread that sleeps long.
    Random orders find sooner what takes many changes within a few steps.

    Args:
        model: makes all that it uses, starts threads, waits for them, asserts.
        orders: how many are tried.
        within: modules that do without locks: there a step ends with each line.

    Raises:
        Broken: see there.
    """
    strategies = (interleave.PCTStrategy(depth=3), interleave.PCTStrategy(depth=10), "random")
    with _everything_modelled():
        for strategy in strategies:
            interleave.explore(
                model,
                iterations=orders * TIMES // len(strategies),
                seed=SEED,
                strategy=strategy,
                granularity="line",
                include=[module.__file__ or _NOWHERE for module in within] or [_NOWHERE],
            )


def start(*calls: Callable[[], object]) -> list[threading.Thread]:
    """Start each of the calls in a thread of its own."""
    threads = [threading.Thread(target=call, name=f"caller-{n}") for n, call in enumerate(calls)]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    """Wait for threads."""
    for thread in threads:
        thread.join()


@contextmanager
def _everything_modelled() -> Iterator[None]:
    """Have a queue made of what the explorer knows, even if names were taken before."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assembly, "make_mutex", ModelledMutex)
        patch.setattr(*insides.give_way_seconds(), 0.0)  # here one waits for locks, not for the GIL
        patch.setattr(timer, "SimpleQueue", _SimpleQueue)
        patch.setattr(SystemClock, "monotonic", staticmethod(_monotonic))
        patch.setattr(SystemClock, "time", staticmethod(_time))
        # Its threads are not those that the standard library keeps a list of.
        patch.setattr(threading, "current_thread", _Stranger)
        patch.setattr(job_queue, "watch", _leave_alone)
        patch.setattr(worker, "live", _live)
        patch.setattr(logging.getLogger("jobqueue"), "disabled", True)
        yield


def _live(_turn: Turn, work: Callable[[], None], _died: object) -> None:
    """The explorer ends a thread by an exception, after which a worker would go on."""
    work()


def _leave_alone(life: Lifecycle) -> None:
    """A queue that an order broke off is dropped later: its locks and threads are gone by then."""
    life.let_go = lambda: False  # type: ignore[method-assign]


def _monotonic() -> float:
    return time.monotonic()  # whatever that is when it is called


def _time() -> float:
    return time.time()


class ModelledMutex(interleave.RLock):  # type: ignore[misc]  # known from Python 3.12 on
    """The explorer's RLock, with the methods of the standard library's that a queue uses."""

    claimant: object = None
    unfinished: object = None
    settle: Callable[[], None] = staticmethod(lambda: None)
    _holder = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        taken: bool = super().acquire(blocking, timeout)
        if taken:
            self._holder = threading.get_ident()
        return taken

    def _is_owned(self) -> bool:
        return bool(self.locked()) and self._holder == threading.get_ident()

    def _at_fork_reinit(self) -> None:
        raise AssertionError("nobody forks here")


class _SimpleQueue:
    """The one that the explorer knows, for modules that had taken the name before."""

    def __new__(cls) -> Any:
        return queue.SimpleQueue()

    def __class_getitem__(cls, _item: object) -> type[_SimpleQueue]:
        return cls


class _Stranger:
    """A thread that is none of the standard library's."""

    name = "a thread of the model"
