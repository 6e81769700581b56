"""What users want called when a job has ended: done callbacks of handles, `finished` of middleware.

The thread that ends a job does so under the mutex, leaves it, and then calls `tell`. If it may not
run code of users (it is the log's, or holds the mutex still), the job is `owed` to another thread.

Guarantees: each callback is called once, without any lock of the queue. An error in one is logged;
the others are called all the same.
Relies on: the queue's mutex, held by the caller of `note` and `owe`, of no other method.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from ..model.job import about
from ..model.transitions import Status
from .infos import info_of_ended

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..model.handle import JobHandle
    from ..model.job import JobInfo
    from ..runtime.reporting import Reporter
    from .status_map import StatusMap

    Callback = Callable[[JobHandle], object]


class Endings:
    """Calls what is to be called when jobs have ended.

    Args:
        finished: the `finished` methods of the middleware, outermost first.

    Attributes:
        owed: handles, and what is to be called with each.
    """

    def __init__(
        self,
        status: StatusMap,
        finished: tuple[Callable[[JobInfo], object], ...],
        reporter: Reporter,
    ) -> None:
        self.finished = finished
        self.owed: deque[tuple[JobHandle, list[Callback]]] = deque()
        self._status = status
        self._reporter = reporter

    # ── with the mutex ───────────────────────────────────────────────────────────────────────

    def note(self, handle: JobHandle) -> None:
        """A job has ended; only called if there is a `finished`. Again, it does nothing."""
        callbacks = handle._callbacks
        if callbacks and getattr(callbacks[0], "func", None) is _pass_on:  # it was broken off
            return
        info = info_of_ended(self._status, handle._job._id)
        if handle._job._store_result and info.status is Status.COMPLETED:
            info = replace(info, result=handle._outcome)
        told: list[Callback] = [partial(_pass_on, each, info) for each in self.finished]
        handle._callbacks = [*told, *(handle._callbacks or ())]

    def owe(self, handle: JobHandle) -> None:
        """Leave it to `tell_owed` to tell of a job that has ended, or will not end any more."""
        callbacks = handle._callbacks
        if callbacks:
            self.owed.append((handle, callbacks))
        handle._callbacks = None

    # ── without the mutex ────────────────────────────────────────────────────────────────────

    def tell(self, handle: JobHandle) -> None:
        """Call what waits for the end of a job; once by the thread that ended it.

        Raises:
            BaseException: what interrupted a callback (KeyboardInterrupt); all others were called.
        """
        callbacks = handle._callbacks
        if callbacks:
            self._call(handle, callbacks)
        handle._callbacks = None

    def call(self, handle: JobHandle, callback: Callback) -> None:
        """Call one at once: the job had ended when it was added."""
        self._call(handle, [callback])

    def tell_each(self, handles: Iterable[JobHandle]) -> None:
        """`tell` of several jobs; raises when all of them were told of."""
        interruption: BaseException | None = None
        for handle in handles:
            try:
                self.tell(handle)
            except BaseException as error:  # noqa: BLE001  # raised below
                interruption = error
        if interruption is not None:
            raise interruption

    def tell_owed(self) -> BaseException | None:
        """Call what is owed, and go on where another call broke off.

        Returns:
            What interrupted a callback (KeyboardInterrupt), if anything did; others were called.
        """
        interruption: BaseException | None = None
        while self.owed:
            try:
                handle, callbacks = self.owed[0]
            except IndexError:  # another thread is at it too, and was faster
                break
            try:
                self._call(handle, callbacks)
            except BaseException as error:  # noqa: BLE001  # it is the caller's to raise or to report
                interruption = error
            finally:
                if self.owed and self.owed[0][1] is callbacks:
                    self.owed.popleft()
        return interruption

    def tell_owed_here(self) -> None:
        """Do that, and report what interrupted a callback: the calling thread has more to do."""
        interruption = self.tell_owed()
        if interruption is not None:
            message = "a callback of a job that has ended was interrupted"
            self._reporter.report(logging.ERROR, message, interruption)

    def tell_owed_aside(self) -> None:
        """Have a thread of its own do that, if anything is owed."""
        if not self.owed:
            return
        thread = threading.Thread(
            target=self.tell_owed_here, name="jobqueue-callbacks", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # there are no more threads, or the interpreter ends
            self.tell_owed_here()

    def _call(self, handle: JobHandle, callbacks: list[Callback]) -> None:
        """Call all; the list is emptied on the way, so that another thread may help."""
        interruption: BaseException | None = None
        while True:
            try:
                callback = callbacks[0]  # one step: no exception comes between this and its call
                del callbacks[0]
            except IndexError:
                break
            try:
                callback(handle)
            except Exception as error:  # noqa: BLE001  # whatever a user's code may raise
                message = f"a callback of job {handle.id!r} failed"
                self._reporter.report(logging.ERROR, message, error, about(handle._job))
            except BaseException as error:  # noqa: BLE001  # raised below, when all are told
                interruption = error
        if interruption is not None:
            raise interruption


def _pass_on(finished: Callable[[JobInfo], object], info: JobInfo, _: JobHandle) -> object:
    return finished(info)
