"""Who waits for the end of which job.

One callback for each job that is waited for, however many clients wait for it and however often
they come back. It is called on the thread that ended the job, and leaves word for the server's
thread, which answers. If the queue ends first, nobody is answered: the clients ask the next owner.

Whose thread: the server's, but for that word; no lock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ..model.transitions import FINAL
from .messages import Ended, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.handle import JobHandle
    from .calls import Served
    from .visitor import Visitor


class Watches:
    """The clients that wait for ends of jobs.

    Args:
        call_soon: has the server's thread call a function; any thread.
    """

    def __init__(self, served: Served, call_soon: Callable[..., object]) -> None:
        self._served = served
        self._call_soon = call_soon
        self._waiting: dict[str, set[tuple[Visitor, int]]] = {}

    def add(self, visitor: Visitor, number: int, job_id: str) -> None:
        """Answer a call once a job has ended.

        Raises:
            UnknownJobError: there is none of this id.
        """
        handle = self._served.desk.handle(job_id)
        known = self._waiting.get(job_id)
        if known is not None:
            known.add((visitor, number))
        else:
            self._waiting[job_id] = {(visitor, number)}
            handle.add_done_callback(self._tell)
        visitor.under_way[number] = job_id

    def _tell(self, handle: JobHandle) -> None:
        """Any thread: the job has ended, or the queue."""
        try:
            self._call_soon(self._ended, handle)
        except RuntimeError:  # the server has ended
            pass

    def _ended(self, handle: JobHandle) -> None:
        waiting = self._waiting.pop(handle.id, ())
        # guard: the end of the queue is not taken for that of a job
        if handle._status not in FINAL:
            return
        failure = handle._failure
        error, trace = (None, None) if failure is None else failure
        value = msgspec.Raw(pack(Ended(handle._status.value, error, trace)))
        for visitor, number in waiting:
            if number in visitor.under_way:
                del visitor.under_way[number]
                visitor.answer(number, value)
                visitor.look_at_load()

    def remove(self, visitor: Visitor, number: int, job_id: str) -> None:
        """A client waits for an end no more, or is gone."""
        self._waiting.get(job_id, set()).discard((visitor, number))
