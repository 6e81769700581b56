"""Seats: what an attempt occupies while it runs, on whatever thread.

A worker thread has one seat for as long as it lives. An event loop has one for each attempt that
it may run at a time. The queue looks at seats only, never at threads. They tell how many attempts
go on, which is past its time, and which waits for another job.

Guarantees: for each of the last two reasons at most `size` seats are stood in for at a time. No job
waits for itself, nor do jobs for each other.
Relies on: the queue's mutex, held by the caller of every method but `current`.
"""

from __future__ import annotations

import threading
from contextvars import ContextVar
from heapq import heappop, heappush
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..model.context import StopRequest
    from ..model.handle import JobHandle
    from .scheduler import FairScheduler
    from .status_map import StatusMap

SEATS_PER_WORKER = 3
"""As many seats may there be: workers, and those that stand in for two reasons."""


class Seat:
    """A place for one attempt at a time. Its attributes are guarded by the mutex.

    Attributes:
        slot: the place in the log's slots file that names the job that runs here.
        handle: the job that runs here, or `None`.
        overrunning: whether that attempt is past its time, or goes on though it was cancelled.
        replaced: whether another seat stands in for this one, which then ends with its attempt.
        waits_for: the job whose end the handler waits for, if it does.
        told: the job that ended here last, until all of its callbacks have been called.
    """

    __slots__ = ("handle", "overrunning", "replaced", "slot", "told", "waits_for")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.handle: JobHandle | None = None
        self.overrunning = False
        self.replaced = False
        self.waits_for: JobHandle | None = None
        self.told: JobHandle | None = None


SITTING: ContextVar[tuple[Seats | None, Seat | None]] = ContextVar(
    "jobqueue_sitting", default=(None, None)
)
"""The seat of the attempt that code belongs to, if that runs on an event loop."""


class Seats:
    """All seats of one queue.

    Attributes:
        refuse_sleep: called by a caller's thread that is about to sleep, with what to write
            instead; raises if the thread is that of the event loop that runs the attempts.

    Args:
        size: how many attempts run at a time. As many seats more can stand in for attempts that
            overrun, and as many for those that wait for jobs.

    Attributes:
        make_stand_in: makes what runs the attempts of a new seat that stands in for the given one;
            called with the mutex, returns what starts it, without. `None` if no handler runs on a
            thread that sits here.
    """

    def __init__(self, size: int, scheduler: FairScheduler, status: StatusMap) -> None:
        self.size = size
        self._scheduler = scheduler
        self._status = status
        self.make_stand_in: Callable[[Seat], Callable[[], None]] | None = None
        self._all: set[Seat] = set()
        # The attempts, by handle and beginning, that a job which runs alone does not wait for.
        self._passed_over: set[tuple[JobHandle, float]] = set()
        self._free_slots: list[int] = []  # of seats that went; a heap
        self._local = threading.local()  # `seat`: the seat of the thread that asks
        scheduler.count_running = self._count_running
        scheduler.is_at_reserve = self._is_at_reserve
        self.refuse_sleep: Callable[[str], None] = _sleep_well

    def __len__(self) -> int:
        return len(self._all)

    # ── the thread that runs an attempt ──────────────────────────────────────────────────────

    def current(self) -> Seat | None:
        """The seat on whose thread this is called, if it is one of this queue's. No mutex."""
        seat: Seat | None = getattr(self._local, "seat", None)
        if seat is None:
            seats, seat = SITTING.get()
            return seat if seats is self else None
        return seat

    def sit(self, seat: Seat | None) -> None:
        """The calling thread runs the attempts of this seat from now on, or none. No mutex."""
        self._local.seat = seat

    def refuse_handler(self, what: str) -> None:
        """Raises if one of the queue's attempts calls this, to do what waits for all of them."""
        if self.current() is not None:
            raise RuntimeError(f"a handler cannot {what} its own queue: it would wait for itself")

    # ── seats that come and go ───────────────────────────────────────────────────────────────

    def add(self) -> Seat:
        """A new seat, with a slot that no other has."""
        slot = heappop(self._free_slots) if self._free_slots else len(self._all)
        seat = Seat(slot)
        self._all.add(seat)
        return seat

    def remove(self, seat: Seat) -> None:
        """No attempt runs here any more."""
        if seat in self._all:
            self._all.discard(seat)
            heappush(self._free_slots, seat.slot)
        self._tell_of_suspects()

    def replace(self, seat: Seat) -> Seat | None:
        """A seat to stand in for one whose attempt overruns; `None`: one does, or there are enough.

        Whatever it overruns for, and if its handler waits for a job besides: one is enough.
        """
        # guard: a seat is stood in for once
        if seat.replaced:
            return None
        if not self._may_replace(overrunning=True):
            return None
        seat.replaced = True
        return self.add()

    def is_spare(self, seat: Seat) -> bool:
        """Whether this seat was stood in for, and there is no other that it can stand in for."""
        if not seat.replaced:
            return False
        other = self.find_slow()
        if other is None:
            return True
        other.replaced, seat.replaced = True, False
        return False

    def find_slow(self) -> Seat | None:
        """A seat whose attempt overruns, and that no other stands in for; if any."""
        for seat in self._all:
            if seat.overrunning and not seat.replaced:
                return seat
        return None

    def is_short(self) -> bool:
        """Whether fewer seats than configured can run jobs: one that was to stand in is missing."""
        return sum(not (each.overrunning or each.replaced) for each in self._all) < self.size

    # ── attempts ─────────────────────────────────────────────────────────────────────────────

    def overran(self, seat: Seat, handle: JobHandle, stop: StopRequest) -> bool:
        """An attempt's time is up: ask it to stop; `False` if that attempt is not here any more."""
        if seat.handle is not handle or handle._stop is not stop or stop.overran:
            return False
        self._note_overrun(seat, handle)
        stop.overrun()
        return True

    def outlived(self, seat: Seat, stop: StopRequest) -> bool:
        """A coroutine was cancelled and goes on; `False` if that attempt is not here any more."""
        handle = seat.handle
        if handle is None or handle._stop is not stop:
            return False
        self._note_overrun(seat, handle)
        return True

    def _note_overrun(self, seat: Seat, handle: JobHandle) -> None:
        if not seat.overrunning:  # it may be cancelled first, and past its time later
            seat.overrunning = True
            self._status.meters[handle._job._priority].overrunning += 1

    def begin_wait(self, seat: Seat, handle: JobHandle) -> Callable[[], None] | None:
        """The handler that runs here is about to wait for the end of a job.

        Returns:
            What starts the seat that stands in meanwhile, if there is to be one; without the mutex.

        Raises:
            RuntimeError: the job would wait for itself, or no more seats can stand in.
        """
        self._refuse_circle(seat, handle)
        start = None
        if not (seat.replaced or self.make_stand_in is None or self._scheduler.stopped):
            # guard: those that stand in for handlers that wait are bounded
            if not self._may_replace(overrunning=False):
                raise RuntimeError(
                    f"a handler cannot wait for job {handle.id!r}: {self.size} workers "
                    f"(num_workers) stand in for handlers that wait already; have fewer jobs wait "
                    f"at a time, raise num_workers, or make the rest of the work a job of its own"
                )
            start = self.make_stand_in(seat)
            seat.replaced = True
        seat.waits_for = handle
        # guard: a job that runs alone lets others in when it waits for one
        if seat.handle is not None and seat.handle is self._scheduler.isolated_job:
            self._scheduler.isolated_job_ended()
        self._tell_of_suspects()
        return start

    def _refuse_circle(self, seat: Seat, handle: JobHandle) -> None:
        """Raises if the job waits, by others or not, for the one that runs here."""
        at = {each.handle: each for each in self._all if each.handle is not None}
        next_one: JobHandle | None = handle
        while next_one is not None:  # it ends: no wait that closed a circle was begun
            # guard: a job that waits for itself is told
            if next_one is seat.handle:
                how = "itself" if next_one is handle else f"job {handle.id!r}, which waits for it"
                raise RuntimeError(
                    f"job {next_one.id!r} cannot wait for {how}: it would never end; have it "
                    f"return, and enqueue what is to come after it"
                )
            runs_at = at.get(next_one)
            next_one = None if runs_at is None else runs_at.waits_for

    def _may_replace(self, *, overrunning: bool) -> bool:
        count = sum(each.replaced and each.overrunning is overrunning for each in self._all)
        return count < self.size and len(self._all) < SEATS_PER_WORKER * self.size

    def busy(self) -> list[JobHandle]:
        """The jobs that run now."""
        return [seat.handle for seat in tuple(self._all) if seat.handle is not None]

    def tell_of_closing(self) -> None:
        """The queue's `close` has begun: handlers that sleep may look at that."""
        for handle in self.busy():
            # guard: a handler that sleeps is told of the closing
            if handle._stop is not None:
                handle._stop.close()

    def pass_over_running(self) -> list[JobHandle]:
        """The attempts that go on are not waited for any more; returns their jobs."""
        busy = self.busy()
        self._passed_over = {(handle, handle._since) for handle in busy}
        return busy

    def _count_running(self) -> int:
        """Attempts that go on. One that waits for a job, or hangs, cannot be waited for."""
        return sum(
            seat.handle is not None
            and seat.waits_for is None
            and (seat.handle, seat.handle._since) not in self._passed_over
            for seat in self._all
        )

    def _is_at_reserve(self) -> bool:
        """Whether Medium and Low have as many seats as they may have.

        Attempts that overrun or wait for a job do not count: other seats stand in for theirs.
        """
        lower_max = self.size - self._scheduler.reserved
        if sum(each.processing for each in self._status.meters[1:]) < lower_max:
            return False
        count = sum(
            seat.handle is not None
            and seat.handle._job._priority > 0
            and not (seat.overrunning or seat.waits_for is not None)
            for seat in self._all
        )
        return count >= lower_max

    def _tell_of_suspects(self) -> None:
        """The next job that runs alone has one attempt less to wait for."""
        if self._scheduler.suspects:
            self._scheduler.look_at_suspects()


def _sleep_well(instead: str) -> None:
    """No thread has to stay awake."""
