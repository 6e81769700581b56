"""The part of `JobQueue` for those who look after a queue: what is done to many jobs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .aio.door import AsyncDoor
from .core.pausing import Steer
from .model.checks import check_id, check_text
from .model.filters import checked_filter, checked_ids, checked_limit, checked_priority
from .model.paused import Paused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .callers.bounded import BoundedLooking
    from .callers.bulk import Bulk
    from .callers.looking import Looking
    from .callers.schedules import Schedules
    from .core.placement import Placement
    from .core.queue_state import QueueState
    from .core.scheduler import FairScheduler
    from .model.filters import Statuses
    from .model.handle import JobHandle
    from .model.job import JobInfo, Priority
    from .model.look import DeadGroups, Look
    from .model.metrics import HandlerInfo
    from .runtime.mutex import Mutex


class Operating(AsyncDoor):
    """Looks at many jobs and changes them. All methods are thread-safe."""

    _placement: Placement
    _mutex: Mutex
    _scheduler: FairScheduler
    _state: QueueState
    _looking: Looking
    _bounded: BoundedLooking
    _schedules: Schedules
    _bulk: Bulk

    if TYPE_CHECKING:

        def _enter(self, *, waits: bool = False) -> None: ...

        def _running(self) -> list[JobHandle]: ...

    # ── many jobs ────────────────────────────────────────────────────────────────────────────────

    def jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[JobInfo]:
        """The jobs that are like this, newest first: those that were made last.

        It looks at all jobs that are known, until it has found as many as are wanted, and holds
        nobody up meanwhile: a look at a million jobs takes seconds, but no other call waits for
        longer than a millisecond. Of a job that changes meanwhile it tells what held when it came
        to it.

        Args:
            status: a status, its text, or several of them.
            handler: the name of a handler.
            priority: a lane.
            key: a job's key, all of it.
            error: the class of the last error, as in "ValueError".
            text: what is in the id, the payload, a header, the key or the last error. Of payloads
                it looks at the bytes, for the text's in UTF-8.
            limit: how many at most.
            before: the id of a job: only jobs that were accepted before it. For the next page, the
                last of the page before.

        Raises:
            UnknownJobError: `before` is not known, or has been forgotten.
            TypeError, ValueError: an argument is nothing that a job can have.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        limit = checked_limit(limit)
        before = None if before is None else check_id(before)
        self._enter()
        return self._looking.jobs(wanted, limit, before)

    def cancel_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Cancel all jobs that are like this, as `cancel` does each.

        They are taken oldest first, some at a time: no other call waits for longer than a
        millisecond. A call that is interrupted has cancelled some. With a log there is one batch
        for a thousand jobs.

        Args:
            status: as for `jobs`, and so are the other filters; all that wait or run if none is
                given.
            limit: how many at most; `None` for all.
            ids: only these jobs, if they are like that, in this order; others are not looked at,
                and ids that are not known are passed over.

        Returns:
            How many were cancelled, or asked to stop.

        Raises:
            TypeError, ValueError: an argument is nothing that a job can have.
            LogWriteError: they are cancelled, but the log could not take it yet; if the log had
                failed for good before, nothing has changed.
            QueueClosedError: the queue is closed; some may have been cancelled before.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        most = None if limit is None else checked_limit(limit)
        these = None if ids is None else checked_ids(ids)
        self._enter(waits=True)
        return self._bulk.cancel(wanted, most, these)

    def requeue_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Queue all failed jobs that are like this again, as `requeue` does each.

        Arguments, errors and how it is done are those of `cancel_jobs`.

        Returns:
            How many were queued.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        most = None if limit is None else checked_limit(limit)
        these = None if ids is None else checked_ids(ids)
        self._enter(waits=True)
        return self._bulk.requeue(wanted, most, these)

    def discard_jobs(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Drop all failed jobs that are like this, as `discard` does each.

        Arguments, errors and how it is done are those of `cancel_jobs`.

        Returns:
            How many were dropped.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        most = None if limit is None else checked_limit(limit)
        these = None if ids is None else checked_ids(ids)
        self._enter(waits=True)
        return self._bulk.discard(wanted, most, these)

    def run_now(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        limit: int | None = None,
        ids: Iterable[str] | None = None,
    ) -> int:
        """Queue all scheduled jobs that are like this at once, whatever their delay or backoff.

        After a restart they do not wait either. Jobs that wait for other jobs are passed over.
        Arguments, errors and how it is done are those of `cancel_jobs`.

        Returns:
            How many were queued.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        most = None if limit is None else checked_limit(limit)
        these = None if ids is None else checked_ids(ids)
        self._enter(waits=True)
        return self._bulk.run_now(wanted, most, these)

    def handlers(self, *, within: int | None = None) -> list[HandlerInfo]:
        """What is known of each handler: the default one first, then by name.

        Names that no handler is registered under are there too if jobs wait for them. It looks at
        all jobs that are known, as `jobs` does; `metrics().by_handler` does not, and tells less.

        Args:
            within: how many jobs are looked at, at most, the newest. `queued` is of those, and so
                it may be less than there are.
        """
        within = None if within is None else checked_limit(within)
        self._enter()
        return self._looking.handlers(self._running, within)

    # ── pages ────────────────────────────────────────────────────────────────────────────────────

    def look(
        self,
        *,
        status: Statuses | None = None,
        handler: str | None = None,
        priority: Priority | None = None,
        key: str | None = None,
        error: str | None = None,
        text: str | None = None,
        in_payload: bool = True,
        limit: int = 20,
        before: str | None = None,
        within: int = 20_000,
    ) -> Look:
        """A page of the jobs that are like this, newest first, and how many there are.

        It is as `jobs`, but ends after `within` jobs, so it is quick however many are known: only
        the first of all looks puts them in order. Jobs that run or have failed are found among
        themselves; if `status` asks for no others, `within` counts those alone.

        Args:
            status: as for `jobs`, and so are the other filters.
            in_payload: whether `text` is looked for in payloads too.
            limit: how many are told of at most.
            before: the id of a job: only jobs that were accepted before it.
            within: how many are looked at, at most.

        Raises:
            UnknownJobError: `before` is not known, or has been forgotten.
            TypeError, ValueError: an argument is nothing that a job can have.
        """
        wanted = checked_filter(status, handler, priority, key, error, text)
        limit, within = checked_limit(limit), checked_limit(within)
        before = None if before is None else check_id(before)
        self._enter()
        return self._bounded.look(wanted, limit, before, within, in_payload=in_payload)

    def dead_groups(self, limit: int = 100) -> DeadGroups:
        """The dead letters by handler and kind of error, with the last one of each.

        Args:
            limit: how many groups are told of at most, those with the most letters.
        """
        limit = checked_limit(limit)
        self._enter()
        return self._bounded.dead_groups(limit)

    # ── pausing ──────────────────────────────────────────────────────────────────────────────────

    def pause(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """Have the workers finish what they hold and take no more until `resume`.

        Without an argument that holds for all jobs, else for those of a handler, of a lane, or the
        ticks of a schedule; several are paused by as many arguments or calls. Jobs that may not
        run are queued as others are: they keep their order and their place in `queue_size`, and
        delay no other job. `join` waits for them, `close` leaves them. A restart resumes all.

        Args:
            handler: the name of a handler; it need not be registered yet.
            priority: a lane.
            periodic: the name of a schedule. What is due until `resume` is left out, whatever its
                `catch_up`.

        Raises:
            TypeError, ValueError: an argument is no such thing, or there is no such schedule.
        """
        self._pause_or_resume(handler, priority, periodic, pauses=True)

    def resume(
        self,
        handler: str | None = None,
        priority: Priority | None = None,
        periodic: str | None = None,
    ) -> None:
        """Have the workers take jobs again: undoes `pause` with the same arguments.

        Jobs of a handler come before those of their lane that were accepted after them. What else
        is paused stays so: see `paused`.

        Raises:
            TypeError, ValueError: as for `pause`.
        """
        self._pause_or_resume(handler, priority, periodic, pauses=False)

    def paused(self) -> Paused:
        """What is paused."""
        self._enter()
        periodics = frozenset(each.name for each in self._schedules.infos() if each.paused)
        with self._mutex:
            self._mutex.settle()
            pausing = self._scheduler.pausing
            return Paused(
                self._scheduler.paused,
                frozenset(pausing.handlers),
                frozenset(pausing.priorities),
                periodics,
            )

    def _pause_or_resume(
        self,
        handler: str | None,
        priority: Priority | None,
        periodic: str | None,
        *,
        pauses: bool,
    ) -> None:
        handler = None if handler is None else check_text("handler", handler)
        priority = None if priority is None else checked_priority(priority)
        self._enter()
        if periodic is not None:
            self._schedules.pause(periodic) if pauses else self._schedules.resume(periodic)
        with self._mutex:
            self._mutex.settle()
            if handler is not None or priority is not None:
                pausing, bindings = self._scheduler.pausing, self._placement.bindings
                change = Steer(pausing, bindings, handler, priority, pauses=pauses)
                self._placement.carry_out(change)
            elif periodic is None:
                self._scheduler.pause() if pauses else self._scheduler.resume()
            self._placement.watchers.look()
