"""Settings that suit programs that serve: all of their processes have one queue together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..final.wal.format.base import HAVE_MSGSPEC

if TYPE_CHECKING:
    from ..final.config import Config


def shared(config: Config) -> Config:
    """The settings, with "auto" for `share` if nothing is said on that and there is a log."""
    # Without msgspec, which some Pythons cannot have, nothing can be shared.
    if config.share is None and config.persist_path is not None and HAVE_MSGSPEC:
        return replace(config, share="auto")
    return config
