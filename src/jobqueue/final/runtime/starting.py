"""Starting threads on behalf of threads in which others may raise exceptions.

Guarantees: a thread that runs attempts never waits for the beginning of another one without end.

Until CPython 3.12 a new thread has its parent's ident until it takes its first step. What is raised
in the parent by `PyThreadState_SetAsyncExc` meanwhile, as libraries for timeouts do, hits the new
one. It ends before it has begun, and `Thread.start` waits for ever that it begins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .parking import Parker

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_SECONDS = 1.0


def start_elsewhere(
    call_soon: Callable[[Callable[[], object]], object], start: Callable[[], object]
) -> None:
    """Have another thread call `start`, and wait for that, but not for long.

    Args:
        call_soon: has a thread call a function in which nobody raises anything, as the timer's.

    Raises:
        RuntimeError: what `start` raised, as if the system gives no more threads.
    """
    called, errors = Parker(), list[RuntimeError]()

    def call() -> None:
        try:
            start()
        except RuntimeError as error:
            errors.append(error)
        finally:
            called.unpark()

    call_soon(call)
    called.park(PATIENCE_SECONDS)
    if errors:
        raise errors[0]
