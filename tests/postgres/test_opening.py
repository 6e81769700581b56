"""What a database must have for a queue to open on it: each error says what to run."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import threading
from typing import Any

import pytest

from jobqueue.final import (
    ConfigError,
    Job,
    JobQueue,
    NotSupportedError,
    QueueClosedError,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support.forks import in_fork
from tests.support.waiting import PATIENCE

Opened = Any


def refusal(dsn: str, **settings: Any) -> str:
    from jobqueue.postgres import NotConnectedError, PostgresConfig, SchemaError

    with pytest.raises((NotConnectedError, SchemaError, ConfigError)) as raised:
        PostgresConfig(dsn, **settings).open(handler=len)
    assert "secret" not in "".join(map(str, (raised.value, raised.value.__cause__)))
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
    return str(raised.value)


def test_without_a_server_it_says_where_it_looked(databases: Any) -> None:
    told = refusal("postgresql://shop:secret@127.0.0.1:1/shop")

    assert "postgresql://shop@127.0.0.1:1/shop" in told
    assert "start the server" in told


@pytest.mark.parametrize(
    "dsn",
    [
        "postgre://shop:secret@127.0.0.1/shop",
        "nothing",
        "shop:secret@127.0.0.1/a",
        "postgresql://shop:secret@127.0.0.1:x/a",
        "postgresql://shop:secret@127.0.0.1:99999/a",
        "postgresql://shop:a/secret@127.0.0.1/a",
        "host=127.0.0.1 user=shop password='very secret'",
    ],
)
def test_a_dsn_that_cannot_be_read_is_refused(databases: Any, dsn: str) -> None:
    assert "cannot be read" in refusal(dsn)


def test_a_database_that_is_not_there_or_has_no_tables(databases: Any) -> None:
    assert "createdb" in refusal(databases.dsn("not_there"))
    assert "jobqueue postgres install" in refusal(databases.make(installed=False))


def test_an_unknown_user_and_one_without_rights(databases: Any, dsn: str) -> None:
    from jobqueue.postgres import PostgresConfig, SchemaError, schema

    name = dsn.rpartition("/")[2]
    assert "user" in refusal(dsn.replace("postgres@", "nobody_at_all:secret@"))
    databases.execute("DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN", database=name)
    assert "GRANT" in refusal(dsn.replace("postgres@", "guest@"))
    databases.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
    assert "GRANT CONNECT" in refusal(dsn.replace("postgres@", "guest@"))
    databases.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")
    assert "parameters" in refusal(f"{dsn}?not_there=1")
    databases.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO guest", database=name)
    assert "INSERT" in refusal(dsn.replace("postgres@", "guest@"))
    databases.execute("GRANT ALL ON ALL TABLES IN SCHEMA public TO guest", database=name)
    assert "SEQUENCES" in refusal(dsn.replace("postgres@", "guest@"))
    databases.execute("GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO guest", database=name)
    with PostgresConfig(dsn.replace("postgres@", "guest@")).open(handler=len) as queue:
        assert queue.enqueue(Job(b"ab")).result(PATIENCE) == 2
    databases.execute("REVOKE USAGE ON SCHEMA public FROM PUBLIC", database=name)
    with pytest.raises(SchemaError, match="grant its user USAGE"):
        schema.install(dsn.replace("postgres@", "guest@"))


@pytest.mark.parametrize(
    ("change", "remedy"),
    [
        ("version = version + 1", "pip install --upgrade"),
        ("version = version - 1", "jobqueue postgres upgrade"),
        ("engine = '1.5'", "jobqueue postgres upgrade"),
    ],
)
def test_another_schema_is_refused_and_those_who_are_open_go_on(
    databases: Any, change: str, remedy: str
) -> None:
    from jobqueue.postgres import PostgresConfig, SchemaError, schema

    dsn = databases.make(installed=False)
    schema.install(dsn)
    with PostgresConfig(dsn).open(handler=len) as queue:
        databases.execute(f"UPDATE jobqueue_schema SET {change}", database=dsn.rpartition("/")[2])

        assert remedy in refusal(dsn)
        with pytest.raises(SchemaError):
            schema.verify(dsn)
        assert queue.enqueue(Job(b"ab")).result(PATIENCE) == 2
    if "upgrade DSN" in refusal(dsn):
        schema.upgrade(dsn)
        schema.verify(dsn)
    else:
        with pytest.raises(SchemaError, match="later release"):
            schema.upgrade(dsn)


def test_channels_are_listened_to_one_after_the_other(databases: Any) -> None:
    """The connection that listens does one thing at a time, and is not taken for lost by it."""
    from jobqueue.final.engine import Reporter
    from jobqueue.postgres import PostgresConfig
    from jobqueue.postgres.link import Link

    async def run() -> None:
        link = Link(PostgresConfig(databases.make()), Reporter())
        await link.open()
        try:
            heard = [asyncio.Queue[str]() for _ in range(3)]
            async with asyncio.TaskGroup() as group:
                for number, notices in enumerate(heard):
                    group.create_task(link.add_listener(f"channel{number}", notices.put_nowait))
                group.create_task(link.check())
            for number, notices in enumerate(heard):
                await link.notify(f"channel{number}", "there")
                assert await asyncio.wait_for(notices.get(), PATIENCE) == "there"
            assert (link.connected, link.reconnects) == (True, 0)
        finally:
            await link.close()

    asyncio.run(run())


def test_an_upgrade_keeps_the_jobs(databases: Any) -> None:
    from jobqueue.postgres import PostgresConfig, schema

    dsn = databases.make(installed=False)
    schema.install(dsn)
    with PostgresConfig(dsn).open(handler=len, start=False) as queue:
        queue.enqueue(Job(b"abc", id="a"))
    schema.install(dsn)
    schema.upgrade(dsn)

    with PostgresConfig(dsn).open(handler=len) as queue:
        assert queue.handle("a").result(PATIENCE) == 3


def test_a_pool_that_is_too_small_and_a_server_without_room() -> None:
    pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
    from jobqueue.postgres import PostgresConfig
    from tests.support.postgres import Server

    with pytest.raises(ConfigError, match="pool_size must be a whole number >= 2, not 1"):
        PostgresConfig("postgresql:///shop", pool_size=1)
    server = Server(max_connections="5", superuser_reserved_connections="0")
    try:
        import psycopg

        held = [psycopg.connect(server.dsn("postgres")) for _ in range(5)]
        assert "max_connections" in refusal(server.dsn("postgres"))
        for each in held:
            each.close()
    finally:
        server.close()


def test_the_password_is_in_no_message_and_not_in_the_repr(
    databases: Any, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    from jobqueue.postgres import PostgresConfig

    config = PostgresConfig(dsn.replace("postgres@", "postgres:secret@"), num_workers=2)
    assert repr(config) == f"PostgresConfig({dsn!r}, num_workers=2)"
    with caplog.at_level(logging.DEBUG), config.open(handler=len) as queue:
        databases.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'jobqueue%'",
            database=dsn.rpartition("/")[2],
        )
        assert queue.enqueue(Job(b"ab")).result(PATIENCE) == 2
    for record in caplog.records:
        assert "secret" not in record.getMessage()
    for given in (
        "host=db user=shop password=secret dbname=shop",
        "postgresql://shop@db/shop?password=secret",
        "postgresql://shop:a@b/secret@db/shop",
        "postgresql:///shop:secret@db/shop",
        "postgresql:/shop:secret@db/shop",
        "shop:secret@db/shop",
        "//shop:secret@db/shop",
        "host=db user=shop password = 'very secret'",
        "host=db user=shop password='very secret",
        "host=db user=shop password=very\\ secret",
        "host=db user=shop password=a&secret",
    ):
        assert "secret" not in repr(PostgresConfig(given))


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"heartbeat_timeout": 0.01}, "heartbeat_timeout"),
        ({"heartbeat_timeout": "1"}, "heartbeat_timeout"),
        ({"jitter": 2}, "jitter"),
        ({"executor": "process"}, "executor"),
        ({"pool_size": 2.0}, "pool_size"),
    ],
)
def test_a_setting_that_cannot_work_is_named(settings: dict[str, Any], field: str) -> None:
    pytest.importorskip("asyncpg")
    from jobqueue.postgres import PostgresConfig

    with pytest.raises(ConfigError, match=field):
        PostgresConfig("postgresql:///shop", **settings)
    with pytest.raises(ConfigError, match="dsn"):
        PostgresConfig(None)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"config\.open"):
        JobQueue(PostgresConfig("postgresql:///shop"))  # type: ignore[arg-type]


# ── what it does not have ────────────────────────────────────────────────────────────────────────


def test_what_it_does_not_have_is_refused_and_nothing_is_done(opened: Opened) -> None:
    queue = opened(len, start=False)
    first = queue.enqueue(Job())

    with pytest.raises(NotSupportedError, match="after"):
        queue.enqueue(Job(after=[first]))
    with pytest.raises(NotSupportedError, match="after"):
        queue.enqueue_many([Job(), Job(after=[first])])
    with pytest.raises(NotSupportedError, match="run_all"):
        run_all(queue)
    with pytest.raises(NotSupportedError, match="time"):
        opened(len, clock=ManualClock())
    with pytest.raises(ValueError, match="could not find"):
        queue.enqueue_with_handler(Job(), lambda payload: None)
    assert len(queue.jobs()) == 1


def test_deaths_of_processes_are_not_counted() -> None:
    pytest.importorskip("asyncpg")
    from jobqueue.postgres import PostgresConfig

    with pytest.raises(TypeError, match="max_crashes"):
        PostgresConfig("postgresql:///shop", max_crashes=3)  # type: ignore[call-arg]


def test_it_has_a_call_of_its_own_for_each_of_an_embedded_queue(opened: Opened) -> None:
    from jobqueue.postgres import PostgresQueue

    inherited = {"handler"}  # calls `register`
    for name in dir(JobQueue):
        if not name.startswith("_"):
            is_own = getattr(PostgresQueue, name) is not getattr(JobQueue, name)
            assert is_own or name in (*inherited, "aclose"), name


# ── this process ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_child_has_no_part_of_it(opened: Opened) -> None:
    queue = opened(len)

    def ask() -> str:
        try:
            queue.enqueue(Job())
        except QueueClosedError:
            return "refused"
        return "accepted"

    assert in_fork(ask) == "refused"
    assert queue.enqueue(Job(b"ab")).result(PATIENCE) == 2


def test_a_closed_queue_takes_nothing_and_its_threads_are_gone(opened: Opened) -> None:
    before = set(threading.enumerate())
    queue = opened(len)
    handle = queue.enqueue(Job())
    handle.wait(PATIENCE)
    assert queue.close() == queue.close()

    assert set(threading.enumerate()) - before == set()
    with pytest.raises(QueueClosedError):
        queue.enqueue(Job())
    with pytest.raises(QueueClosedError):
        queue.register("late", len)
    assert handle.status.value == "completed"


def test_what_is_installed_does_not_change_without_a_new_version() -> None:
    """If this fails: raise `schema.VERSION`, and write the new pair here."""
    pytest.importorskip("pgqueuer", reason="the extra 'postgres' is not installed")
    from jobqueue.postgres import schema, statements

    text = "\n".join((statements.TABLES, *statements.FUNCTIONS))

    assert (schema.VERSION, hashlib.sha256(text.encode()).hexdigest()[:16]) == (
        3,
        "e5de773a7a8de766",
    )
