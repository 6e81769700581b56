"""Which jobs a look or a change is about: the arguments of `JobQueue.jobs` and its like."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from ..exact import exact_str, shown, whole_number
from ..spelling import tells_names
from .checks import check_id, check_text
from .job import Priority
from .transitions import Status

if TYPE_CHECKING:
    from .job import JobInfo

    Statuses = Status | str | Iterable[Status | str]


class Filter(NamedTuple):
    """What a job must be like; `None` takes any. `fits` looks at all but the text."""

    statuses: frozenset[Status] | None = None
    handler: str | None = None
    priority: Priority | None = None
    key: str | None = None
    error: str | None = None
    text: str | None = None

    def fits(
        self,
        status: Status,
        handler: str | None,
        priority: Priority,
        key: str | None,
        failure: tuple[str, str] | None,
    ) -> bool:
        """Whether a job is like that, as far as it is quick to tell; `failure` is its last one."""
        return (
            (self.statuses is None or status in self.statuses)
            and (self.handler is None or handler == self.handler)
            and (self.priority is None or priority is self.priority)
            and (self.key is None or key == self.key)
            and (self.error is None or (failure is not None and self._is_error(failure[0])))
        )

    def _is_error(self, error: str) -> bool:
        return error_class(error) == self.error

    def has_text(self, info: JobInfo) -> bool:
        """Whether the text is in one of the job's own; a search may take its time."""
        texts = [info.id, info.key or "", info.last_error or "", *info.headers.values()]
        return self.is_in((texts, info.payload))

    def is_in(self, searched: tuple[list[str], bytes | None]) -> bool:
        """Whether the text is in one of these texts, or in the payload."""
        text, (texts, payload) = self.text, searched
        if text is None:
            return True
        return any(text in each for each in texts) or (
            # The bytes of a text are those of UTF-8: no payload has to be decoded.
            payload is not None and text.encode("utf-8", "surrogatepass") in payload
        )


NO_ERROR = ""
"""The class of a failure that has none."""


def error_class(error: str) -> str:
    """The class in a text such as "ValueError: boom"."""
    return error.partition(":")[0]


@tells_names("jobs are not told apart by")
def checked_filter(
    status: Statuses | None = None,
    handler: str | None = None,
    priority: Priority | None = None,
    key: str | None = None,
    error: str | None = None,
    text: str | None = None,
) -> Filter:
    """The filter of these arguments.

    Raises:
        TypeError, ValueError: one of them cannot be what a job has.
    """
    return Filter(
        None if status is None else _statuses(status),
        None if handler is None else check_text("handler", handler),
        None if priority is None else checked_priority(priority),
        None if key is None else check_text("key", key),
        None if error is None else _text("error", error),
        None if text is None else _text("text", text),
    )


def checked_limit(limit: object) -> int:
    """How many jobs at most.

    Raises:
        TypeError, ValueError: it is no number >= 1.
    """
    number = whole_number(limit)
    if number is None:
        raise TypeError(f"limit must be a whole number, not {shown(limit)}")
    if number < 1:
        raise ValueError(f"limit must be 1 or more, not {shown(number)}")
    return number


def checked_ids(ids: object) -> tuple[str, ...]:
    """The ids of jobs.

    Raises:
        TypeError: they are no list of text.
    """
    if isinstance(ids, str) or not isinstance(ids, Iterable):
        raise TypeError(f"ids must be a list of jobs' ids, not {shown(ids)}")
    return tuple(map(check_id, ids))


def checked_priority(priority: object) -> Priority:
    """A priority.

    Raises:
        ValueError: it is none.
    """
    number = whole_number(priority)
    if number is None or not 0 <= number < len(Priority):
        raise ValueError(f"priority must be Priority.HIGH, MEDIUM or LOW, not {shown(priority)}")
    return Priority(number)


def _statuses(status: object) -> frozenset[Status]:
    if isinstance(status, str):
        return frozenset((_status(status),))
    if not isinstance(status, Iterable):
        raise TypeError(
            f"status must be a Status, its text, or a list of such, not {shown(status)}"
        )
    return frozenset(map(_status, status))


def _status(status: object) -> Status:
    if not isinstance(status, str):
        raise TypeError(f"a status must be a Status or its text, not {shown(status)}")
    try:
        return status if isinstance(status, Status) else Status(exact_str(status))
    except ValueError:
        names = ", ".join(repr(each.value) for each in Status)
        raise ValueError(f"status must be one of {names}, not {status!r}") from None


def _text(what: str, text: object) -> str:
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {type(text).__name__}")
    return exact_str(text)
