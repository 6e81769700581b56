"""Settings that suit programs that serve, and what a worker says of them at its start."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..final.wal.format.base import HAVE_MSGSPEC
from .logs import logger

if TYPE_CHECKING:
    from ..final.config import Config
    from ..final.job_queue import JobQueue


def shared(config: Config) -> Config:
    """The settings, with "auto" for `share` if nothing is said on that and there is a log."""
    # Without msgspec, which some Pythons cannot have, nothing can be shared.
    if config.share is None and config.persist_path is not None and HAVE_MSGSPEC:
        return replace(config, share="auto")
    return config


def no_worker(config: Any, remedy: str) -> str | None:
    """Why a worker with these settings would never run a job; `None` if it would.

    Args:
        config: a `Config`, or the settings of another engine.
        remedy: what to give it in place of "client".
    """
    if getattr(config, "share", None) != "client":
        return None
    return (
        "the settings say share='client', which never runs jobs; they are for the processes "
        f"beside this one: give this one {remedy}"
    )


def tell_start(name: str, queue: JobQueue) -> None:
    """Log what a worker serves, and warn if nobody else can give it work."""
    config = queue.config
    database: str | None = getattr(config, "where", None)  # of a queue on PostgreSQL
    where = "in memory" if config.persist_path is None else os.fspath(config.persist_path)
    logger.info(
        "%s: serving %s (%s), %d at a time", name, database or where, config.executor,
        config.num_workers,
    )  # fmt: skip
    if config.persist_path is None and database is None:
        logger.warning(
            "the queue is in memory: no other process can enqueue into it, and nothing outlives "
            "this one; name a directory by persist_path"
        )
