"""`periodic`, `periodics`, and how a schedule is paused: what a caller does with schedules.

Guarantees: a call that raised has changed nothing. One that is interrupted anywhere by an exception
from outside (KeyboardInterrupt) has changed all or nothing.
Relies on: the queue's mutex, taken here. The ticks of a rule are looked for without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast, get_args

from ..core.periodic import Entry, PeriodicRoom
from ..core.queue_state import State
from ..exact import exact_str, shown
from ..model.callables import is_coroutine_function, is_generator_function
from ..model.checks import ID_LENGTH_MAX, check_text
from ..model.periodic import CatchUp
from ..timing.schedules import parse, utc_text
from .through_middleware import handle_from
from .ticks import job_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..core.placement import Placement
    from ..core.queue_state import QueueState
    from ..exact import Schedule
    from ..model.handle import JobHandle
    from ..model.job import Job
    from ..model.periodic import PeriodicInfo
    from .ticks import TickAdmission

NAME_LENGTH_MAX = ID_LENGTH_MAX - len("@" + utc_text(1e-6))
"""Of a schedule's name: the ids of its jobs begin with it."""


class Schedules:
    """The schedules of one queue. Thread-safe; called without the mutex.

    Args:
        admission: lets jobs in that a schedule is to run besides its ticks.
        look: called without the mutex when something may be due now, or earlier than before.
    """

    def __init__(
        self,
        placement: Placement,
        state: QueueState,
        room: PeriodicRoom,
        admission: TickAdmission,
        look: Callable[[], object],
    ) -> None:
        self._placement = placement
        self._mutex = placement.mutex
        self._state = state
        self._room = room
        self._admission = admission
        self._look = look

    def register(
        self,
        name: str,
        schedule: Schedule,
        job_factory: Callable[[], Job],
        tz: str,
        catch_up: str,
    ) -> None:
        """See `JobQueue.periodic`."""
        entry = checked_entry(name, schedule, job_factory, tz, catch_up)
        name = entry.name
        wall = self._placement.clock.time()
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(State.OPEN)
            if self._takes_over(entry):
                return
            logged = self._room.logged.get(name)
        entry.begins(logged, wall)
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(State.OPEN)
            if self._takes_over(entry):  # another thread has registered it meanwhile
                return
            if logged is None:
                # guard: a log knows when a schedule was registered first
                self._note(name, wall)
            self._room.entries[name] = entry
        self._look()

    def _takes_over(self, entry: Entry) -> bool:
        """With the mutex: whether the schedule is there already, and goes on with this factory."""
        known = self._room.entries.get(entry.name)
        if known is None:
            return False
        if known.rule != entry.rule or known.tz != entry.tz:
            raise ValueError(
                f"the name {entry.name!r} is taken by another schedule, {known.schedule!r} in "
                f"{known.tz}; give this one a name of its own"
            )
        known.factory, known.catch_up = entry.factory, entry.catch_up
        return True

    def _note(self, name: str, wall: float) -> None:
        """With the mutex: tell the log that all ticks so far are dealt with. Not waited for."""
        journal = self._placement.journal
        if journal is not None:
            journal.ticked(name, wall)
            journal.writer.commit(inline=False)

    def pause(self, name: str) -> None:
        """Have a schedule leave out its ticks until `resume`."""
        with self._mutex:
            self._mutex.settle()
            self._room.find(_name_as_text(name)).paused = True

    def resume(self, name: str) -> None:
        """Have a schedule go on with the ticks that come from now on."""
        name = _name_as_text(name)
        with self._mutex:
            self._mutex.settle()
            entry = self._room.find(name)
        wall = max(self._placement.clock.time(), entry.settled)
        upcoming = entry.rule.first_after(wall)
        with self._mutex:
            self._mutex.settle()
            if not entry.paused:
                return
            # guard: what was due while a schedule was paused is not caught up with
            self._note(name, wall)
            entry.settled, entry.next, entry.paused = wall, upcoming, False
        self._look()

    def run(self, name: str, job_id: str) -> JobHandle:
        """Enqueue a job of a schedule now; its ticks come as they would."""
        name = _name_as_text(name)
        with self._mutex:
            self._mutex.settle()
            self._state.refuse_after(State.OPEN)
            entry = self._room.find(name)
        job = job_of(entry, job_id)
        return handle_from(self._admission.enqueue(job, None), job)

    def infos(self) -> list[PeriodicInfo]:
        """See `JobQueue.periodics`."""
        with self._mutex:
            self._mutex.settle()
            return self._room.infos()


def checked_entry(
    name: str, schedule: Schedule, job_factory: Callable[[], Job], tz: str, catch_up: str
) -> Entry:
    """A schedule of these arguments of `JobQueue.periodic`.

    Raises:
        TypeError, ValueError, ImportError: as that.
    """
    return Entry(
        _checked_name(name),
        schedule,
        tz,
        parse(schedule, tz),
        _checked_factory(job_factory),
        _checked_catch_up(catch_up),
    )


def _checked_name(name: object) -> str:
    text = check_text("a schedule's name", name)
    if len(text) > NAME_LENGTH_MAX:
        raise ValueError(
            f"a schedule's name must have 1 to {NAME_LENGTH_MAX} characters, for its jobs' ids "
            f"begin with it; {text!r} has {len(text)}"
        )
    return text


def _name_as_text(name: object) -> str:
    if not isinstance(name, str):
        raise TypeError(f"periodic must be a schedule's name (str), not {type(name).__name__}")
    return exact_str(name)


def _checked_factory(factory: Any) -> Callable[[], Job]:
    if not callable(factory):
        raise TypeError(
            f"job_factory must be a function that returns a Job, as lambda: Job(handler=...), not "
            f"{factory!r}"
        )
    if is_coroutine_function(factory) or is_generator_function(factory):
        raise TypeError("job_factory must be a plain function that returns a Job at once")
    return cast("Callable[[], Job]", factory)


def _checked_catch_up(catch_up: object) -> CatchUp:
    choices = get_args(CatchUp)
    if not isinstance(catch_up, str) or exact_str(catch_up) not in choices:
        wanted = " or ".join(map(repr, choices))
        raise ValueError(f"catch_up must be {wanted}, not {shown(catch_up)}")
    return cast("CatchUp", exact_str(catch_up))
