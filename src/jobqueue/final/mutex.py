"""The queue's one mutex, and who is not to take it twice."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from types import TracebackType

_REENTERED = (
    "the queue was called from a signal handler, or a finalizer, that interrupted the queue's own "
    "code on this thread; call it from the program's normal flow"
)


class Mutex(Protocol):
    """A reentrant lock of the standard library, with those of its methods that are used here.

    It is entered by `with` only, which is C code: an asynchronous exception finds it taken or not,
    never half. It is reentrant so that a signal handler that interrupts its owner can be told from
    another thread (a plain lock would hang); nothing else enters it twice.
    """

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
        """Make it free in a forked child, whoever held it."""


def make_mutex() -> Mutex:
    """A new mutex."""
    return cast("Mutex", threading.RLock())


def rlock_of(mutex: Mutex) -> threading.RLock:
    """The mutex under the name of its type, for code that knows only the standard library's."""
    return cast("threading.RLock", mutex)


def condition_of(mutex: Mutex) -> threading.Condition:
    """A condition of this mutex; only for threads that see no signals."""
    return threading.Condition(rlock_of(mutex))


def check_reentry(mutex: Mutex) -> None:
    """Raises `RuntimeError` where this thread is inside of the queue's own code already."""
    if mutex._is_owned():
        raise RuntimeError(_REENTERED)
