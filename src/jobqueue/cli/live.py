"""A steady view of log files that a queue is writing to."""

from __future__ import annotations

from ..final.wal.files import Files

_BLOCK_BYTES = 1 << 16


class LiveFiles(Files):
    """Ends each file where its last byte stood when it was opened; for one thread.

    A queue appends with bytes that are never NUL, into space that is. A reader that met this space
    while the queue wrote on behind it would see a hole that never was. Cut off at the last byte
    that is there already, the file holds still: only its last batch may be half there.
    """

    def __init__(self) -> None:
        self._ends: dict[int, int] = {}

    def open_read(self, path: str) -> int:
        """Open a file, and note where it ends."""
        fd = super().open_read(path)
        try:
            self._ends[fd] = self._find_end(fd)
        except BaseException:
            super().close(fd)
            raise
        return fd

    def _find_end(self, fd: int) -> int:
        end = self.size(fd)
        while end:
            start = max(0, end - _BLOCK_BYTES)
            data = super().read(fd, end - start, start).rstrip(b"\0")
            if data:
                return start + len(data)
            end = start
        return 0

    def reserved(self, path: str) -> int:
        """How many bytes a file has behind its last one: space that the queue has reserved."""
        fd = self.open_read(path)
        try:
            return self.size(fd) - self._ends[fd]
        finally:
            self.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read, but not beyond the end that was noted."""
        return super().read(fd, max(0, min(size, self._ends[fd] - offset)), offset)

    def close(self, fd: int) -> None:
        """Close a file."""
        del self._ends[fd]
        super().close(fd)
