"""Enqueues the jobs of schedules when their ticks come.

A tick is due at a time of the wall clock, which may be set. Its job is made by a function of the
user's, which may take long. So this has a thread of its own and does not use the timer, which goes
by monotonic time: the thread sleeps until the next tick, but looks at the wall clock every
`LOOK_SECONDS`. A step forward, or a sleep of the system, is seen then. After a step back it goes on
sleeping, and no tick comes twice, for it is settled (`core/periodic.py`).

With a clock that is moved by hand there is no thread. The thread that moves the clock, or registers
a schedule, does it all, so that the jobs are there when `advance` returns.

Guarantees: the user's function is called without any lock, and neither by the timer's thread nor by
the log's. Whatever it raises is told, and the schedule goes on. No tick begins once `close` has.
Relies on: no lock is held by the caller of a method.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from ..callers.ticks import job_of
from ..core.periodic import AHEAD_SECONDS_MAX, Entry, PeriodicRoom, Tick
from ..core.queue_state import State
from ..errors import DuplicateJobError, LogWriteError, QueueClosedError
from ..runtime.parking import Parker
from ..timing.schedules import utc_text
from ..timing.timer import LOOK_SECONDS, tick_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..callers.ticks import TickAdmission
    from ..core.placement import Placement
    from ..core.queue_state import QueueState

CATCH_UP_MAX = 1000
"""How many missed ticks are run at most."""
LATE_SECONDS_MAX = 60.0
"""A tick that is later than this was missed: a minute, which is as exact as cron is."""
RETRY_SECONDS = 1.0
"""After how long a tick is tried again that the log did not take, or the start of the thread."""
_JOIN_SECONDS = 1.0


class _Taken(NamedTuple):
    """Ticks that are this thread's to enqueue, in order, and what was settled before them."""

    before: float
    ticks: list[float]


class Ticking:
    """The thread of a queue's schedules, or what stands in for it with a manual clock."""

    def __init__(
        self, placement: Placement, state: QueueState, room: PeriodicRoom, admission: TickAdmission
    ) -> None:
        self._placement = placement
        self._clock = placement.clock
        self._mutex = placement.mutex
        self._reporter = placement.reporter
        self._state = state
        self._room = room
        self._admission = admission
        self._parker = Parker()  # the thread's; woken when there is something to look at
        self._thread: threading.Thread | None = None  # set by the timer's thread alone
        self._stopped = False
        self._is_ticking = False  # whether it may be in the user's code, or wait for the log
        self._unsubscribe = self._clock.subscribe(self._run_due)

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """See to what may be due now, or earlier than before."""
        if self._clock.manual:
            self._run_due()
        elif self._thread is None:
            # Not by this thread, which an exception may hit while it starts another.
            self._placement.timer.call_soon(self._start)
        else:
            self._parker.unpark()

    def stop(self) -> None:
        """End the thread; one that is at a tick is not waited for."""
        self._unsubscribe()
        self._stopped = True
        self._parker.unpark()
        thread = self._thread
        if not (thread is None or self._is_ticking or thread is threading.current_thread()):
            thread.join(_JOIN_SECONDS)

    def _start(self) -> None:
        """Start the thread, once; by the timer's. If none can be had, it is tried again."""
        if self._thread is not None:
            self._parker.unpark()  # another schedule was registered as it was started
            return
        if self._stopped:
            return
        thread = threading.Thread(target=self._run, name="jobqueue-periodic", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            again = tick_after(self._clock.monotonic() + RETRY_SECONDS)
            self._placement.timer.schedule(self._start_later, again)
        else:
            self._thread = thread

    def _start_later(self) -> Callable[[], object]:
        """What the timer is to call without its lock."""
        return self._start

    # ── its own thread ───────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._stopped:
            seconds: float | None = LOOK_SECONDS
            try:
                self._run_due()
                seconds = self._seconds_to_sleep()
            except BaseException as error:  # noqa: BLE001  # a clock of the user's, say
                self._report(logging.ERROR, f"schedules are held up: {error}", error)
            self._parker.park(seconds)

    def _seconds_to_sleep(self) -> float | None:
        wall, now = self._clock.time(), self._clock.monotonic()
        with self._mutex:
            self._mutex.settle()
            seconds = self._room.seconds_to_next(wall, now)
        if seconds is None or self._state.now is not State.OPEN:
            return None
        # guard: a wall clock that is set is seen
        #   without: return seconds
        return min(seconds, LOOK_SECONDS)

    # ── its own thread, or the one that moves a manual clock ─────────────────────────────────

    def _run_due(self) -> None:
        """Enqueue what is due."""
        while self._room.entries:
            wall, now = self._clock.time(), self._clock.monotonic()
            with self._mutex:
                self._mutex.settle()
                due = self._room.due(wall, now)
            if not due:
                return
            for entry in due:
                self._run_ticks(entry, self._take(entry, wall))

    def _take(self, entry: Entry, wall: float) -> _Taken:
        """Take the ticks that a schedule has to run now."""
        before = entry.settled
        after = before if before <= wall + AHEAD_SECONDS_MAX else wall
        missed = entry.rule.last_between(after, wall, CATCH_UP_MAX + 1)
        settled = missed[-1] if missed else after
        upcoming = entry.rule.first_after(settled)
        with self._mutex:
            self._mutex.settle()
            if not self._room.take(entry, before, settled, upcoming):
                return _Taken(before, [])
            if entry.paused:
                # guard: a restart does not catch up with what came while a schedule was paused
                self._leave_out(entry.name, settled)
                return _Taken(before, [])
        return _Taken(before, self._chosen(entry, missed, wall))

    def _leave_out(self, name: str, settled: float) -> None:
        """With the mutex: tell the log that the ticks so far are dealt with. Not waited for."""
        journal = self._placement.journal
        if journal is not None and self._state.now is State.OPEN:
            journal.ticked(name, settled)
            journal.writer.commit(inline=False)

    def _chosen(self, entry: Entry, missed: list[float], wall: float) -> list[float]:
        """Those that are to be run of ticks that have come since the last look."""
        if entry.catch_up == "all":
            # guard: the ticks that are caught up with are bounded
            #   without: if False:
            if len(missed) > CATCH_UP_MAX:
                missed = missed[-CATCH_UP_MAX:]
                self._report(
                    logging.WARNING,
                    f"schedule {entry.name!r} has missed more than {CATCH_UP_MAX} ticks; those "
                    f"before {utc_text(missed[0])} are left out",
                )
            return missed
        latest = missed[-1:]
        is_late = bool(latest) and wall - latest[0] > LATE_SECONDS_MAX
        # guard: a tick that was missed is left out
        #   without: if False:
        if entry.catch_up == "none" and is_late and not self._clock.manual:
            return []
        return latest

    def _run_ticks(self, entry: Entry, taken: _Taken) -> None:
        before = taken.before
        for tick in taken.ticks:
            # guard: no tick comes after close has begun
            if self._state.now is not State.OPEN:
                return
            self._is_ticking = True
            try:
                is_taken = self._enqueue(entry, tick)
                # guard: a tick that the log did not take is tried again
                if not is_taken:
                    held_until = self._clock.monotonic() + RETRY_SECONDS
                    with self._mutex:
                        self._mutex.settle()
                        self._room.give_back(entry, before, tick, held_until)
                    return
            finally:
                self._is_ticking = False
            before = tick

    def _enqueue(self, entry: Entry, tick: float) -> bool:
        """Enqueue the job of a tick; `False` if the log does not take it now."""
        try:
            job = job_of(entry, _id_of(entry, tick))
            self._admission.enqueue(job, Tick(entry.name, tick))
        except DuplicateJobError:
            # guard: a tick whose job says "raise" and meets one like it has enqueued none
            if not self._is_known(_id_of(entry, tick)):
                return True
            # Otherwise an earlier run has done it, which the log did not tell.
        except QueueClosedError:
            return True
        except LogWriteError as error:
            if not entry.is_held_up:
                self._report(
                    logging.WARNING,
                    f"a tick of schedule {entry.name!r} waits, for the log does not take it: "
                    f"{error}",
                )
            return False
        except BaseException as error:
            self._report(
                logging.ERROR,
                f"schedule {entry.name!r} left out its tick of {utc_text(tick)}: the job could not "
                f"be made and enqueued: {type(error).__name__}",
                error,
            )
            # The thread that moves a clock is the user's: a KeyboardInterrupt there is, too.
            if self._clock.manual and not isinstance(error, Exception):
                raise
            return True
        with self._mutex:
            self._mutex.settle()
            self._room.enqueued(entry, tick)
        return True

    def _is_known(self, job_id: str) -> bool:
        with self._mutex:
            self._mutex.settle()
            return job_id in self._placement.status

    def _report(self, level: int, message: str, error: BaseException | None = None) -> None:
        self._reporter.report(level, message, error)


def _id_of(entry: Entry, tick: float) -> str:
    return f"{entry.name}@{utc_text(tick)}"
