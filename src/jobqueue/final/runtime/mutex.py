"""The queue's one mutex: no thread takes it twice, and threads take it without a convoy.

A thread that sleeps on a lock is handed it before it has the interpreter's own lock, the GIL. The
thread that has the GIL runs into the mutex at once, sleeps, and is handed it in the same way. Each
step of each thread then costs a switch, as long as there is something to do (Blasgen et al., "The
convoy phenomenon", 1979).

So in code that takes the mutex often, a thread that finds it taken does not sleep at first. It
lets go of the GIL, which is all that the mutex's holder should be waiting for, and looks again.
After a few looks it pauses before each: the holder gets the GIL in turn with all who ask for it.
It sleeps after a while, because each look takes a turn of all handlers if they compute. It also
sleeps after some number of looks, because a thread that holds the mutex only for a moment does not
claim it. Without a GIL it sleeps at once.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Protocol, cast

from ..errors import reentered
from .clock import SystemClock, give_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .parking import Parker, Wakeable


class Mutex(Protocol):
    """A reentrant lock of the standard library, with those of its methods that are used here.

    Callers' threads enter it by `with` only, which is C code: an asynchronous exception finds it
    taken or not, never half. Workers, which see no signals, use `acquire_in_turn`. It is reentrant
    so that a signal handler that interrupts its owner can be told from another thread (a plain lock
    would hang). Nothing else enters it twice.

    Attributes:
        claimant: the claim of the thread that came up to it last and is not through, if that thread
            made one. It is advice only: it is wrong for a while if the thread was interrupted.
        unfinished: the change that its holder has begun, see `core/unfinished.py`. If a thread
            takes the mutex and this is not `None`, an exception has broken that change off.
        settle: finishes that change, or takes it back, if there is one. Each thread that takes the
            mutex and needs the jobs calls this first; it may look at `unfinished` before, to save
            the call.
    """

    claimant: object
    unfinished: object
    settle: Callable[[], None]

    def acquire(self, blocking: bool = True) -> bool:
        """Whether it was taken; it always is if this may block."""

    def release(self) -> None:
        """Let go of it."""

    def __enter__(self) -> bool: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
        /,
    ) -> None: ...

    def _is_owned(self) -> bool:
        """Whether the calling thread holds it."""

    def _at_fork_reinit(self) -> None:
        """Make it free in a forked child, whichever thread held it."""


class _ClaimedRLock(type(threading.RLock())):  # type: ignore[misc]  # typeshed: a function
    __slots__ = ("claimant", "settle", "unfinished")


def make_mutex() -> Mutex:
    """A new mutex."""
    mutex = _ClaimedRLock()
    mutex.claimant = mutex.unfinished = None
    mutex.settle = _settled
    return cast("Mutex", mutex)


def _settled() -> None:
    """There is nothing to finish: this mutex guards no jobs, or not yet."""


def rlock_of(mutex: Mutex) -> threading.RLock:
    """The mutex under the name of its type, for code that knows only the standard library's."""
    return cast("threading.RLock", mutex)


def has_gil() -> bool:
    """Whether threads take turns, as all of CPython's before 3.13 do."""
    return bool(getattr(sys, "_is_gil_enabled", lambda: True)())


_TRIES = 20
_TRIES_AT_ONCE = 3
_PAUSE_SECONDS = 1e-3
_GIVE_WAY_SECONDS = 0.05 if has_gil() else 0.0

WORKER = object()  # claims the mutex for whichever worker has it


def acquire_in_turn(mutex: Mutex) -> None:
    """Take the mutex without joining a convoy; for worker threads only, in a `try`.

    An exception that is raised in this thread from outside may come out of this with the mutex
    taken: see `release_if_owned`.
    """
    if not mutex.acquire(False) and not _give_way_until(lambda: mutex.acquire(False)):
        mutex.acquire()
    mutex.claimant = WORKER


def release_if_owned(mutex: Mutex) -> None:
    """For the `finally` after `acquire_in_turn`, wherever that was broken off."""
    if mutex._is_owned():
        if mutex.claimant is WORKER:  # guard: a worker that waits claims nothing
            mutex.claimant = None
        mutex.release()


def await_turn(mutex: Mutex) -> None:
    """Before `with mutex`: let the thread through that has claimed it.

    A caller that often takes the mutex claims it before. At the end, still with the mutex, it takes
    its claim back, if it still is its own. If it is not, another thread sleeps on the mutex and
    will be handed it. That thread's claim then holds off those that come, and the convoy ends.
    Between a look at the claim and `with`, the GIL is not let go of if no call comes between. So
    hardly any thread sleeps.
    """
    _give_way_until(lambda: mutex.claimant is None)


def let_others_first(mutex: Mutex) -> None:
    """Between two holds of a caller that takes the mutex again and again: let others through."""
    give_way()
    if mutex.claimant is not None:
        await_turn(mutex)


def _give_way_until(is_done: Callable[[], bool]) -> bool:
    """Let others run until it is done, or no longer worth waiting; returns whether it is done."""
    until = SystemClock.monotonic() + _GIVE_WAY_SECONDS
    for tried in range(_TRIES):
        if SystemClock.monotonic() >= until:
            break
        # guard: a thread that has tried a few times pauses before it looks again
        #   without: give_way()
        give_way(0.0 if tried < _TRIES_AT_ONCE else _PAUSE_SECONDS)
        if is_done():
            return True
    return False


class WorkerCondition:
    """What workers that have nothing to do wait for. All methods are called with the mutex.

    It is like a `threading.Condition` but for two things. A worker takes the mutex again by
    `acquire_in_turn`. The worker that fell asleep last is woken first: the others may sleep on.
    """

    def __init__(self, mutex: Mutex) -> None:
        self._mutex = mutex
        self.sleepers: list[Wakeable] = []
        """The parkers of the workers that sleep, in the order in which they fell asleep. An event
        loop stands here as itself. Guarded by the mutex."""

    def wait(self, parker: Parker) -> None:
        """Sleep until woken; the mutex, held once, is free meanwhile. Worker threads only.

        Args:
            parker: the calling thread's own.
        """
        parker.rearm()
        self.sleepers.append(parker)
        release_if_owned(self._mutex)
        parker.park()
        acquire_in_turn(self._mutex)
        if parker in self.sleepers:  # the thread that woke this one was interrupted
            # guard: a wake-up that was interrupted leaves no alarm behind
            self.sleepers.remove(parker)

    def notify(self) -> None:
        """Wake one of the workers that sleep, if any does. Any thread."""
        if self.sleepers:
            self.sleepers[-1].unpark()  # first: an interrupt between leaves no sleeper out
            self.sleepers.pop()

    def notify_all(self) -> None:
        """Wake all workers that sleep. Any thread."""
        while self.sleepers:
            self.notify()


def check_reentry(mutex: Mutex) -> None:
    """Raises `RuntimeError` if this thread is inside of the queue's own code already."""
    if mutex._is_owned():
        raise reentered()  # guard: a signal handler's call is refused
