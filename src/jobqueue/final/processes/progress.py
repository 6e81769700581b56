"""How a process tells its owner the progress of the attempt that it runs.

The handler tells in a tight loop, perhaps. So a thread sends the last word now and then, and the
main thread sends the very last before its answer.

Guarantees: nothing is sent of an attempt that has ended. No frame is sent within another.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..model.job import Job
from ..runtime.parking import Parker
from . import wire

if TYPE_CHECKING:
    from ..model.context import Held, StopRequest
    from ..model.progress import Told
    from .wire import Channel

BETWEEN_SECONDS = 0.05


class RemoteBoard:
    """What an attempt tells its progress to: `_progress` is set by any thread of the handler."""

    def __init__(self, teller: ProgressTeller) -> None:
        self._teller = teller

    @property
    def _progress(self) -> Told | None:
        return None  # nobody asks here

    @_progress.setter
    def _progress(self, value: Told | None) -> None:
        self._teller.tell(self, value)

    def _hold_back(self, stop: StopRequest, jobs: list[Held]) -> None:
        """The jobs go to the owner with the answer, which looks at their ids then."""
        del stop
        self._teller.hold_back(self, jobs)


class ProgressTeller:
    """Tells the owner, over the channel of the answers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._lock = threading.Lock()  # held while a frame is sent; guards the rest
        self._board: RemoteBoard | None = None
        self._last: Told | None = None
        self._jobs: list[Held] = []  # that the attempt enqueues by returning
        self._parker: Parker | None = None  # of the thread; made when it is first needed
        self._is_awake = False

    def begin(self) -> RemoteBoard:
        """An attempt begins; returns what it tells its progress to."""
        board = RemoteBoard(self)
        with self._lock:
            self._board, self._last, self._jobs = board, None, []
        return board

    def tell(self, board: RemoteBoard, value: Told | None) -> None:
        """The attempt of this board tells how far it has come."""
        with self._lock:
            if board is not self._board:
                return
            self._last = value
            if self._is_awake:
                return
            self._is_awake = True
            if self._parker is None:
                self._parker = Parker()
                thread = threading.Thread(
                    target=self._run, args=(self._parker,), name="jobqueue-progress", daemon=True
                )
                thread.start()
            self._parker.unpark()

    def hold_back(self, board: RemoteBoard, jobs: list[Held]) -> None:
        """The attempt of this board enqueues jobs by returning.

        Raises:
            RuntimeError: it has ended.
        """
        for job, _ in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"only a Job can be enqueued, not {type(job).__name__}: {job!r}")
        with self._lock:
            if board is not self._board:
                raise RuntimeError("the attempt has ended: it enqueues nothing any more")
            self._jobs += jobs

    def take_jobs(self) -> list[Held]:
        """The jobs that the attempt which has ended enqueues."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def end(self) -> None:
        """The attempt has ended; send the last that it told."""
        with self._lock:
            self._send()
            self._board = None

    def _send(self) -> None:
        """With the lock."""
        last, self._last = self._last, None
        if last is not None and self._board is not None:
            try:
                self._channel.send(wire.PROGRESS, 0, wire.packed(last))
            except OSError:  # the owner is gone: the main thread finds that out
                pass

    def _run(self, parker: Parker) -> None:
        pause = Parker()
        while True:
            parker.park()
            with self._lock:
                self._send()
            pause.park(BETWEEN_SECONDS)
            with self._lock:
                self._is_awake = self._last is not None
                if self._is_awake:
                    parker.unpark()
