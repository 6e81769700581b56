"""The errors of a queue on PostgreSQL, and how the driver's become them.

A DSN has a password in it, perhaps. No message has more of it than `masked` leaves.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import asyncpg

from ..final import ConfigError, JobQueueError, UnknownJobError

if TYPE_CHECKING:
    from collections.abc import Iterator

LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,  # the server stops, or starts
    asyncpg.TooManyConnectionsError,
)
"""What the driver raises if the connection is gone, or cannot be had: it is worth another try."""


AGAIN = (
    *LOST,
    asyncpg.TransactionRollbackError,  # what two transactions do to each other, as a deadlock
    asyncpg.ReadOnlySQLTransactionError,  # a standby that takes over, a server that saves its disk
    asyncpg.InsufficientResourcesError,  # the disk is full, say
)
"""The same, and what the database refuses now and may take later: it is worth another try."""


class NotConnectedError(JobQueueError, ConnectionError):
    """The database could not be reached. A call that was on its way may have been carried out."""


class SchemaError(JobQueueError):
    """The tables in the database are missing, or not those of this release, or may not be used."""


def masked(dsn: str) -> str:
    """Where a DSN leads, without its password."""
    is_url = "://" in dsn
    end = r"[^&\s]" if is_url else r"\S"  # in libpq's "user=u password=p" an "&" ends nothing
    text = re.sub(
        rf"(?i)(password|passfile|sslpassword)\s*=\s*('(?:[^'\\]|\\.)*(?:'|$)|(?:\\.|{end})*)",
        r"\1=***",
        dsn,
    )
    # Up to the last "@": a password may have an "@" or a "/" in it that was to be written "%40".
    if not is_url:  # it cannot be read, but what stands where a password does may be one
        return re.sub(r"^.*:.*@", "***@", text, flags=re.DOTALL)
    return re.sub(r"(:///?[^:/@?#]*):.*@", r"\1@", text, flags=re.DOTALL)


@contextmanager
def opened(dsn: str) -> Iterator[None]:
    """Within this a first connection is made: its errors are told, with what to do."""
    where = masked(dsn)
    try:
        yield
    except (asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError) as error:
        raise _refused(where, error, "look at user and password in the DSN") from None
    except asyncpg.InsufficientPrivilegeError as error:
        raise _refused(where, error, "GRANT CONNECT on the database to this user") from None
    except asyncpg.InvalidCatalogNameError as error:
        raise _refused(where, error, "make the database first: createdb NAME") from None
    except asyncpg.TooManyConnectionsError as error:
        raise _refused(
            where, error, "raise the server's max_connections, or set a smaller pool_size"
        ) from None
    except (asyncpg.ClientConfigurationError, ValueError, OverflowError) as error:
        del error  # its text may have all of the DSN in it
        raise ConfigError(
            f"the DSN {where!r} cannot be read; write postgresql://user@host:5432/database"
        ) from None
    except LOST as error:
        raise _refused(where, error, "start the server, or look at host and port") from None
    except asyncpg.PostgresError as error:
        raise _refused(where, error, "look at the DSN's parameters") from None


def _refused(where: str, error: BaseException, what: str) -> NotConnectedError:
    told = str(error) or type(error).__name__
    return NotConnectedError(f"no connection to {where}: {told}; {what}")


def unknown(job_id: str) -> UnknownJobError:
    """The error for a job that is not there."""
    return UnknownJobError(
        f"no job {job_id!r} is known: it never was, was discarded, or was forgotten, as the oldest "
        f"are of more jobs than status_retention, or dead letters than max_dead_letters"
    )
