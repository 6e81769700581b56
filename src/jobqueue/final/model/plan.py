"""What a job asks for besides its place in a lane: `key`, `unique`, `after`, `expires`.

Most jobs ask for none of it, and have no `Plan`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, get_args

from ..exact import check_seconds, exact_str
from .checks import ID_LENGTH_MAX, check_text

if TYPE_CHECKING:
    from ..exact import Seconds

By = Literal["handler+key", "handler+payload", "key"]
Until = Literal["finished", "started"]
OnConflict = Literal["existing", "raise", "replace"]


class HasId(Protocol):
    """An accepted job: a `JobHandle`, or what else has a job's id."""

    @property
    def id(self) -> str:
        """The job's id."""


@dataclass(frozen=True, slots=True)
class Unique:
    """A job that is added only if there is none like it. Immutable.

    Args:
        by: what makes two jobs alike: their handler and key, their handler and payload, or their
            key alone.
        until: a job counts until it has "finished", all retries included, or only until it has
            "started" for the first time.
        on_conflict: what becomes of a second one. "existing": it is not added, and its caller gets
            a handle of the first. "raise": `DuplicateJobError`. "replace": it takes the place of
            the first, which is cancelled; if that runs already, it is not added, as by "existing".
            That of the newcomer counts.

    Raises:
        ValueError: a value is none of these.
    """

    by: By = "handler+key"
    until: Until = "finished"
    on_conflict: OnConflict = "existing"

    def __post_init__(self) -> None:
        by, until, on_conflict = self.by, self.until, self.on_conflict
        is_exact = type(by) is str and type(until) is str and type(on_conflict) is str
        if is_exact and (by, until, on_conflict) in _KNOWN:
            return  # mostly so, and many write a new one for each job
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if not isinstance(value, str) or exact_str(value) not in choices:
                wanted = " or ".join(map(repr, choices))
                raise ValueError(f"Unique({name}=...) must be {wanted}, not {value!r}")
            object.__setattr__(self, name, exact_str(value))  # it is frozen from here on

    @property
    def needs_key(self) -> bool:
        """Whether jobs are told apart by their keys."""
        return self.by != "handler+payload"


BY: tuple[By, ...] = get_args(By)
_CHOICES = {
    "by": BY,
    "until": get_args(Until),
    "on_conflict": get_args(OnConflict),
}
_KNOWN: frozenset[tuple[object, ...]] = frozenset(product(*_CHOICES.values()))


class Plan(NamedTuple):
    """What one job asks for.

    Attributes:
        key: what it is about, as a customer or a file: unique jobs, limits and looks go by it.
        unique: whether there may be another one like it.
        after: ids of the jobs that it waits for.
        expires: seconds from its acceptance within which it has to have started.
    """

    key: str | None = None
    unique: Unique | None = None
    after: tuple[str, ...] = ()
    expires: float | None = None

    @property
    def ties(self) -> bool:
        """Whether it ties the job to others or to a time; a key alone does not."""
        return self.unique is not None or self.after != () or self.expires is not None


def checked_plan(
    key: object, unique: object, after: object, expires: Seconds | None
) -> Plan | None:
    """The plan of these arguments of `Job`; `None` if they ask for nothing.

    Raises:
        TypeError, ValueError: one of them cannot work.
    """
    if key is not None and not (
        type(key) is str and key.isascii() and 0 < len(key) <= ID_LENGTH_MAX
    ):
        key = check_text("key", key)
    if unique is not None:
        if type(unique) is not Unique and not isinstance(unique, Unique):
            raise TypeError(f"unique must be a Unique, as in unique=Unique(), not {unique!r}")
        if key is None and unique.needs_key:
            raise ValueError(
                f"a job that is unique by {unique.by!r} needs a key: set key=..., or write "
                f'unique=Unique(by="handler+payload")'
            )
    ids = () if after is None else _ids(after)
    if expires is not None:
        expires = check_seconds("expires", expires, "or None")
    if key is None and unique is None and not ids and expires is None:
        return None
    return _new(Plan, (key, unique, ids, expires))


_new = tuple.__new__  # a named tuple's own is in Python, and takes twice as long


def _ids(after: object) -> tuple[str, ...]:
    if type(after) is not list and (
        isinstance(after, (str, bytes)) or not isinstance(after, Iterable)
    ):
        raise TypeError(
            f"after must be a list of handles or ids, as in after=[handle], not {after!r}"
        )
    if type(after) is list and len(after) == 1:  # mostly so
        return (_id(after[0]),)
    return tuple(dict.fromkeys(map(_id, after)))


def _id(what: object) -> str:
    job_id = what if isinstance(what, str) else getattr(what, "id", None)
    if type(job_id) is str:
        return job_id
    if not isinstance(job_id, str):
        raise TypeError(f"after must list handles or ids of jobs, not {what!r}")
    return exact_str(job_id)
