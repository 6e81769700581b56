"""The settings of a queue on PostgreSQL, as the command line and the environment give them.

`jobqueue.postgres` is imported only if they ask for it: it needs the extra `postgres`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..final.errors import ConfigError
from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..postgres import PostgresConfig

DSN = "JOBQUEUE_DSN"
"""Environment variable: where the database is, if nothing else says where the queue is."""


def dsn_given() -> str | None:
    """What the environment says."""
    return os.environ.get(DSN) or None


def on_postgres(dsn: str, **settings: Any) -> PostgresConfig:
    """The settings of a queue on this database.

    Raises:
        ImportError: the extra is not installed.
        ConfigError: a value cannot work.
        TypeError: a setting is none of `PostgresConfig`.
    """
    try:
        from ..postgres import PostgresConfig
    except ImportError as error:
        raise ImportError(
            f"a queue on PostgreSQL is asked for ({DSN}, or dsn), and {error}", name=error.name
        ) from None
    return PostgresConfig(dsn, **settings)


@contextmanager
def reached(dsn: str | None) -> Iterator[str]:
    """Within this a command uses a database: what goes wrong is told, with what to do.

    Args:
        dsn: as it was given; `None`: as the environment has it.

    Raises:
        CommandError: no database is named, it cannot be reached, its tables are not as they should
            be, or the extra is not installed.
    """
    place = dsn or dsn_given()
    if place is None:
        raise CommandError(
            Exit.USAGE,
            f"no database is named: give its DSN, as in postgresql://user@host/shop, or set {DSN}",
        )
    try:
        on_postgres(place)
    except (ImportError, ConfigError) as error:
        raise CommandError(Exit.USAGE, str(error)) from None
    from ..postgres import NotConnectedError, SchemaError

    try:
        yield place
    except NotConnectedError as error:
        raise CommandError(Exit.SYSTEM, str(error)) from None
    except SchemaError as error:
        raise CommandError(Exit.VERSION, str(error)) from None
    except ConfigError as error:
        raise CommandError(Exit.USAGE, str(error)) from None
