"""The overview: what needs a person, the lanes, what runs, the log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...final import Paused, Priority
from .. import formatting
from ..charts import SPAN, chart, spark, top_of
from ..sampling import COUNTS, rates
from ..searching import only

if TYPE_CHECKING:
    from markupsafe import Markup

    from ...final import LaneMetrics
    from ..desk import Desk
    from ..sampling import Point

RUNNING_MAX = 50
NOTHING_PAUSED = Paused(False, frozenset(), frozenset(), frozenset())
_STEP = 3
"""Seconds from one point of a chart to the next: rates are those of so long a time."""


class LaneRow(NamedTuple):
    """A lane, its numbers now, and their last five minutes."""

    name: str
    lane: LaneMetrics
    is_paused: bool
    is_late: bool
    completed: float
    failed: float
    charts: dict[str, Markup]


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the overview shows."""
    only(query, ())
    metrics, answers = desk.metrics(), desk.samples.latest()[1] is None
    # While the queue does not answer, this page tells what it was, and that it does not.
    paused = desk.paused() if answers else NOTHING_PAUSED
    points, now = desk.samples.points(SPAN + _STEP, _STEP), desk.samples.now()
    lanes = [
        _lane_row(each, metrics.by_priority[each], points, now, desk, paused.priorities)
        for each in Priority
    ]
    completed, failed, retried = (rates(points, each) for each in COUNTS)
    queued = [(point.at, float(point.queued())) for point in points]
    dead = desk.groups() if answers else None
    bad = [(at, value + more) for (at, value), (_, more) in zip(failed, retried, strict=True)]
    return {
        "metrics": metrics,
        "paused": paused,
        "lanes": lanes,
        "answers": answers,
        "running": desk.running(RUNNING_MAX) if answers else None,
        "running_max": RUNNING_MAX,
        "dead": metrics.dead if dead is None else dead.letters,
        "worst": dead.groups[0] if dead is not None and dead.groups else None,
        "completed_rate": _latest(completed),
        "failed_rate": _latest(bad),
        "flow_chart": chart(
            [("completed", "flow", completed), ("failed attempts", "fail", bad)],
            now,
            "Attempts a second",
            formatting.rate,
        ),
        "flow_top": top_of([completed, bad], now),
        "queued_chart": chart([("queued", "flow", queued)], now, "Queued jobs", formatting.number),
        "queued_top": top_of([queued], now),
    }


def _lane_row(
    priority: Priority,
    lane: LaneMetrics,
    points: list[Point],
    now: float,
    desk: Desk,
    paused: frozenset[Priority],
) -> LaneRow:
    place = list(Priority).index(priority)
    completed, failed = rates(points, "completed", place), rates(points, "failed", place)
    queued = [(point.at, float(point.lanes[place].queued)) for point in points]
    waits = [(point.at, point.lanes[place].oldest_wait) for point in points]
    name = priority.name.capitalize()
    return LaneRow(
        name,
        lane,
        priority in paused,
        lane.oldest_wait > desk.late_after,
        _latest(completed),
        _latest(failed),
        {
            "queued": spark(queued, now, f"{name}, queued", formatting.number),
            "wait": spark(waits, now, f"{name}, oldest wait", formatting.duration),
            "completed": spark(completed, now, f"{name}, completed a second", formatting.rate),
            "failed": spark(failed, now, f"{name}, failed a second", formatting.rate, "fail"),
        },
    )


def _latest(series: list[tuple[float, float]]) -> float:
    return series[-1][1] if series else 0.0
