"""Start, drain, stop; what happens at a fork and at the interpreter's exit.

Guarantees: `close` is idempotent and may be called from any thread, also from several at once. It
returns by its deadline. It starts no thread, but for the one that makes log records, if some are
left and it is not there. Another call can take up a `close` that was interrupted.
Relies on: the queue's mutex, taken here.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from ..core.queue_state import State
from ..core.unfinished import settle_or_drop
from ..core.watchers import wake_waiters
from ..errors import LogWriteError, again
from ..exact import SECONDS_MAX
from ..model.shutdown_report import ShutdownReport
from ..runtime.clock import CheckedClock, SystemClock
from ..runtime.parking import Parker
from ..timing.timer import tick_before
from .elsewhere import Elsewhere
from .losses import repeats, tell, with_loss
from .rest import Rest
from .runners import all_or_failed

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable

    from ..config import Config
    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..errors import JobQueueError
    from ..processes.stock import Processes
    from .recovery import LockedLog
    from .runners import Runners

REPORT_SECONDS_MIN = 0.1
"""What log handlers get for the last records if the deadline has passed."""
LOG_SECONDS_MIN = 2.0
"""What the log gets for its last write if the deadline has passed."""


class Lifecycle:
    """The life of one queue after it was put together.

    Attributes:
        at_end: called when the threads are stopped; added to before that, with the mutex.
    """

    def __init__(
        self,
        config: Config,
        placement: Placement,
        state: QueueState,
        runners: Runners,
        log: LockedLog | None,
        processes: Processes | None,
    ) -> None:
        self._processes = processes
        self._timeout = config.shutdown_timeout
        self._placement = placement
        self._mutex = placement.mutex
        self._state = state
        self._runners = runners
        self._seats = runners.seats
        self._log = log
        self._lock = None if log is None else log.lock  # until the log is unlocked
        self._elsewhere = Elsewhere(placement, state)
        self._rest = Rest(placement, state)
        self._closing = State.CLOSING
        self._drops_because: str | None = None  # why what waits is dropped, if not by a `close`
        self._is_let_go = False  # the user can't reach the queue any more
        self.at_end: list[Callable[[], None]] = []
        self._at_fault: list[Callable[[], None]] = []
        self._closer: int | None = None  # the thread that carries out `close`
        self._waiting_closers: list[Parker] = []
        self._finished_before: int | None = None  # jobs finished when `close` began
        self._report: ShutdownReport | None = None
        self._loss: LogWriteError | None = None  # what `close` raises instead of its report

    @property
    def is_over(self) -> bool:
        """Whether there is nothing to close: it was done, or the queue is the parent process's."""
        return self._report is not None or self._state.now is State.FORKED

    @property
    def failed(self) -> bool:
        """Whether nothing runs any more because the log failed, or a thread died."""
        return self._state.fault is not None

    def holds_log(self, directory: str) -> bool:
        """Whether this queue has that log open, by whatever path."""
        if self._lock is None or self._log is None:
            return False
        return os.path.realpath(self._log.directory) == os.path.realpath(directory)

    def start(self) -> None:
        """Start the workers, once."""
        with self._mutex:
            if self._state.now >= State.CLOSING:
                raise self._state.closed_error()
            if self._rest.started:
                return
            self._rest.started = True
        if self._placement.registry.untold:  # not before: handlers may be registered first
            self._placement.missing.tell()
            self._placement.reporter.catch_up()
        with all_or_failed(self.fail):
            self._runners.start()

    def use(self, loop: AbstractEventLoop) -> None:
        """Have coroutine functions run on this loop, if there are any and nothing has started."""
        self._runners.use(loop)

    def run_all(self) -> None:
        """Run what is due on the calling thread; see `testing.run_all`.

        Raises:
            RuntimeError: the workers were started, or a handler calls this.
        """
        if self._rest.started or self._seats.current() is not None:
            raise RuntimeError(
                "run_all is for a queue that was made with start=False and not started, and not "
                "for its handlers; with workers, wait by join()"
            )
        self._runners.run_here()

    # ── close ────────────────────────────────────────────────────────────────────────────────

    def close(self, timeout: float | None, *, drain: bool | None) -> ShutdownReport:
        """See `JobQueue.close`."""
        if self._state.now is State.FORKED:
            return ShutdownReport(0, (), 0)
        self._seats.refuse_handler("close")
        self._seats.refuse_sleep("await queue.aclose()")
        journal = self._placement.journal
        leads = journal is not None and journal.writer.leads()
        if leads or self._mutex._is_owned():  # a signal handler interrupted the queue's own code
            self._elsewhere.call(lambda: self.close_aside(timeout, drain=drain), daemon=False)
            return self._provisional_report()
        if self._closer == threading.get_ident():  # a signal handler interrupted `close`
            return self._report or self._provisional_report()
        seconds = self._timeout if timeout is None else timeout
        deadline = SystemClock.monotonic() + (0.0 if self._rest.is_given_up else seconds)
        if drain is None:
            drain = self._log is None
        clock = self._placement.clock
        if isinstance(clock, CheckedClock):
            # guard: close does not fail for a clock of the user's
            #   without: pass
            clock.bears_with_faults = True
        if self._is_let_go and self._closer is not None:
            self._hasten(deadline, drain=drain)
        interruption = None
        try:
            if self._claim(deadline):
                interruption = self._shut_down(deadline, drain=drain)
        finally:
            self._release_claim()
        # Last, and by each caller: a log handler that closes the queue waits for the one before it.
        if self._report is not None:  # or another thread still closes
            seconds = deadline - SystemClock.monotonic()
            self._placement.missing.tell_gathered()
            if isinstance(clock, CheckedClock) and (fault := clock.fault) is not None:
                self._placement.reporter.report(logging.ERROR, f"as the queue closed, {fault}")
            self._placement.reporter.close(max(seconds, REPORT_SECONDS_MIN))
        if interruption is not None:
            raise interruption
        with self._mutex:
            if self._loss is not None:
                raise again(self._loss)
            return self._report or self._provisional_report()

    def undo_start(self) -> None:
        """Have the log left as it was, if nothing has been written; before `close_aside`."""
        if self._placement.journal is not None:
            self._placement.journal.writer.is_start_undone = True

    def close_aside(self, timeout: float | None, *, drain: bool | None) -> None:
        """Close as `close` does, if no caller is there to be told of a loss; a log record has."""
        with suppress(LogWriteError):
            self.close(timeout, drain=drain)

    def close_interrupted(self) -> None:
        """Close for a Ctrl-C: finish what runs; drop what waits, or leave it in the log.

        Another Ctrl-C gives up what runs: at once, and at the interpreter's exit as well.
        """
        self._drops_because = "the program was interrupted"
        try:
            self.close(None, drain=False)
        except KeyboardInterrupt:
            self.give_up()
            self.close_aside(0.0, drain=False)
            raise

    def give_up(self) -> None:
        """Have each `close` from now on wait for no handler."""
        self._rest.is_given_up = True

    def hurry(self) -> None:
        """Give up; a `close` that waits on another thread does, too."""
        self.give_up()
        with self._mutex:
            self._mutex.settle()
            self._placement.watchers.look()

    def at_stop(self, function: Callable[[], None]) -> None:
        """Have it called, also with the mutex, when nothing runs any more; at once if that is so.

        That is when the queue fails, and when it ends.
        """
        with self._mutex:
            self._at_fault.append(function)
            self.at_end.append(function)
            if self.failed or self._state.now >= State.ENDED:
                function()

    def let_go(self) -> bool:
        """The user can't reach the queue any more: finish what was accepted, then close.

        It takes no lock: the garbage collector calls it, on any thread, which may hold any. At the
        very end of the interpreter there are no modules' names any more.

        Returns:
            Whether there is anything to be closed.
        """
        if self._state.now >= self._closing:
            return False
        self._elsewhere.call(self._finish, daemon=True)
        return True

    def _finish(self) -> None:
        """Jobs that a log keeps are not waited for without end."""
        self._drops_because = "nobody can reach the queue any more, or start it"
        self._is_let_go = True
        self.close_aside(SECONDS_MAX if self._log is None else None, drain=True)

    def _hasten(self, deadline: float, *, drain: bool) -> None:
        """For the interpreter's end, which alone calls this: `_finish` waits no longer than it."""
        tick = self._last_tick(deadline)
        with self._mutex:
            self._mutex.settle()
            # guard: what a dropped queue has scheduled does not hold up the interpreter's end
            #   without: pass
            self._rest.wait_for(tick if drain else None)
            self._placement.watchers.look()

    def _last_tick(self, deadline: float) -> int:
        return tick_before(self._placement.clock.monotonic() + deadline - SystemClock.monotonic())

    def _claim(self, deadline: float) -> bool:
        """Become the thread that closes; `False` if that is done, or did not come in time."""
        while True:
            parker = Parker()
            with self._mutex:
                if self._report is not None:
                    return False
                if self._closer is None:
                    self._closer = threading.get_ident()
                    return True
                self._waiting_closers.append(parker)
            # guard: loop around the wait of a second close
            #   without: if not parker.park(deadline - SystemClock.monotonic()) or True:
            if not parker.park(deadline - SystemClock.monotonic()):
                return False

    def _release_claim(self) -> None:
        with self._mutex:
            if self._closer == threading.get_ident():
                self._closer = None
                for parker in self._waiting_closers:
                    parker.unpark()
                self._waiting_closers.clear()

    def _shut_down(self, deadline: float, *, drain: bool) -> BaseException | None:
        """Close; returns what interrupted a callback of the user's, if anything did."""
        tick = self._last_tick(deadline)
        with self._mutex:
            self._mutex.settle()
            self._state.enter(State.CLOSING)
            if self._finished_before is None:
                self._finished_before = self._rest.finished()
            self._rest.wait_for(tick if drain else None)
            for lane in self._placement.scheduler.lanes:
                lane.wake_producers()
            self._placement.closing.begun = True
            self._seats.tell_of_closing()
        self._placement.watchers.wait(self._rest.has_come, deadline - SystemClock.monotonic())
        if self._rest.is_given_up:  # and so is a disk that hangs
            deadline = SystemClock.monotonic()
        report = self._abandon()
        self._rest.tell_dropped(report.remaining, self._drops_because)
        interruption = self._placement.endings.tell_owed()
        self._stop_threads(deadline)
        self._account_for(report)
        return interruption

    def _abandon(self) -> ShutdownReport:
        """Draw the line: what still runs touches nothing from here on; tell threads that wait."""
        with self._mutex:
            self._mutex.settle()
            self._placement.scheduler.stop()
            self._state.enter(State.ENDED)
            if self._placement.slots is not None:
                # guard: a handler that close gave up is not blamed
                self._placement.slots.clear_all()  # giving up on a handler is no crash of its job
            report = self._provisional_report()
            self._tell_all()
            return report

    def _tell_all(self) -> None:
        """With the mutex: no job will end any more, so all that wait for that are told."""
        for handle in self._placement.status.live.values():
            wake_waiters(handle)
            self._placement.endings.owe(handle)
        self._placement.watchers.look()

    def _provisional_report(self) -> ShutdownReport:
        finished = self._rest.finished()
        before = finished if self._finished_before is None else self._finished_before
        unfinished = tuple(handle.id for handle in self._seats.busy())
        remaining = self._rest.count("queued") + self._rest.count("scheduled")
        return ShutdownReport(finished - before, unfinished, remaining)

    def _account_for(self, report: ShutdownReport) -> None:
        """Look what the log could not take. The report is final then; a record tells of losses."""
        with self._mutex:
            self._report, loss = with_loss(report, self._placement)
            if (journal := self._placement.journal) is not None and journal.is_async:
                self._loss = loss  # at other levels it was written, and then removed
            repeated = repeats(self._placement)
        tell(self._placement, loss, repeated)

    def _stop_threads(self, deadline: float) -> None:
        self._placement.timer.stop()
        for stop in self.at_end:
            stop()
        if self._processes is not None:
            self._processes.close(_left(deadline, 0.0))
        journal = self._placement.journal
        if journal is not None and journal.writer.close(_left(deadline, LOG_SECONDS_MIN)):
            self.unlock()  # of a log that had failed before: nobody has done it yet
        seconds = _left(deadline, 0.1)
        self._runners.join(seconds)
        self._placement.timer.join(seconds)
        if self._placement.slots is not None:
            self._placement.slots.close()

    def unlock(self) -> None:
        """Nothing touches the log any more. Its thread calls this, or `close` if it had failed."""
        lock, self._lock = self._lock, None
        if lock is not None and self._log is not None:
            self._log.files.unlock(lock)

    # ── faults, forks ────────────────────────────────────────────────────────────────────────

    def fail(self, fault: JobQueueError) -> None:
        """A thread died: nothing runs any more, and the threads that wait are told."""
        with self._mutex:
            settle_or_drop(self._mutex, fault)
            self.fail_locked(fault)
        self._placement.endings.tell_owed_here()

    def fail_locked(self, fault: JobQueueError) -> None:
        """Do what `fail` does; with the mutex, as the log calls it when it has failed."""
        if self._state.fault is not None:
            return
        self._state.fail(fault)  # guard: a failed log shuts the queue
        self._placement.scheduler.stop()
        for lane in self._placement.scheduler.lanes:
            lane.wake_producers()
        self._tell_all()
        for function in self._at_fault:
            function()

    def forked(self) -> None:
        """This is a forked child: the queue and its log are the parent's. Takes no lock."""
        self._state.enter(State.FORKED)
        self._mutex._at_fork_reinit()  # it may have been held by a thread that is not here
        # guard: a forked child finishes no change of its parent
        self._mutex.unfinished = None
        # guard: a forked child's worker goes home
        self._placement.scheduler.stopped = True  # if a handler forked, its worker goes home
        if self._lock is not None and self._log is not None:
            # guard: a forked child lets go of the lock
            self._log.files.disown(self._lock)  # an inherited copy would keep the log locked
        if self._processes is not None:
            self._processes.forked()


def _left(deadline: float, at_least: float) -> float:
    """Seconds until a deadline, as a thread can wait: rounding may go beyond that."""
    return min(max(deadline - SystemClock.monotonic(), at_least), SECONDS_MAX)
