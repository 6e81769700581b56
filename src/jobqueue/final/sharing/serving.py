"""How a queue comes to serve other processes. On the thread that makes it; no lock."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ..errors import ConfigError
from ..life.wiring import closed_on_error
from ..wal.format.base import HAVE_MSGSPEC

if TYPE_CHECKING:
    from ..config import Config
    from ..life.wiring import Parts
    from ..steering import Steering


def check_msgspec() -> None:
    """Raise `ConfigError` if there is nothing to write messages with."""
    if not HAVE_MSGSPEC:
        raise ConfigError(
            "share and control need the package msgspec, which is not installed: pip install "
            "msgspec, on a Python that it can be had for"
        )


def serve(desk: Steering, parts: Parts, config: Config, *, takes_jobs: bool) -> None:
    """Let other processes have a queue, until it ends. If that cannot be, it is closed.

    Args:
        takes_jobs: whether they may enqueue, and not only look at it and steer it.

    Raises:
        OSError: there can be no socket.
        ConfigError: msgspec is not installed.
    """
    check_msgspec()
    from .server import Server  # imported here: most queues are one process's

    assert config.persist_path is not None  # `Config` sees to it
    directory = os.path.abspath(config.persist_path)
    with closed_on_error(parts.life):
        Server(desk, parts, config, directory, takes_jobs=takes_jobs)
