"""What the life of a queue needs of the code that runs attempts, in threads or elsewhere."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from ..errors import JobQueueError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from ..core.seats import Seats


class Runners(Protocol):
    """What runs the attempts of a queue: worker threads, those that wait for
    processes, or an event loop.

    Attributes:
        seats: the seats on which they run.
    """

    seats: Seats

    def start(self) -> None:
        """Start their threads. Called once."""

    def use(self, loop: AbstractEventLoop) -> None:
        """Run coroutines on this loop, if they are to run any; not once started."""

    def run_here(self) -> None:
        """Run attempts on the calling thread until nothing is due. Only if not started."""

    def join(self, timeout: float) -> None:
        """Wait at most so many seconds of real time for the threads that have nothing to do."""


@contextmanager
def all_or_failed(fail: Callable[[JobQueueError], None]) -> Iterator[None]:
    """Have the queue fail if not all of its runners can be started, as for want of threads.

    They are started once. A queue that took jobs and ran none would let its callers wait for ever.
    """
    try:
        yield
    except Exception as error:
        fault = JobQueueError(
            f"the queue's workers could not be started: {error}; nothing runs any more: close this "
            f"queue and open another, which goes on with the jobs of its log"
        )
        fault.__cause__ = error
        fail(fault)
        raise
