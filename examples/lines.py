"""Files of one line per fact, written by a process that may be killed, read by another."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self


class LineWriter:
    """Appends lines. Each is handed to the kernel by one `write`, so that a line whose `add`
    has returned outlives a SIGKILL of this process. Safe from any thread.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab", buffering=0)

    def add(self, line: str) -> None:
        self._file.write(f"{line}\n".encode())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()


class LineReader:
    """Reads a file of lines while it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def new(self) -> list[str]:
        """Return the whole lines added since the last call; none while there is no file."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as file:
            file.seek(self._offset)
            whole, newline, _unfinished = file.read().rpartition(b"\n")
        self._offset += len(whole) + len(newline)
        return whole.decode().splitlines()
