"""Packages that are not there for every Python; what needs them is skipped then, and else not."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

import pytest

from jobqueue import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = [
    name
    for name in ("asyncpg", "fastapi", "flask", "msgspec", "prometheus_client", "starlette")
    if find_spec(name) is None
]
"""None of them, if the package was installed with its extra `dev`."""


@contextmanager
def skipped_without_extras() -> Iterator[None]:
    """Skip the test if something cannot be imported, and packages are missing."""
    try:
        yield
    except (ImportError, ConfigError) as error:
        if not MISSING or (isinstance(error, ConfigError) and "not installed" not in str(error)):
            raise
        pytest.skip(f"not installed on this Python: {', '.join(MISSING)} ({error})")
