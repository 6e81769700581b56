"""What the life of a queue needs of the code that runs attempts, in threads or elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

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
