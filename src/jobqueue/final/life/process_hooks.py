"""What every queue of the process has in common: the interpreter's exit, and forks.

Queues that are still open are closed at exit, the newest first: a stage that feeds an older one can
still do so. That comes twice: when the main thread has ended, before the executors of
`concurrent.futures` are shut down, so that handlers can go on using them; and once all other
threads have ended too, for queues that those have opened meanwhile.

Relies on: no lock, for a fork or the garbage collector may come anywhere. Each step on the
dictionary is one call of it.
"""

from __future__ import annotations

import atexit
import itertools
import os
import threading
import weakref
from typing import Protocol


class Watched(Protocol):
    """What is told of exits and forks: a queue's `Lifecycle`, or what it is shared by."""

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to close."""

    def close_aside(self, timeout: float | None, *, drain: bool | None) -> None:
        """Closes it."""

    def give_up(self) -> None:
        """Has each `close` from now on wait for nothing."""

    def holds_log(self, directory: str) -> bool:
        """Whether it has this log open."""

    def forked(self) -> None:
        """This is a forked child: it is the parent's."""


_lives: dict[int, weakref.ref[Watched]] = {}
"""The queues of this process in the order in which they were made."""
_numbers = itertools.count()
_tried: set[int] = set()  # those that an exit has closed, or tried to


def watch(life: Watched) -> None:
    """Have a queue closed at exit, and told of forks."""
    number = next(_numbers)
    _lives[number] = weakref.ref(life, lambda _: _lives.pop(number, None))


def is_own_log(directory: str) -> bool:
    """Whether a queue of this process has this log open."""
    return any(life.holds_log(directory) for _, life in _living())


def _living() -> list[tuple[int, Watched]]:
    found = ((number, reference()) for number, reference in list(_lives.items()))
    return [(number, life) for number, life in found if life is not None]


def _close_all() -> None:
    """Close what is open, and what is opened meanwhile; the newest first."""
    errors: list[Exception] = []
    while left := [each for each in _living() if each[0] not in _tried and not each[1].is_over]:
        # guard: the newest queue is closed first
        #   without: number, life = left[0]
        number, life = left[-1]
        _tried.add(number)
        try:
            life.close_aside(None, drain=None)
        except KeyboardInterrupt:  # a second exit function of this module is still to come
            for _, each in _living():
                each.give_up()
            _tried.clear()
            raise
        except Exception as error:  # noqa: BLE001  # the others are to be closed all the same
            errors.append(error)
    if errors:
        raise ExceptionGroup("queues could not be closed at the interpreter's exit", errors)


def _tell_of_fork() -> None:
    """Called in a forked child: each queue is the parent's, though another could not be told."""
    errors: list[Exception] = []
    for _, life in _living():
        try:
            life.forked()
        except Exception as error:  # noqa: BLE001  # the others are to be told all the same
            errors.append(error)
    if errors:
        raise ExceptionGroup("queues could not let go of what their parent process has", errors)


def _register() -> None:
    atexit.register(_close_all)  # guard: queues that were opened after the main thread's end
    try:
        # It registers its own exit function, which is to come after ours: last registered, first
        # called.
        import concurrent.futures.thread  # noqa: F401

        threading._register_atexit(_close_all)  # type: ignore[attr-defined]  # it is not documented
    except (AttributeError, RuntimeError):  # no such thing, or the main thread has ended already
        pass
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_tell_of_fork)


_register()
