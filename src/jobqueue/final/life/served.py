"""What `jobqueue.run` needs of a queue's life: the port between the two."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Served(Protocol):
    """A queue that a program serves until a signal. Thread-safe. `Lifecycle` is one."""

    @property
    def failed(self) -> bool:
        """Whether nothing runs any more because the log failed, or a thread died."""

    def at_stop(self, function: Callable[[], None], /) -> None:
        """Have it called, also with locks, when nothing runs any more; at once if that is so."""

    def hurry(self) -> None:
        """Have each `close`, also one that waits on another thread, wait for no handler."""
