"""Jobs that come from a log: into the database as they are there, each once.

They come in batches. A batch is one transaction, so that no worker sees a job half-way. After it
the log is told; `jobqueue_moved` remembers the jobs of a batch until then. So a move that was
killed anywhere can be begun again: what the log still has and the table knows is in the database,
whatever has become of it there.

Whose thread: the caller's, which runs a loop meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import asyncpg

from . import rows, schema
from .errors import LOST, NotConnectedError, masked, opened
from .joining import NUMBERED

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..final import Attempt, Job

_HERE = """SELECT id, created, true AS is_known FROM jobqueue_job WHERE id = ANY($1)
UNION ALL SELECT id, created, false FROM jobqueue_moved WHERE id = ANY($1)"""
_IDENTITIES = "SELECT identity FROM jobqueue_job WHERE identity = ANY($1)"
_REMEMBER = """INSERT INTO jobqueue_moved (id, created)
SELECT id, created FROM jobqueue_job WHERE id = ANY($1)"""
_FORGET = "DELETE FROM jobqueue_moved WHERE id = ANY($1)"
_TELL = """UPDATE jobqueue_job j SET retries = u.retries, attempts = u.attempts,
  started = u.started, error = u.error, trace = u.trace
FROM unnest($1::text[], $2::int[], $3::jsonb[], $4::float8[], $5::text[], $6::text[])
  AS u(id, retries, attempts, started, error, trace)
WHERE j.id = u.id"""
_COUNT = """UPDATE pgqueuer q SET attempts = j.retries FROM jobqueue_job j
WHERE j.id = ANY($1) AND q.id = j.number AND j.retries > 0"""
_FAIL = """WITH failed AS (
  UPDATE jobqueue_job j SET outcome = 'failed', finished = u.finished
  FROM unnest($1::text[], $2::float8[]) AS u(id, finished) WHERE j.id = u.id RETURNING j.number
), all_of_them AS (SELECT array_agg(number) AS numbers, count(*)::int AS n FROM failed)
SELECT jobqueue_engine_log(numbers, array_fill('failed'::pgqueuer_status, ARRAY[n]),
  array_fill(NULL::jsonb, ARRAY[n])) FROM all_of_them WHERE n > 0"""
_TICK = """INSERT INTO jobqueue_periodic (name, last, settled) VALUES ($1, $2, $3)
ON CONFLICT (name) DO NOTHING"""


_TRIES = 5


class _ChangedError(Exception):
    """What was looked up a moment ago holds no more."""


class Moving(NamedTuple):
    """A job that is to be moved.

    Attributes:
        job: as it was accepted, with what is left of its time to start.
        delay: seconds until it may run.
        retries: how often it was retried.
        attempts: those that failed before.
        started: Unix time of its last attempt.
        error, trace: of that one.
        failed: Unix time at which it became a dead letter; `None` of a job that is to run.
        is_free: whether a job like it may be enqueued, though it is unique.
    """

    job: Job
    delay: float = 0.0
    retries: int = 0
    attempts: tuple[Attempt, ...] = ()
    started: float | None = None
    error: str | None = None
    trace: str | None = None
    failed: float | None = None
    is_free: bool = False


class Moved(NamedTuple):
    """What came of a batch, by ids.

    Attributes:
        new: they have come.
        there: they had come before.
        others: the database has another job of this id, so it was left where it is.
    """

    new: tuple[str, ...]
    there: tuple[str, ...]
    others: tuple[str, ...]


class Destination:
    """The database that jobs are moved to."""

    def __init__(self, dsn: str, runner: asyncio.Runner, connection: Any) -> None:
        self.where = masked(dsn)
        self._runner = runner
        self._connection = connection

    def take(self, batch: Sequence[Moving]) -> Moved:
        """Have jobs come, all of them or none.

        Raises:
            NotConnectedError: the connection is gone; nothing or all of it was done.
            NotSupportedError, ValueError: a job cannot be in a database.
        """
        for _ in range(_TRIES):
            try:
                moved: Moved = self._run(self._take(batch))
                return moved
            except _ChangedError:  # others enqueue meanwhile
                continue
        raise NotConnectedError(
            f"others keep enqueueing the same jobs on {self.where}; run the same command again "
            f"when they have ended"
        )

    def let_go(self, ids: Sequence[str]) -> None:
        """The log has been told of these."""
        self._run(self._connection.execute(_FORGET, list(ids)))

    def tick(self, name: str, at: float, *, has_job: bool) -> None:
        """A schedule's ticks up to then are dealt with, unless the database knows it already."""
        self._run(self._connection.execute(_TICK, name, at if has_job else None, at))

    def _run(self, work: Any) -> Any:
        async def run() -> Any:
            return await work

        try:
            return self._runner.run(run())
        except LOST as error:
            raise NotConnectedError(
                f"the connection to {self.where} is gone ({type(error).__name__}); run the same "
                f"command again: it goes on from where it was"
            ) from None

    async def _take(self, batch: Sequence[Moving]) -> Moved:
        async with self._connection.transaction():
            mine = {each.job.id: each for each in batch}
            here = await self._connection.fetch(_HERE, list(mine))
            # Another job may have had the id before: the time tells which one it is.
            came = {row["id"] for row in here if row["created"] == mine[row["id"]].job.created}
            there = tuple(each for each in mine if each in came)
            others = tuple(row["id"] for row in here if row["is_known"] and row["id"] not in came)
            new = [each for each in batch if each.job.id not in {*there, *others}]
            if new:
                await self.insert(new)
            return Moved(tuple(each.job.id for each in new), there, others)

    async def insert(self, new: list[Moving]) -> None:
        """Put jobs in that are not there yet; in the transaction of `take`."""
        ask, ids = self._connection, [each.job.id for each in new]
        arguments = list(
            rows.arguments([each.job for each in new], [each.delay for each in new], None)
        )
        if arguments[rows.IDENTITIES] is not None:
            arguments[rows.IDENTITIES] = await self._identities(new, arguments[rows.IDENTITIES])
        if await ask.fetch(NUMBERED, *arguments):
            raise _ChangedError
        await ask.execute(_REMEMBER, ids)
        await ask.execute(
            _TELL,
            ids,
            [each.retries for each in new],
            [rows.attempts_json(each.attempts) for each in new],
            [each.started for each in new],
            [_text(each.error) for each in new],
            [_text(each.trace) for each in new],
        )
        await ask.execute(_COUNT, ids)
        failed = [each for each in new if each.failed is not None]
        if failed:
            await ask.execute(
                _FAIL, [each.job.id for each in failed], [each.failed for each in failed]
            )

    async def _identities(
        self, new: list[Moving], identities: list[str | None]
    ) -> list[str | None]:
        """By what each is unique: a job that is there keeps a like one from it, but not away."""
        wanted = [each for each in identities if each is not None]
        taken = {row["identity"] for row in await self._connection.fetch(_IDENTITIES, wanted)}
        found: list[str | None] = []
        for moving, identity in zip(new, identities, strict=True):
            is_held = identity not in taken and not moving.is_free and moving.failed is None
            found.append(identity if is_held else None)
            if is_held:
                taken.add(identity)
        return found


@contextmanager
def destination(dsn: str) -> Iterator[Destination]:
    """Connect to a database that has the tables.

    Raises:
        NotConnectedError: it cannot be reached.
        SchemaError: it has not, or not those of this release.
    """

    async def connect() -> Any:
        with opened(dsn):
            connection = await asyncpg.connect(dsn, timeout=10.0, command_timeout=60.0)
        try:
            await schema.check(connection)
        except BaseException:
            await connection.close()
            raise
        return connection

    with asyncio.Runner() as runner:
        connection = runner.run(connect())
        try:
            yield Destination(dsn, runner, connection)
        finally:
            runner.run(_close(connection))


async def _close(connection: Any) -> None:
    try:
        await connection.close(timeout=5.0)
    except LOST:
        connection.terminate()


def _text(text: str | None) -> str | None:
    """What PostgreSQL's text can hold of it."""
    return None if text is None else text.replace("\0", "\\x00")
