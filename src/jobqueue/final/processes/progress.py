"""How a process tells its owner of the attempt that it runs: its progress, and jobs it enqueues.

The handler tells its progress in a tight loop, perhaps. So a thread sends the last word now and
then, and the main thread sends the very last before its answer. Jobs are sent at once: the owner
alone knows which ids are taken, and the call waits for what it says.

The thread is there before the first attempt is: no handler's thread starts it, for the reason that
`runtime/starting.py` tells.

Guarantees: nothing is sent of an attempt that has ended. No frame is sent within another. A signal
handler of the user's may interrupt any of it and tell progress, too, or raise: the next call is as
good as any.
"""

from __future__ import annotations

import errno
import pickle
import threading
from typing import TYPE_CHECKING

from ..errors import reentered
from ..model.job import Job
from ..runtime.parking import Parker
from . import wire

if TYPE_CHECKING:
    from ..model.context import Held, StopRequest
    from ..model.progress import Told
    from .wire import Channel

BETWEEN_SECONDS = 0.05
_LOST = {errno.EBADF, errno.EPIPE, errno.ECONNRESET}


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
        """The owner takes the jobs, and reserves their ids, or says why not."""
        del stop
        self._teller.hold_back(self, jobs)


class ProgressTeller:
    """Tells the owner, over the channel of the answers."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        # Held while a frame is sent, and until one that is answered is; guards the rest. It is
        # reentrant for signal handlers, which run on the thread of the handler: they would wait
        # for the code that they interrupt.
        self._lock = threading.RLock()
        self._board: RemoteBoard | None = None
        self._last: Told | None = None
        self._asked = 0  # how often jobs were sent
        self._parker = Parker()  # the thread's
        self._is_awake = False  # whether it will look again by itself

    def start(self) -> None:
        """Start the thread; before the first attempt."""
        threading.Thread(target=self._run, name="jobqueue-progress", daemon=True).start()

    def forked(self) -> None:
        """This is a fork that a handler made: the thread is not here, which may have the lock."""
        # guard: a fork of a handler's waits for no thread that is not there
        self._lock = threading.RLock()

    def begin(self) -> RemoteBoard:
        """An attempt begins; returns what it tells its progress to."""
        board = RemoteBoard(self)
        with self._lock:
            self._board, self._last = board, None
        return board

    def tell(self, board: RemoteBoard, value: Told | None) -> None:
        """The attempt of this board tells how far it has come."""
        with self._lock:
            if board is not self._board:
                return
            self._last = value
            if not self._is_awake:
                self._parker.unpark()  # first: if it is broken off, the next call does it
                self._is_awake = True

    def hold_back(self, board: RemoteBoard, jobs: list[Held]) -> None:
        """The attempt of this board enqueues jobs by returning.

        Raises:
            RuntimeError: it has ended, or the owner has; or a signal handler that interrupted a
                call of the attempt calls this.
            Exception: the owner does not take them, as `JobContext.enqueue` tells.
        """
        for job, _ in jobs:
            if not isinstance(job, Job):
                raise TypeError(f"only a Job can be enqueued, not {type(job).__name__}: {job!r}")
        body = pickle.dumps(jobs)
        # guard: no frame is sent within another
        if self._lock._is_owned():  # type: ignore[attr-defined]  # typeshed: an RLock has it
            raise reentered()
        with self._lock:
            if board is not self._board:
                raise RuntimeError("the attempt has ended: it enqueues nothing any more")
            answer = self._ask(body)
        if answer:
            error: Exception = pickle.loads(answer)
            raise error

    def _ask(self, body: bytes) -> bytes:
        """With the lock: send jobs; returns what the owner says.

        Meanwhile it sends nothing else, and nobody else receives: the main thread runs the attempt,
        or waits for the lock to end it.
        """
        self._asked = asked = self._asked + 1
        try:
            self._channel.send(wire.HOLD_BACK, asked, body)
            while True:
                _, number, answer = self._channel.receive()
                # guard: an answer to a call that was broken off is none to this one
                #   without: if True:
                if number == asked:
                    return answer
        except (OSError, EOFError) as error:
            # guard: an error of the handler's own, as of its alarm, is not taken for another
            #   without: if False:
            if isinstance(error, OSError) and error.errno not in _LOST:
                raise
            raise RuntimeError(
                "the jobs cannot be enqueued: this process has lost its connection to the queue, "
                "or is a fork that a handler made, which has none"
            ) from None

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

    def _run(self) -> None:
        pause = Parker()
        while True:
            self._parker.park()
            with self._lock:
                self._send()
            pause.park(BETWEEN_SECONDS)
            with self._lock:
                self._is_awake = self._last is not None
                if self._is_awake:
                    self._parker.unpark()
