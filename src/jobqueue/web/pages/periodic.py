"""The schedules of periodic jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..formatting import duration, link
from ..searching import only, whole_number

if TYPE_CHECKING:
    from ...final import PeriodicInfo
    from ..desk import Desk

PAGE = 50


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the page of schedules shows."""
    begin = whole_number(only(query, ("from",)), "from", 10**6)
    every = desk.periodics()
    return {
        "rows": [(each, rule(each)) for each in every[begin : begin + PAGE]],
        "count": len(every),
        "begin": begin,
        "next": link("periodic", **{"from": begin + PAGE}) if len(every) > begin + PAGE else None,
        "before": link("periodic", **{"from": max(0, begin - PAGE)}) if begin else None,
    }


def rule(info: PeriodicInfo) -> str:
    """When it comes, in words."""
    if isinstance(info.schedule, str):
        return info.schedule
    seconds = info.schedule.total_seconds()
    return f"every {seconds:g} s" if 1 <= seconds < 60 else f"every {duration(seconds)}"
