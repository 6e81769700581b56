"""Jobs that are enqueued by a connection of the application's are in its transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    EnqueueTimeoutError,
    Job,
    Middleware,
    NotSupportedError,
    Status,
    Unique,
    UnknownJobError,
)
from tests.support.waiting import PATIENCE

psycopg = pytest.importorskip("psycopg")
sqlalchemy = pytest.importorskip("sqlalchemy")

Opened = Any


@pytest.fixture
def queue(opened: Opened) -> Any:
    return opened(len)


def are_committed_or_never_there(queue: Any, connection: Any, commit: Any, roll_back: Any) -> None:
    """What holds for each kind of plain connection."""
    handle = queue.enqueue(Job(b"abc", id="kept"), connection=connection)
    queue.enqueue_many([Job(bytes([each])) for each in range(3)], connection=connection)
    with pytest.raises(UnknownJobError):
        queue.status("kept")
    commit()
    assert handle.result(PATIENCE) == 3
    assert len(queue.jobs()) == 4

    queue.enqueue_together([Job(id="a"), Job(id="b")], connection=connection)
    roll_back()
    with pytest.raises(UnknownJobError):
        queue.status("a")
    with pytest.raises(DuplicateJobError):  # which leaves the transaction as it was
        queue.enqueue(Job(id="kept"), connection=connection)
    queue.enqueue(Job(id="after"), connection=connection)
    commit()
    assert queue.handle("after").wait(PATIENCE) is Status.COMPLETED


def test_by_psycopg(queue: Any, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        are_committed_or_never_there(queue, connection, connection.commit, connection.rollback)


def test_what_the_application_has_its_rows_and_json_be_is_no_matter(queue: Any, dsn: str) -> None:
    import json

    import asyncpg
    from psycopg.rows import dict_row

    with psycopg.connect(dsn, row_factory=dict_row) as connection:
        are_committed_or_never_there(queue, connection, connection.commit, connection.rollback)

    async def use() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.set_type_codec(
            "jsonb", schema="pg_catalog", encoder=json.dumps, decoder=json.loads
        )
        async with connection.transaction():
            handle = await queue.aenqueue(Job(b"abc"), connection=connection)
        await connection.close()
        async with await psycopg.AsyncConnection.connect(dsn, row_factory=dict_row) as other:
            with pytest.raises(DuplicateJobError):
                await queue.aenqueue(Job(id="kept"), connection=other)
        assert await handle == 3

    asyncio.run(asyncio.wait_for(use(), PATIENCE))


def test_by_sqlalchemy(queue: Any, dsn: str) -> None:
    engine = sqlalchemy.create_engine(dsn.replace("postgresql", "postgresql+psycopg"))
    with engine.connect() as connection:
        are_committed_or_never_there(queue, connection, connection.commit, connection.rollback)
    engine.dispose()


def test_by_a_session_of_sqlalchemy(queue: Any, dsn: str) -> None:
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine(dsn.replace("postgresql", "postgresql+psycopg"))
    with Session(engine) as session:
        are_committed_or_never_there(queue, session, session.commit, session.rollback)
    engine.dispose()


@pytest.fixture
def django_connection(dsn: str) -> Iterator[Any]:
    pytest.importorskip("django")
    from tests.support import django_project

    django_project.set_up()
    from django.db import connections

    found = psycopg.conninfo.conninfo_to_dict(dsn)
    connections.settings["jobs"] = connections.configure_settings(
        {
            "default": {"ENGINE": "django.db.backends.dummy"},
            "jobs": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": found["dbname"],
                "USER": "postgres",
                "HOST": found["host"],
                "PORT": found["port"],
            },
        }
    )["jobs"]
    connection = connections.create_connection("jobs")
    yield connection
    connection.close()


def test_by_django(queue: Any, django_connection: Any) -> None:
    connection = django_connection
    connection.set_autocommit(False)
    are_committed_or_never_there(queue, connection, connection.commit, connection.rollback)


def test_by_asyncpg_and_by_an_awaited_psycopg(queue: Any, dsn: str) -> None:
    import asyncpg

    async def use() -> None:
        connection = await asyncpg.connect(dsn)
        async with connection.transaction():
            handle = await queue.aenqueue(Job(b"abc"), connection=connection)
            await queue.aenqueue_many([Job(), Job()], connection=connection)
        assert await handle == 3
        with pytest.raises(ZeroDivisionError):
            async with connection.transaction():
                await queue.aenqueue_together([Job(id="a")], connection=connection)
                raise ZeroDivisionError
        await connection.close()
        async with await psycopg.AsyncConnection.connect(dsn) as other:
            handle = await queue.aenqueue(Job(b"ab"), connection=other)
            await other.commit()
            assert await handle == 2

    asyncio.run(use())
    with pytest.raises(UnknownJobError):
        queue.status("a")


def test_by_an_awaited_sqlalchemy(queue: Any, dsn: str) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def use() -> None:
        engine = create_async_engine(dsn.replace("postgresql", "postgresql+asyncpg"))
        async with AsyncSession(engine) as session:
            handle = await queue.aenqueue(Job(b"abc"), connection=session)
            await session.commit()
            assert await handle == 3
        async with engine.connect() as connection:
            await queue.aenqueue(Job(id="a"), connection=connection)
            await connection.rollback()
        await engine.dispose()

    asyncio.run(use())
    with pytest.raises(UnknownJobError):
        queue.status("a")


def test_unique_jobs_and_full_lanes_are_seen_in_the_transaction(opened: Opened, dsn: str) -> None:
    queue = opened(len, start=False, queue_size=2)
    with psycopg.connect(dsn) as connection:
        first = queue.enqueue(Job(key="a", unique=Unique()))
        again = queue.enqueue(Job(key="a", unique=Unique()), connection=connection)
        assert (again.id, again.existing) == (first.id, True)
        mine = queue.enqueue(Job(key="b", unique=Unique()), connection=connection, delay=60)
        again = queue.enqueue(Job(key="b", unique=Unique()), connection=connection, delay=60)
        assert (again.id, again.existing) == (mine.id, True)
        queue.enqueue(Job(), connection=connection)
        with pytest.raises(EnqueueTimeoutError):
            queue.enqueue(Job(), connection=connection, timeout=0.01)


def test_a_connection_of_the_wrong_kind_is_refused(opened: Opened, dsn: str) -> None:
    queue = opened(len, start=False)

    class Layer(Middleware):
        def enqueue(self, job: Job, call_next: Any) -> Any:
            return call_next(job)

    layered = opened(len, start=False, middleware=[Layer()])

    async def use() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            with pytest.raises(TypeError, match="aenqueue"):
                queue.enqueue(Job(), connection=connection)
            with pytest.raises(NotSupportedError, match="plain"):
                await layered.aenqueue(Job(), connection=connection)
        with psycopg.connect(dsn) as plain, pytest.raises(TypeError, match="awaited"):
            await queue.aenqueue(Job(), connection=plain)
        async with pytest.importorskip("asyncpg").create_pool(dsn, min_size=1) as pool:
            with pytest.raises(TypeError, match="of a pool"):
                await queue.aenqueue(Job(), connection=pool)

    asyncio.run(use())
    with pytest.raises(TypeError, match="must be one of"):
        queue.enqueue(Job(), connection=object())
    assert queue.jobs() == []
