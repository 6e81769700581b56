"""The settings of a queue on PostgreSQL, as the command line and the environment give them.

`jobqueue.postgres` is imported only if they ask for it: it needs the extra `postgres`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
            f"a queue on PostgreSQL ({DSN}, or dsn) needs the extra 'postgres' ({error}): "
            f"pip install 'jobqueue[postgres]'",
            name=error.name,
        ) from None
    return PostgresConfig(dsn, **settings)
