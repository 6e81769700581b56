"""Seats: what an attempt occupies while it runs, on whatever thread.

A worker thread has one seat for as long as it lives. An event loop has one for each attempt that
it may run at a time. The queue looks at seats only, never at threads. They tell how many attempts
go on, whether one is left that can make room in a lane, and which attempt is past its time.

Guarantees: an attempt that is past its time, and is stood in for, is not counted among those that
can make room. At most `size` seats are stood in for at a time.
Relies on: the queue's mutex, held by the caller of every method but `current`.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..errors import EnqueueTimeoutError

if TYPE_CHECKING:
    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from ..model.job import Job
    from .scheduler import FairScheduler
    from .status_map import StatusMap


class Seat:
    """A place for one attempt at a time. Its attributes are guarded by the mutex.

    Attributes:
        slot: the place in the log's slots file that names the job that runs here.
        handle: the job that runs here, or `None`.
        overrunning: whether that attempt is past its time.
        replaced: whether another seat stands in for this one, which then ends with its attempt.
        waiting: whether the handler waits for room in a lane.
    """

    __slots__ = ("handle", "overrunning", "replaced", "slot", "waiting")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.handle: JobHandle | None = None
        self.overrunning = False
        self.replaced = False
        self.waiting = False


class Seats:
    """All seats of one queue.

    Args:
        size: how many attempts run at a time; as many seats more can stand in.
    """

    def __init__(self, size: int, scheduler: FairScheduler, status: StatusMap) -> None:
        self.size = size
        self._scheduler = scheduler
        self._status = status
        self._all: set[Seat] = set()
        self._local = threading.local()  # `seat`: the seat of the thread that asks
        scheduler.count_running = self._count_running

    def __len__(self) -> int:
        return len(self._all)

    # ── the thread that runs an attempt ──────────────────────────────────────────────────────

    def current(self) -> Seat | None:
        """The seat on whose thread this is called, if it is one of this queue's. No mutex."""
        seat: Seat | None = getattr(self._local, "seat", None)
        return seat

    def sit(self, seat: Seat) -> None:
        """The calling thread runs the attempts of this seat from now on. No mutex."""
        self._local.seat = seat

    # ── seats that come and go ───────────────────────────────────────────────────────────────

    def add(self) -> Seat:
        """A new seat, with a slot that no other has."""
        seat = Seat(min(set(range(2 * self.size)) - {each.slot for each in self._all}))
        self._all.add(seat)
        return seat

    def remove(self, seat: Seat) -> None:
        """No attempt runs here any more."""
        self._all.discard(seat)
        self._tell_of_suspects()

    def replace(self, seat: Seat) -> Seat | None:
        """A seat to stand in for one whose attempt is past its time; `None`: there are enough."""
        if sum(each.replaced for each in self._all) >= self.size:
            return None
        seat.replaced = True
        return self.add()

    def is_spare(self, seat: Seat) -> bool:
        """Whether this seat was stood in for, and there is no other that it can stand in for."""
        if not seat.replaced:
            return False
        for other in self._all:
            if other.overrunning and not other.replaced:
                other.replaced, seat.replaced = True, False
                return False
        return True

    # ── attempts ─────────────────────────────────────────────────────────────────────────────

    def overran(self, seat: Seat, handle: JobHandle, stop: StopRequest) -> bool:
        """An attempt's time is up: ask it to stop; `False` if that attempt is not here any more."""
        if seat.handle is not handle or handle._stop is not stop or seat.overrunning:
            return False
        seat.overrunning = True
        self._status.meters[handle._job._priority].overrunning += 1
        stop.overrun()
        return True

    def enter_wait(self, seat: Seat, job: Job) -> None:
        """The handler that runs here is about to sleep, for the job's lane is full.

        Raises:
            EnqueueTimeoutError: no other attempt could make room while it sleeps.
        """
        if seat.replaced:
            return
        is_alone = seat.handle is self._scheduler.isolated_job
        others = not is_alone and any(
            not (each.waiting or each.replaced) for each in self._all if each is not seat
        )
        if not others:
            raise EnqueueTimeoutError(
                f"job {job.id!r} was not accepted: the {job.priority.name} lane is full, and "
                f"this handler holds the last worker that could make room in it"
            )
        seat.waiting = True
        self._tell_of_suspects()

    def busy(self) -> list[JobHandle]:
        """The jobs that run now."""
        return [seat.handle for seat in tuple(self._all) if seat.handle is not None]

    def _count_running(self) -> int:
        """Attempts that go on. One that waits for room cannot be waited for."""
        return sum(seat.handle is not None and not seat.waiting for seat in self._all)

    def _tell_of_suspects(self) -> None:
        """The next job that runs alone has one attempt less to wait for."""
        if self._scheduler.suspects:
            self._scheduler.look_at_suspects()
