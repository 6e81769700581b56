"""The dead letters, by handler and kind of error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import escape

from ..desk import COUNTED_MAX
from ..formatting import in_form, link, visible
from ..searching import only

if TYPE_CHECKING:
    from ...final import DeadGroup
    from ..desk import Desk

TRACE_MAX = 3000
"""Characters of a traceback that are shown here; the job's page shows all that is kept."""
BYTES_MAX = 900_000
"""All groups on the page together: hostile names and tracebacks grow when they are written."""
_BYTES_BESIDES = 6000
"""What else a group has at most: its last error, and what is the same for all groups."""


class GroupRow(NamedTuple):
    """A group, as it is shown.

    Attributes:
        like: what its jobs are found by, as a form has it.
        plain: what they must not have, which the queue cannot be asked: see `actions.py`.
        jobs: the link to its jobs, if they can be filtered.
    """

    group: DeadGroup
    like: dict[str, str]
    plain: str
    jobs: str | None
    trace: str
    most: int


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the page of dead letters shows."""
    only(query, ())
    groups = desk.groups()
    rows: list[GroupRow] = []
    left = BYTES_MAX
    for each in groups.groups:
        row = _row(each)
        left -= _bytes_of(row)
        if left < 0:
            break
        rows.append(row)
    return {"groups": rows, "dead": groups}


def _bytes_of(row: GroupRow) -> int:
    """How much of the page a group takes, at most."""
    names = sum(map(len, row.like.values()))  # in a form for each button
    links = len(row.jobs or "") + len(in_form(row.group.last.id))
    return _BYTES_BESIDES + 2 * names + links + len(escape(row.trace).encode())


def _row(group: DeadGroup) -> GroupRow:
    like = {"status": "failed"}
    if group.handler is not None:
        like["handler"] = group.handler
    if group.error:
        like["error"] = group.error
    no_handler, no_error = group.handler is None, not group.error
    plain = "both" if no_handler and no_error else "handler" if no_handler else ""
    plain = plain or ("error" if no_error else "")
    can_link = not plain and len(group.error) <= 255
    trace = group.last.last_traceback or ""
    cut = "…\n" + trace[-TRACE_MAX:].partition("\n")[2] if len(trace) > TRACE_MAX else trace
    return GroupRow(
        group,
        {name: in_form(value) for name, value in like.items()},
        plain,
        link("jobs", **like) if can_link else None,
        visible(cut, TRACE_MAX + 10, lines=True),
        min(group.count, COUNTED_MAX),
    )
