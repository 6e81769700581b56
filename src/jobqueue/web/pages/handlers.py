"""The handlers: how much each has done, how long it takes, and what holds it back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...final import Limit, Rate
from ..formatting import link, number, visible
from ..searching import only, whole_number

if TYPE_CHECKING:
    from ...final import HandlerInfo
    from ..desk import Desk

PAGE = 50
_ERRORS = 3


class HandlerRow(NamedTuple):
    """A handler, as it is shown."""

    info: HandlerInfo
    is_paused: bool
    is_registered: bool
    failures: int
    attempts: int
    errors: list[tuple[str, int]]
    more_errors: int
    options: list[tuple[str, str]]
    jobs: str | None


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the page of handlers shows."""
    begin = whole_number(only(query, ("from",)), "from", 10**6)
    every, paused, metrics = desk.handlers(), desk.paused(), desk.metrics()
    known = {each.name for each in every}
    rows = [
        _row(each, each.name in paused.handlers, each.name in metrics.by_handler)
        for each in every[begin : begin + PAGE]
    ]
    return {
        "rows": rows,
        "count": len(every),
        "begin": begin,
        "next": link("handlers", **{"from": begin + PAGE}) if len(every) > begin + PAGE else None,
        "before": link("handlers", **{"from": max(0, begin - PAGE)}) if begin else None,
        "paused_only": sorted(paused.handlers - known)[:PAGE],
        # It counts those of the newest jobs alone, so there may be more.
        "is_part": sum(each.queued for each in every) < metrics.queued and metrics.queued > 1000,
    }


def _row(info: HandlerInfo, is_paused: bool, is_registered: bool) -> HandlerRow:
    failures = sum(info.failures.values())
    errors = sorted(info.failures.items(), key=lambda each: -each[1])
    return HandlerRow(
        info,
        is_paused,
        is_registered,
        failures,
        info.completed + failures,
        errors[:_ERRORS],
        max(0, len(errors) - _ERRORS),
        [(name, visible(_option(name, value), 80)) for name, value in info.options.items()],
        None if info.name is None else link("jobs", handler=info.name),
    )


def _option(name: str, value: object) -> str:
    match value:
        case tuple():
            return ", ".join(_option(name, each) for each in value)
        case type():
            return value.__name__
        case Limit():
            return number(value.count) + (" for each key" if value.per_key else "")
        case Rate():
            each = " for each key" if value.per_key else ""
            return f"{number(value.count)} in {value.per:g} s{each}"
        case float() | int() if name == "timeout":
            return f"{value:g} s"
        case _:
            return str(value)
