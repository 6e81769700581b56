"""A thread of its own for what the calling thread may not do itself, such as to close the queue."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.placement import Placement
    from ..core.queue_state import QueueState

AGAIN_SECONDS = 1.0
"""After which a thread is tried again that could not be started."""


class Elsewhere:
    """Starts threads for one queue, on its timer's thread, which goes on meanwhile."""

    def __init__(self, placement: Placement, state: QueueState) -> None:
        self._placement = placement
        self._state = state

    def call(self, function: Callable[[], None], *, daemon: bool) -> None:
        """Have a thread call a function, if the queue has not ended by then. Takes no lock.

        Args:
            daemon: whether the interpreter's end waits for it.
        """
        self._placement.timer.call_soon(lambda: self._start(function, daemon))

    def _start(self, function: Callable[[], None], daemon: bool) -> None:
        """On the timer's thread."""
        if self._state.now >= State.ENDED:
            return
        try:
            threading.Thread(target=function, name="jobqueue-close", daemon=daemon).start()
        except RuntimeError:  # no more threads can be had now, or the interpreter has begun to end
            tick = tick_after(self._placement.clock.monotonic() + AGAIN_SECONDS)
            self._placement.timer.schedule(lambda: self._start(function, daemon), tick)
