"""`Call`: a call of a task that is yet to be enqueued, alone or with others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..final import Job

if TYPE_CHECKING:
    from collections.abc import Callable

    from .options import Options
    from .task import Home

R_co = TypeVar("R_co", covariant=True)


class Call(Generic[R_co]):
    """A call of a task, with its arguments and options; `task.call(...)` makes it.

    It is nothing but a description, for `chain` and `group`. Each time that it is enqueued it is a
    new job. Immutable and thread-safe.
    """

    __slots__ = ("_home", "_make", "_name", "_options")

    def __init__(
        self, home: Home, name: str, make: Callable[[tuple[str, ...]], Job], options: Options
    ) -> None:
        self._home = home
        self._name = name
        self._make = make
        self._options = options

    @property
    def name(self) -> str:
        """What the log calls the task."""
        return self._name

    @property
    def home(self) -> Home:
        """The `Tasks` of the task."""
        return self._home

    @property
    def options(self) -> Options:
        """What `using` has chosen for its job."""
        return self._options

    def job(self, after: tuple[str, ...] = ()) -> Job:
        """A new job for it, which also waits for those with these ids."""
        return self._make(after)

    def __repr__(self) -> str:
        return f"<Call of {self._name!r}>"


def checked_calls(caller: str, given: tuple[Any, ...]) -> list[list[Call[Any]]]:
    """The calls that were given, in the steps in which they are to run.

    Raises:
        TypeError: something else is among them.
    """
    return [_step(caller, each) for each in given]


def _step(caller: str, given: object) -> list[Call[Any]]:
    calls: list[Any] = list(given) if isinstance(given, (tuple, list)) else [given]
    for each in calls:
        if not isinstance(each, Call):
            raise TypeError(
                f"{caller}() takes calls of tasks, as task.call(...) makes them, not {each!r}"
            )
    if not calls:
        raise TypeError(f"{caller}() was given an empty step")
    return calls
