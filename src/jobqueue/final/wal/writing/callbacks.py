"""What the log tells its owner: by which thread, and whether the lock is held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...errors import LogWriteError
    from ..format.record import Record

__all__ = ["OnDurable", "OnEnded", "OnFailed", "Parker", "Waiter"]


class Waiter(Protocol):
    """What is told when a batch is done: a parker, or what passes it on to a coroutine."""

    def unpark(self) -> None:
        """Tell it. With the lock, so it must not wait."""


class Parker(Waiter, Protocol):
    """Where a caller sleeps until its batch is done; the owner's, which makes one for each wait."""

    def park(self, seconds: float | None = None) -> bool:
        """Sleep until woken, or so many seconds. On the caller's thread, without the lock."""

    def unpark(self) -> None:
        """Wake it, or keep it from falling asleep; never raises. Any thread, with the lock."""


class OnDurable(Protocol):
    """Told what has become of records: they have reached their level of durability, or cannot.

    Thread: the log's, or a caller's that brings its own batch to its level.
    Lock: held.
    """

    def __call__(
        self, records: Sequence[Record], error: LogWriteError | None, written: bool, /
    ) -> None:
        """Take note of it; takes no time and raises nothing.

        Args:
            records: in the order in which they were added. They may come twice.
            error: `None` if they are there.
            written: with an error, whether they may be on the disk all the same (a failed fsync),
                or certainly are not (a full disk).
        """


class OnFailed(Protocol):
    """Told once that the log has failed for good, before any thread that waits for it can go on.

    Thread: the log's.
    Lock: held.
    """

    def __call__(self, error: LogWriteError, /) -> None:
        """Have nothing started any more; takes no time, raises nothing, and takes no lock."""


class OnEnded(Protocol):
    """Told once that nothing will touch the log any more.

    Thread: the log's, or the one that closes a log whose thread never started.
    Lock: free.
    """

    def __call__(self) -> None:
        """Let go of the log; it may make system calls."""
