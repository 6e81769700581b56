"""What a call of a task may choose for its one job: `task.using(...)`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from ..final import Job, Priority, Unique
from ..final.ports import check_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping

Seconds = float | timedelta
"""A length of time: a number of seconds, or a `timedelta`."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one job; `None` means what the task or the queue says. Immutable.

    Attributes:
        delay: seconds from the call, >= 0.
        at: an aware time; if it is set, `delay` is not.
        enqueue_timeout: seconds to wait for room.
        after: ids of jobs.
        expires: seconds from the acceptance.
    """

    priority: Priority | None = None
    delay: float = 0.0
    at: datetime | None = None
    id: str | None = None
    max_retries: int | None = None
    headers: Mapping[str, str] | None = None
    enqueue_timeout: float | None = None
    key: str | None = None
    unique: Unique | None = None
    after: tuple[str, ...] | None = None
    expires: float | None = None

    def but(self, changes: Mapping[str, Any]) -> Options:
        """These options with some changed; raises `TypeError` or `ValueError` if one cannot be."""
        values = {name: getattr(self, name) for name in self.__slots__}
        values.update((name, value) for name, value in changes.items() if value is not None)
        if changes.get("at") is not None and changes.get("delay") is not None:
            raise ValueError("using(at=..., delay=...): give one of the two")
        if changes.get("at") is not None:
            values["at"], values["delay"] = _aware(changes["at"]), 0.0
        elif changes.get("delay") is not None:
            values["delay"], values["at"] = check_seconds("delay", changes["delay"]), None
        if changes.get("enqueue_timeout") is not None:
            values["enqueue_timeout"] = check_seconds("enqueue_timeout", changes["enqueue_timeout"])
        _take_plan(values, changes)
        return Options(**values)

    @property
    def of_the_call(self) -> str | None:
        """The name of one that a job cannot carry; `None` if all are the job's own."""
        if self.at is not None:
            return "at"
        if self.delay:
            return "delay"
        return None if self.enqueue_timeout is None else "enqueue_timeout"

    def delay_from(self, now: float) -> float:
        """Seconds until the job is due; `now` is the Unix time."""
        return self.delay if self.at is None else max(0.0, self.at.timestamp() - now)


def _take_plan(values: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """What `after` and `expires` are in a job; raises if one of the plan's options cannot be."""
    names = ("key", "unique", "after", "expires")
    given = {name: changes[name] for name in names if changes.get(name) is not None}
    if not given:
        return
    example = Job(**{"key": "any", **given})  # a unique job may get its key later
    if "after" in given:  # an iterator gives them once
        values["after"] = example.after
    if "expires" in given:
        values["expires"] = example.expires


def _aware(at: datetime) -> datetime:
    if not isinstance(at, datetime):
        raise TypeError(f"at must be a datetime, not {at!r}; for a number of seconds use delay=")
    if at.utcoffset() is None:
        raise ValueError(
            f"at={at!r} has no time zone, so it names no moment; write for example "
            f"datetime.now(UTC) + timedelta(hours=1), or use delay="
        )
    return at
