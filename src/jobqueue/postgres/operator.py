"""What looks at jobs and steers them: a statement each. Thread-safe.

Whose thread: callers', which wait for the queue's loop; no lock.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from ..final import JobHandle, JobInfo, Paused, Priority, Status
from ..final.engine import (
    check_id,
    check_text,
    checked_filter,
    checked_ids,
    checked_limit,
    checked_priority,
    progress_of,
    read_result,
)
from .errors import unknown
from .looking import condition
from .rows import LOOK, STATUS, TABLES, info_of, stored_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .core import Core

_AT_ONCE = 500
_BEYOND = re.compile("[\0\ud800-\udfff]")
_BY_ID = "jobqueue_job j ON j.id = u.id LEFT JOIN pgqueuer q ON q.id = j.number"


class Operator:
    """Looks and steers; its calls are those of `ports.Operator`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def fetch(self, statement: str, *arguments: object) -> list[Any]:
        """The rows that a statement gives; a caller's thread waits for them."""

        async def use(connection: Any) -> Any:
            return await connection.fetch(statement, *arguments)

        return self._core.loop.call(self._core.link.for_caller(use))

    def _row(self, job_id: str) -> Any:
        return self._core.loop.call(self._core.look(job_id))

    # ── one job ──────────────────────────────────────────────────────────────────────────────

    def _known(self, job_id: str) -> str:
        """The id, which may be that of a job."""
        job_id = check_id(job_id)
        if not _can_be(job_id):
            raise unknown(job_id)
        return job_id

    def status(self, job_id: str) -> Status:
        """See `JobQueue`."""
        found = self.fetch(f"SELECT {STATUS} FROM {TABLES} WHERE j.id = $1", self._known(job_id))
        if not found:
            raise unknown(job_id)
        return Status(found[0][0])

    def handle(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        return self._core.desk.handle_in(self._row(self._known(job_id)))

    def info(self, job_id: str) -> JobInfo:
        """See `JobQueue`."""
        row = self._row(self._known(job_id))
        stored, result = stored_in(row), None
        if stored is not None:
            try:
                result = read_result(job_id, stored, self._core.codec(row["handler"]))
            except Exception:  # noqa: BLE001  # it cannot be read here: `handle(id).result()` says why
                result = None
        return info_of(row, progress_of(self._core.progress_of(job_id)), result)

    def cancel(self, job_id: str) -> bool:
        """See `JobQueue`."""
        found = self._cancel([self._known(job_id)])
        if not found:
            raise unknown(job_id)
        return str(found[0]["what"]) != "ended"

    def _cancel(self, ids: list[str]) -> list[Any]:
        found = self.fetch("SELECT * FROM jobqueue_cancel($1)", ids)
        for row in found:
            if row["what"] == "cancelled":
                self._core.tell_finished(row["id"])
        return found

    def requeue(self, job_id: str) -> JobHandle:
        """See `JobQueue`."""
        self._core.refuse_closed()
        self._of_failed("jobqueue_requeue", self._known(job_id))
        return self.handle(job_id)

    def discard(self, job_id: str) -> None:
        """See `JobQueue`."""
        self._of_failed("jobqueue_discard", self._known(job_id))

    def _of_failed(self, function: str, job_id: str) -> None:
        if not self.fetch(f"SELECT {function}($1)", [job_id]):
            was = self.status(job_id)
            if was is Status.FAILED and self.fetch(f"SELECT {function}($1)", [job_id]):
                return  # it has failed just now
            raise ValueError(
                f"job {job_id!r} is {was.value}; only failed jobs are requeued and discarded"
            )

    # ── many jobs ────────────────────────────────────────────────────────────────────────────

    def dead_letters(self) -> list[JobInfo]:
        """See `JobQueue`."""
        found = self.fetch(f"{LOOK} WHERE q.status = 'failed' ORDER BY j.finished")
        return [info_of(row) for row in found]

    def jobs(self, *, limit: int = 100, before: str | None = None, **like: Any) -> list[JobInfo]:
        """See `JobQueue`."""
        arguments: list[Any] = []
        where = condition(checked_filter(**like), arguments)
        if before is not None:
            arguments.append(self.number(before))
            where += f" AND j.number < ${len(arguments)}"
        arguments.append(checked_limit(limit))
        found = self.fetch(
            f"{LOOK} WHERE {where} ORDER BY j.number DESC LIMIT ${len(arguments)}", *arguments
        )
        return [info_of(row, progress_of(self._core.progress_of(row["id"]))) for row in found]

    def number(self, job_id: str) -> int:
        """The engine's number of a job: those accepted before it have smaller ones."""
        return int(self._row(self._known(job_id))["number"])

    def _ids(
        self, limit: object, ids: Iterable[str] | None, like: dict[str, Any], where: str
    ) -> list[str]:
        """The jobs that fit, oldest first; of `ids`, if these are given, in their order."""
        arguments: list[Any] = [None if limit is None else checked_limit(limit)]
        tables, order = TABLES, "j.number"
        if ids is not None:
            arguments.append([each for each in dict.fromkeys(checked_ids(ids)) if _can_be(each)])
            tables = f"unnest($2::text[]) WITH ORDINALITY u(id, place) JOIN {_BY_ID}"
            order = "u.place"
        more = condition(checked_filter(**like), arguments)
        found = self.fetch(
            f"SELECT j.id FROM {tables} WHERE {more} AND {where} ORDER BY {order} LIMIT $1",
            *arguments,
        )
        return [row["id"] for row in found]

    def cancel_jobs(
        self, *, limit: int | None = None, ids: Iterable[str] | None = None, **like: Any
    ) -> int:
        """See `JobQueue`."""
        self._core.refuse_closed()
        done = 0
        for some in _chunks(self._ids(limit, ids, like, "j.outcome IS NULL")):
            done += sum(row["what"] != "ended" for row in self._cancel(some))
        return done

    def requeue_jobs(
        self, *, limit: int | None = None, ids: Iterable[str] | None = None, **like: Any
    ) -> int:
        """See `JobQueue`."""
        return self._do("jobqueue_requeue", limit, ids, like, "q.status = 'failed'")

    def discard_jobs(
        self, *, limit: int | None = None, ids: Iterable[str] | None = None, **like: Any
    ) -> int:
        """See `JobQueue`."""
        return self._do("jobqueue_discard", limit, ids, like, "q.status = 'failed'")

    def run_now(
        self, *, limit: int | None = None, ids: Iterable[str] | None = None, **like: Any
    ) -> int:
        """See `JobQueue`."""
        where = "q.status = 'queued' AND q.execute_after > now()"
        return self._do("jobqueue_run_now", limit, ids, like, where)

    def _do(
        self,
        function: str,
        limit: object,
        ids: Iterable[str] | None,
        like: dict[str, Any],
        where: str,
    ) -> int:
        self._core.refuse_closed()
        found = self._ids(limit, ids, like, where)
        return sum(len(self.fetch(f"SELECT {function}($1)", some)) for some in _chunks(found))

    # ── pausing ──────────────────────────────────────────────────────────────────────────────

    def pause(self, handler: str | None, priority: Priority | None, periodic: str | None) -> None:
        """See `JobQueue`; it holds for all processes, until `resume`."""
        self._steer(
            "INSERT INTO jobqueue_paused SELECT * FROM unnest($1::text[], $2::text[]) "
            "ON CONFLICT DO NOTHING",
            _what(handler, priority, periodic),
        )

    def resume(self, handler: str | None, priority: Priority | None, periodic: str | None) -> None:
        """See `JobQueue`."""
        self._steer(
            "DELETE FROM jobqueue_paused WHERE (kind, name) IN "
            "(SELECT * FROM unnest($1::text[], $2::text[]))",
            _what(handler, priority, periodic),
        )

    def _steer(self, statement: str, what: list[tuple[str, str]]) -> None:
        async def use(connection: Any) -> None:
            async with connection.transaction():
                kinds, names = [each for each, _ in what], [each for _, each in what]
                await connection.execute(statement, kinds, names)
                await connection.execute("SELECT pg_notify('jobqueue_steer', '')")

        async def steer() -> None:
            await self._core.link.for_caller(use)
            await self.steer()

        self._core.loop.call(steer())

    async def steer(self) -> None:
        """See what is paused. The loop."""
        rows = await self._core.link.for_caller(
            lambda connection: connection.fetch("SELECT kind, name FROM jobqueue_paused")
        )
        names: dict[str, set[str]] = {"all": set(), "handler": set(), "lane": set(), "tick": set()}
        for kind, name in rows:
            names[kind].add(name)
        self._core.paused = Paused(
            bool(names["all"]),
            frozenset(names["handler"]),
            frozenset(Priority(int(each)) for each in names["lane"]),
            frozenset(names["tick"]),
        )
        self._core.wake()

    def paused(self) -> Paused:
        """See `JobQueue`."""
        self._core.loop.call(self.steer())
        return self._core.paused


def _what(
    handler: str | None, priority: Priority | None, periodic: str | None
) -> list[tuple[str, str]]:
    found = []
    if handler is not None:
        found.append(("handler", check_text("handler", handler)))
    if priority is not None:
        found.append(("lane", str(int(checked_priority(priority)))))
    if periodic is not None:
        found.append(("tick", check_text("periodic", periodic)))
    return found or [("all", "")]


def _can_be(job_id: str) -> bool:
    """Whether PostgreSQL's text can hold it; else no job has it."""
    return _BEYOND.search(job_id) is None


def _chunks(ids: list[str]) -> list[list[str]]:
    return [ids[begin : begin + _AT_ONCE] for begin in range(0, len(ids), _AT_ONCE)]
