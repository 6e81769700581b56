"""The jobs: filtered, newest first, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...final import Status
from ..desk import COUNTED_MAX, WITHIN
from ..formatting import link
from ..searching import LIKE, PRIORITIES, STATUSES, only

if TYPE_CHECKING:
    from ..desk import Desk

PAGE = 20

_MAY = {
    "cancel": {Status.QUEUED, Status.SCHEDULED, Status.PROCESSING},
    "run": {Status.SCHEDULED},
    "requeue": {Status.FAILED},
    "discard": {Status.FAILED},
}
CHANGES = (
    ("run", "Run now"),
    ("requeue", "Queue again"),
    ("cancel", "Cancel"),
    ("discard", "Discard"),
)


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the page of jobs shows."""
    query = only(query, (*LIKE, "before"))
    like = {name: query[name] for name in LIKE if name in query}
    before = query.get("before")
    look = desk.look(like, limit=PAGE, before=before)
    has_more = look.matching > len(look.jobs)
    is_all = before is None and look.last is None
    from_start = look if is_all else desk.look(like, limit=1)  # how many there are
    matching, is_whole = max(from_start.matching, look.matching), from_start.last is None
    counted = min(matching, COUNTED_MAX)
    there = {job.status for job in look.jobs}
    return {
        "jobs": look.jobs,
        "like": like,
        "before": before,
        "matching": matching,
        "counted": counted,
        "is_more": not is_whole or matching > COUNTED_MAX,
        "looked_at": from_start.looked_at,
        "looked_at_here": look.looked_at if look.last is not None else None,
        # A page further back may have more of them than all that come before it.
        "is_of_newest": not is_whole and matching == from_start.matching,
        "within": WITHIN,
        "next": _next(
            like,
            look.jobs[-1].id if has_more else look.last,
            is_on=has_more or len(look.jobs) == PAGE,
        ),
        "newest": link("jobs", **like) if before is not None else None,
        "changes_here": [each for each in CHANGES if there & _MAY[each[0]]],
        "changes_all": [each for each in CHANGES if _may_all(each[0], like)],
        "statuses": STATUSES,
        "priorities": PRIORITIES,
        "of_status": {each: link("jobs", **{**like, "status": each}) for each in ("", *STATUSES)},
    }


def _may_all(change: str, like: dict[str, str]) -> bool:
    """Whether a change may be of use to some of those that are like this."""
    status = like.get("status")
    return status is None or Status(status) in _MAY[change]


def _next(like: dict[str, str], before: str | None, *, is_on: bool) -> dict[str, Any] | None:
    """The link to older jobs: the next page, or the rest that was not looked at yet."""
    if before is None:
        return None
    return {"page": link("jobs", **like, before=before), "is_on": is_on}
