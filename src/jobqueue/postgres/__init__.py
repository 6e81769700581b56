"""A queue for many machines, on PostgreSQL: the same jobs, tasks and calls by another config.

    with tasks.open(PostgresConfig("postgresql:///shop")) as queue:
        ...

The engine is PgQueuer: its run loop, heartbeats, rescue of jobs of dead processes, and its SQL.
What is in here makes a `Queue` of it: handlers, retries, priorities and the like are those of every
queue (`jobqueue.final.engine`).

    config       the settings, which open a queue
    queue        the door: calls go from here to
    core         all parts, and what each needs of the others
    producer     enqueues                    operator, metering   look and steer
    desk         answers handles             ticking              schedules
    attempt      runs a handler              settling             writes what came of it
    repository   what the engine's loop asks, with lanes (turns), limits
    life         starts, drains, ends        keeping              looks after tables
    link, loop   connections, and the event loop on which all of it runs
    schema       tables and functions in the database: `statements`; jobs as `rows`

It needs the extra `postgres`.
"""

try:
    from .config import PostgresConfig
    from .errors import NotConnectedError, SchemaError
    from .queue import PostgresQueue
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] not in ("asyncpg", "pgqueuer"):
        raise
    raise ModuleNotFoundError(
        f"jobqueue.postgres needs {error.name}, which is not installed: pip install "
        f"'jobqueue[postgres]'",
        name=error.name,
    ) from None

__all__ = ["NotConnectedError", "PostgresConfig", "PostgresQueue", "SchemaError"]
