"""The query of the jobs' page: what may stand there, and what the queue is asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..final import Priority, Status
from .errors import WrongError
from .formatting import visible

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

LIKE = ("status", "handler", "priority", "key", "error", "text")
"""What jobs are found by."""
ERROR_MAX = 2048
"""Characters of an error's class: all that is kept of an error, for a group may be one of those."""
NOTICE = ("did", "n")
"""What an action leaves in the query of the page that follows it."""
PRIORITIES = tuple(each.name.lower() for each in Priority)
STATUSES = tuple(each.value for each in Status)


def only(query: Mapping[str, str], allowed: Collection[str]) -> dict[str, str]:
    """The query without its empty fields.

    Raises:
        Wrong: it has another field.
    """
    allowed = (*allowed, *NOTICE)
    for name in query:
        if name not in allowed:
            known = ", ".join(each for each in allowed if each not in NOTICE) or "none"
            raise WrongError(f"This page has no parameter {visible(name, 40)!r}; it has: {known}.")
    return words({name: value for name, value in query.items() if value})


def words(like: Mapping[str, str]) -> dict[str, str]:
    """The same, with statuses and lanes in small letters, as addresses have them.

    Python calls them `Status.FAILED` and `Priority.HIGH`, so that is what people write, too.
    """
    return {
        name: value.lower() if name in {"status", "priority"} else value
        for name, value in like.items()
    }


def filters_of(like: Mapping[str, str]) -> dict[str, Any]:
    """What the queue is asked with.

    Raises:
        Wrong: no job can be like that.
    """
    asked: dict[str, Any] = {name: like[name] for name in LIKE if name in like}
    status = asked.get("status")
    if status is not None and status not in STATUSES:
        names = ", ".join(STATUSES)
        raise WrongError(f"A job's status is one of {names}; {visible(status, 40)!r} is none.")
    priority = asked.get("priority")
    if priority is not None:
        if priority not in PRIORITIES:
            raise WrongError(
                f"A job's priority is high, medium or low, not {visible(priority, 40)!r}."
            )
        asked["priority"] = Priority[priority.upper()]
    for name in ("handler", "key"):
        if len(asked.get(name, "")) > 255:
            raise WrongError(f"A {name} has at most 255 characters.")
    if len(asked.get("error", "")) > ERROR_MAX:
        raise WrongError(f"The name of an error's class has at most {ERROR_MAX} characters.")
    if len(asked.get("text", "")) > 1000:
        raise WrongError("A text that is looked for has at most 1000 characters.")
    return asked


def whole_number(query: Mapping[str, str], name: str, most: int) -> int:
    """A number in the query; 0 if it is not there.

    Raises:
        Wrong: it is no number, or a large one.
    """
    text = query.get(name, "0")
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) <= most):
        raise WrongError(f"{name} must be a number from 0 to {most}, not {visible(text, 40)!r}.")
    return int(text)
