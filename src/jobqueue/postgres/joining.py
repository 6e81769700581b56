"""How jobs are enqueued by a connection of the application's, in its transaction.

Plain ones are psycopg's, Django's, and SQLAlchemy's `Connection` and `Session`. Awaited ones are
asyncpg's, psycopg's `AsyncConnection`, and SQLAlchemy's `AsyncConnection` and `AsyncSession`. What
SQLAlchemy has is used by way of its own call, so that it knows of the transaction.

Whose thread: the caller's, who has the connection.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from . import rows

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Rows = list[tuple[Any, ...]]

# JSON goes as text: an application's connection may have a codec of its own for `jsonb`.
_TYPES = ["text[]::jsonb[]" if kind == "jsonb[]" else kind for kind in rows.TYPES]
NUMBERED = "SELECT * FROM jobqueue_enqueue({})".format(
    ", ".join(f"${number}::{kind}" for number, kind in enumerate(_TYPES, 1))
)
"""The call that enqueues, with parameters as asyncpg writes them."""
PERCENT = "SELECT * FROM jobqueue_enqueue({})".format(", ".join(f"%s::{kind}" for kind in _TYPES))
"""The same as the Python database API has it."""


def by_plain(connection: Any) -> Callable[[tuple[Any, ...]], Rows]:
    """What enqueues by a plain connection.

    Raises:
        TypeError: it is none.
    """
    if hasattr(connection, "get_bind") and callable(getattr(connection, "connection", None)):
        connection = connection.connection()  # a Session's
    if hasattr(connection, "exec_driver_sql") and not hasattr(connection, "sync_connection"):
        return lambda arguments: list(connection.exec_driver_sql(PERCENT, arguments).fetchall())
    is_awaited = inspect.iscoroutinefunction(getattr(connection, "execute", None))
    if is_awaited or not callable(getattr(connection, "cursor", None)):
        raise TypeError(
            f"connection must be one of psycopg, Django or SQLAlchemy, not "
            f"{type(connection).__name__}; one that is awaited goes to "
            f"await queue.aenqueue(job, connection=...)"
        )

    rows_as = _tuples(connection)

    def ask(arguments: tuple[Any, ...]) -> Rows:
        with connection.cursor(**rows_as) as cursor:
            cursor.execute(PERCENT, arguments)
            return list(cursor.fetchall())

    return ask


async def by_awaited(connection: Any) -> Callable[[tuple[Any, ...]], Awaitable[Rows]]:
    """What enqueues by an awaited connection.

    Raises:
        TypeError: it is none.
    """
    if hasattr(connection, "sync_session"):
        connection = await connection.connection()
    if hasattr(connection, "sync_connection"):
        statement = NUMBERED if connection.dialect.driver == "asyncpg" else PERCENT

        async def ask_sqlalchemy(arguments: tuple[Any, ...]) -> Rows:
            return list((await connection.exec_driver_sql(statement, arguments)).fetchall())

        return ask_sqlalchemy
    if hasattr(connection, "fetch") and hasattr(connection, "is_in_transaction"):

        async def ask_asyncpg(arguments: tuple[Any, ...]) -> Rows:
            return list(await connection.fetch(NUMBERED, *arguments))

        return ask_asyncpg
    is_awaited = inspect.iscoroutinefunction(getattr(connection, "execute", None))
    if not is_awaited or not callable(getattr(connection, "cursor", None)):  # a pool has none
        raise TypeError(
            f"connection must be an awaited one of asyncpg, psycopg or SQLAlchemy, not "
            f"{type(connection).__name__}: of a pool or an engine take one, and begin its "
            f"transaction; a plain connection goes to queue.enqueue(job, connection=...)"
        )

    rows_as = _tuples(connection)

    async def ask_psycopg(arguments: tuple[Any, ...]) -> Rows:
        async with connection.cursor(**rows_as) as cursor:
            await cursor.execute(PERCENT, arguments)
            return list(await cursor.fetchall())

    return ask_psycopg


def _tuples(connection: Any) -> dict[str, Any]:
    """What has a cursor of psycopg's give tuples, whatever the application has its rows be."""
    if not hasattr(connection, "server_cursor_factory"):
        return {}
    from psycopg.rows import tuple_row

    return {"row_factory": tuple_row}
