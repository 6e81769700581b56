"""The tables and functions in the database: they are installed, upgraded and verified here.

The engine, PgQueuer, has a table of jobs that wait or run. Beside it stand tables of our own: what
is known of each job for as long as it is remembered, what is paused, the schedules, the counts of
each process. What changes both is a function in the database, so that it is one round trip and one
transaction, also within that of an application. Into those functions the engine's own statements
are put as the engine writes them: no SQL of ours changes its table but to mark a row (`stop`,
`started`, and `execute_after` of a job that is to run at once).

A version stands in `jobqueue_schema`. A process opens the queue only if it is the one that it
knows.
"""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg
from pgqueuer.adapters.persistence.qb import QueryQueueBuilder
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import QueueManagerId
from pgqueuer.queries import Queries

from .errors import SchemaError, opened
from .statements import FUNCTIONS, TABLES

if TYPE_CHECKING:
    from collections.abc import Coroutine

    Connection = Any  # asyncpg's

VERSION = 3
"""Of the tables and functions here; it goes up with each change of them.

Functions that have other parameters now are made beside the old ones, so that processes of the
release before go on until they are restarted.
"""
ENGINE = "1.6"
"""The release of the engine whose statements the functions hold."""
_LOCK = 7_041_776
"""Of an advisory lock: one process at a time installs or upgrades."""

_RIGHTS = """
SELECT version, engine,
  (SELECT bool_and(has_table_privilege(t, p))
     FROM unnest(ARRAY['pgqueuer','pgqueuer_log','jobqueue_job','jobqueue_count','jobqueue_paused',
                       'jobqueue_periodic','jobqueue_moved']) t,
          unnest(ARRAY['SELECT','INSERT','UPDATE','DELETE']) p)
  AND (SELECT bool_and(has_sequence_privilege(s, 'USAGE, UPDATE'))  -- one of them will do
     FROM unnest(ARRAY['pgqueuer_id_seq','pgqueuer_log_id_seq']) s) AS may
FROM jobqueue_schema"""


def settings() -> DBSettings:
    """The names that the engine's tables have. Its log needs no protection from a power cut."""
    return DBSettings(durability=Durability.balanced)


def install(dsn: str) -> None:
    """Make the tables and functions in a database; those that are there are brought up to date.

    Raises:
        NotConnectedError: the database cannot be reached, or may not be used.
        SchemaError: there is a newer schema, or the user may not make tables.
    """
    _run(_with_connection(dsn, converge))


def upgrade(dsn: str) -> None:
    """Bring the tables and functions of a database up to date; the same as `install`."""
    install(dsn)


def verify(dsn: str) -> None:
    """Check that a queue can be opened on this database.

    Raises:
        NotConnectedError: the database cannot be reached, or may not be used.
        SchemaError: the schema is missing, older or newer, or the user lacks rights on it.
    """
    _run(_with_connection(dsn, check))


async def converge(connection: Connection) -> None:
    """Install or upgrade on a connection of asyncpg's, which is in no transaction."""
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        try:
            if await _is_installed(connection):
                version = await connection.fetchval("SELECT version FROM jobqueue_schema")
                if version is not None and version > VERSION:
                    raise _newer(version)
            queries = Queries.from_asyncpg_connection(connection)
            queries.qbe.settings = queries.qbq.settings = settings()
            if await queries.schema_is_installed():
                await queries.upgrade()  # its statements cannot share a transaction
            else:
                await queries.install()
            async with connection.transaction():
                for statement in _statements():
                    await connection.execute(statement)
        finally:
            await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
        raise SchemaError(
            f"the tables of jobqueue could not be made: {error}; run 'jobqueue postgres install' "
            f"as the database's owner, and grant its user USAGE and CREATE on the schema"
        ) from None


async def check(connection: Connection) -> None:
    """See `verify`."""
    try:
        if not await _is_installed(connection):
            raise SchemaError(
                "the tables of jobqueue are not in this database; run: jobqueue postgres install "
                "DSN"
            )
        row = await connection.fetchrow(_RIGHTS)
    except asyncpg.InsufficientPrivilegeError as error:
        raise _no_rights(str(error)) from None
    except asyncpg.UndefinedTableError as error:
        raise _older(f"{error}") from None
    if row is None or row["version"] < VERSION:
        raise _older(f"it is of version {row and row['version']}, this release needs {VERSION}")
    if row["version"] > VERSION:
        raise _newer(row["version"])
    if row["engine"] != ENGINE:
        raise _older(f"it was made for PgQueuer {row['engine']}, this release uses {ENGINE}")
    if not row["may"]:
        raise _no_rights(
            "SELECT, INSERT, UPDATE and DELETE are needed on all of them, and USAGE on their "
            "sequences"
        )


async def _is_installed(connection: Connection) -> bool:
    return await connection.fetchval("SELECT to_regclass('jobqueue_schema')") is not None


def _statements() -> list[str]:
    """What makes our tables and functions, and may be repeated."""
    builder = QueryQueueBuilder(settings=settings())
    engine = {
        "dequeue": _dequeue(builder),
        "enqueue": builder.build_enqueue_query("raise"),
        "log": builder.build_log_job_query(),
        "retry": builder.build_retry_job_query(),
        "requeue": builder.build_requeue_jobs_query(),
        "channel": builder.settings.channel,
    }
    made = [TABLES]
    for text in FUNCTIONS:
        for name, statement in engine.items():
            text = text.replace(f"<engine {name}>", statement.strip())
        made.append(text)
    made.append("DELETE FROM jobqueue_schema")
    made.append(f"INSERT INTO jobqueue_schema (version, engine) VALUES ({VERSION}, '{ENGINE}')")
    return made


def _dequeue(builder: QueryQueueBuilder) -> str:
    """The engine's statement without limits of its own: ours are `limits`."""
    query = builder.build_dequeue_query(
        batch_size=1,
        entrypoints=[],
        concurrency_limits=[],
        queue_manager_id=QueueManagerId(UUID(int=0)),
        global_concurrency_limit=None,
        heartbeat_timeout=timedelta(),
    )
    return query.sql.strip().removesuffix(";")


def _older(what: str) -> SchemaError:
    return SchemaError(
        f"the tables of jobqueue in this database are older than this release: {what}; run: "
        f"jobqueue postgres upgrade DSN"
    )


def _newer(version: int) -> SchemaError:
    return SchemaError(
        f"the tables of jobqueue in this database are of version {version}, made by a later "
        f"release; this one knows version {VERSION}. Nothing was changed; upgrade the library: "
        f"pip install --upgrade 'jobqueue[postgres]'"
    )


def _no_rights(what: str) -> SchemaError:
    return SchemaError(
        f"this user may not use the tables of jobqueue: {what}; as their owner run: GRANT ALL ON "
        f"ALL TABLES IN SCHEMA public TO the user, and GRANT ALL ON ALL SEQUENCES likewise"
    )


async def _with_connection(dsn: str, use: Any) -> None:
    with opened(dsn):
        connection = await asyncpg.connect(dsn, timeout=10.0)
    try:
        await use(connection)
    finally:
        await connection.close()


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run it on a loop of its own, in a thread of its own: the caller's may have one running."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            asyncio.run(work)
        except BaseException as error:  # noqa: BLE001  # raised on the caller's thread instead
            failed.append(error)

    thread = threading.Thread(target=run, name="jobqueue-schema")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
