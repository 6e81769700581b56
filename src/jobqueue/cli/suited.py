"""Settings that suit programs that serve: all of their processes have one queue together."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

from ..final.config import Config

_CAN_SHARE = any(field.name == "share" for field in fields(Config))


def shared(config: Config) -> Config:
    """The settings, with "auto" for `share` if nothing is said on that and there is a log."""
    if _CAN_SHARE and config.persist_path is not None and getattr(config, "share", "") is None:
        settings: dict[str, Any] = {"share": "auto"}
        return replace(config, **settings)
    return config
