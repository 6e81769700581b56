"""`look`, `dead_groups`: looks for pages that are shown at once; and filters in SQL.

Each is one statement, so what it tells held at one moment. A look ends after so many jobs, newest
first, by the index on their numbers. Jobs that run or have failed are found among themselves, by
the engine's table, if no others are asked for.

Whose thread: callers', which wait for the queue's loop; no lock.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..final import DeadGroup, DeadGroups, Look, Status
from ..final.engine import check_id, checked_filter, checked_limit, progress_of
from .rows import STATUS, info_of

if TYPE_CHECKING:
    from ..final import JobInfo
    from ..final.engine import Filter
    from .core import Core

_NUMBER_MAX = 2**63 - 1
_FEW = {Status.FAILED: "failed", Status.PROCESSING: "picked"}
"""The statuses that few jobs have, and what the engine calls them."""
_TIMES = """extract(epoch FROM q.execute_after)::float8 AS due,
extract(epoch FROM q.updated)::float8 AS picked, NULL::bytea AS payload"""
_BRIEF = f"""j.id, j.number, j.lane, j.handler, j.about, j.created, j.retries, '[]' AS attempts,
j.started, j.finished, j.outcome, j.error, NULL AS trace, {STATUS} AS status, {_TIMES}"""
"""What `info_of` needs of a job of which little is told."""
_COLUMNS = "j.id, j.number, j.lane, j.handler, j.about, j.error, j.outcome"
_NEWEST = f"""SELECT {_COLUMNS} FROM jobqueue_job j WHERE j.number < $1
ORDER BY j.number DESC LIMIT $2"""
_NEWEST_OF_FEW = f"""SELECT {_COLUMNS} FROM pgqueuer q JOIN jobqueue_job j ON j.number = q.id
WHERE (<few>) AND j.number < $1
ORDER BY j.number DESC LIMIT $2"""
_LOOK = f"""WITH seen AS MATERIALIZED (<newest>),
fitting AS MATERIALIZED (SELECT j.number FROM seen j LEFT JOIN pgqueuer q ON q.id = j.number
  AND q.id >= (SELECT min(number) FROM seen) WHERE <like>)
SELECT all_of.*, page.* FROM (SELECT (SELECT count(*) FROM seen) AS looked_at,
  (SELECT count(*) FROM fitting) AS matching,
  (SELECT id FROM seen ORDER BY number LIMIT 1) AS oldest) all_of
LEFT JOIN (SELECT {_BRIEF} FROM (SELECT number FROM fitting ORDER BY number DESC LIMIT $3) f
  JOIN jobqueue_job j ON j.number = f.number LEFT JOIN pgqueuer q ON q.id = j.number) page ON true
ORDER BY page.number DESC"""
_GROUPS = f"""WITH groups AS (SELECT j.handler,
  split_part(coalesce(j.error, ''), ':', 1) COLLATE "C" AS class, count(*) AS size,
  (array_agg(j.number ORDER BY j.finished DESC, j.number DESC))[1] AS last
  FROM pgqueuer q JOIN jobqueue_job j ON j.number = q.id WHERE q.status = 'failed' GROUP BY 1, 2)
SELECT g.class, g.size, (sum(g.size) OVER ())::bigint AS letters, count(*) OVER () AS kinds,
  j.*, {STATUS} AS status, {_TIMES}
FROM groups g JOIN jobqueue_job j ON j.number = g.last LEFT JOIN pgqueuer q ON q.id = j.number
ORDER BY g.size DESC, coalesce(j.handler, '') COLLATE "C", g.class LIMIT $1"""


class Looking:
    """Looks; its calls are those of `ports.Operator`. Thread-safe."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def look(
        self,
        *,
        in_payload: bool = True,
        limit: int = 20,
        before: str | None = None,
        within: int = 20_000,
        **like: Any,
    ) -> Look:
        """See `JobQueue`."""
        wanted = checked_filter(**like)
        most, within = checked_limit(limit), checked_limit(within)
        operator = self._core.operator
        first = _NUMBER_MAX if before is None else operator.number(check_id(before))
        arguments: list[Any] = [first, within, most]
        newest = _NEWEST
        if wanted.statuses is not None and wanted.statuses <= _FEW.keys():
            newest = _NEWEST_OF_FEW.replace("<few>", _are(wanted.statuses))
        where = condition(wanted, arguments, in_payload=in_payload)
        statement = _LOOK.replace("<newest>", newest).replace("<like>", where)
        rows = operator.fetch(statement, *arguments)
        looked_at, matching = rows[0]["looked_at"], rows[0]["matching"]
        return Look(
            tuple(self._brief(row) for row in rows if row["number"] is not None),
            matching,
            looked_at,
            rows[0]["oldest"] if looked_at == within else None,
        )

    def _brief(self, row: Any) -> JobInfo:
        progress = progress_of(self._core.progress_of(row["id"]))
        return replace(info_of(row, progress), attempts=())

    def dead_groups(self, limit: int) -> DeadGroups:
        """See `JobQueue`."""
        rows = self._core.operator.fetch(_GROUPS, checked_limit(limit))
        groups = tuple(
            DeadGroup(row["handler"], row["class"], row["size"], info_of(row)) for row in rows
        )
        return DeadGroups(
            groups, rows[0]["letters"] if rows else 0, rows[0]["kinds"] if rows else 0
        )


def _are(statuses: frozenset[Status]) -> str:
    """That the engine's rows have one of these; as text, so that its partial indexes are used."""
    return " OR ".join(f"q.status = '{_FEW[each]}'" for each in sorted(statuses)) or "false"


def condition(wanted: Filter, arguments: list[Any], *, in_payload: bool = True) -> str:
    """A filter in SQL, of jobs `j` and the engine's rows `q`; its arguments are added to these."""
    parts = ["true"]

    def add(text: str, argument: object) -> None:
        arguments.append(argument)
        parts.append(text.replace("?", f"${len(arguments)}"))

    if wanted.statuses is not None:
        add(f"({STATUS}) = ANY(?::text[])", [each.value for each in wanted.statuses])
    if wanted.handler is not None:
        add("j.handler = ?", wanted.handler)
    if wanted.priority is not None:
        add("j.lane = ?", int(wanted.priority))
    if wanted.key is not None:
        add("j.about->>'key' = ?", wanted.key)
    if wanted.error is not None:
        add("split_part(j.error, ':', 1) = ?", wanted.error)
    if wanted.text is not None:
        payload = "OR position(convert_to(?, 'UTF8') IN q.payload) > 0 " if in_payload else ""
        add(
            "(strpos(j.id, ?) > 0 OR strpos(coalesce(j.about->>'key', ''), ?) > 0 "
            f"OR strpos(coalesce(j.error, ''), ?) > 0 {payload}"
            "OR EXISTS (SELECT FROM jsonb_each_text(j.about->'headers') h "
            "WHERE strpos(h.value, ?) > 0))",
            wanted.text,
        )
    return " AND ".join(parts)
