"""A file system whose process dies at a chosen call: that call and all after it do nothing."""

from __future__ import annotations

from typing import Any

from jobqueue.final.wal.files import Files

CHANGING = (
    "create",
    "write",
    "write_now",
    "truncate",
    "sync",
    "sync_directory",
    "rename",
    "unlink",
)
"""The calls that change what is on the disk, or wait for it."""


class DiedError(BaseException):
    """The process is dead; no code of its own may catch this."""


class DyingFiles(Files):
    """Real files for so many changing calls, then death.

    Args:
        calls: how many changing calls are made before the process dies; `None` never dies.

    Attributes:
        made: the changing calls that were made, in order.
    """

    def __init__(self, calls: int | None = None) -> None:
        self.made: list[str] = []
        self._calls = calls

    def __getattribute__(self, name: str) -> Any:
        method = super().__getattribute__(name)
        if name not in CHANGING:
            return method

        def call(*args: Any) -> Any:
            if self._calls is not None and len(self.made) >= self._calls:
                raise DiedError(name)
            self.made.append(name)
            return method(*args)

        return call
