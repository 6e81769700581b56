"""Reads on behind bytes that the disk cannot give back any more."""

from __future__ import annotations

import errno

from ..files import Files

__all__ = ["PatientFiles", "blames_the_file"]

_BLOCK_BYTES = 4096
_FAULTS = frozenset({errno.EINVAL, errno.EIO, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENXIO})


def blames_the_file(error: OSError) -> bool:
    """Tell whether the fault lies with the file, and not with whoever tries to read it."""
    return error.errno in _FAULTS


class PatientFiles(Files):
    """Gives NULs for blocks whose reading fails with `EIO`; for one reader of one file at a time.

    Attributes:
        unreadable: where there were such blocks in the file that was opened last.
    """

    def __init__(self, files: Files) -> None:
        self.unreadable: list[range] = []
        self._files = files

    def list_directory(self, path: str) -> list[str]:
        """See `Files`."""
        return self._files.list_directory(path)

    def open_read(self, path: str) -> int:
        """See `Files`."""
        self.unreadable = []
        return self._files.open_read(path)

    def size_of(self, path: str) -> int:
        """See `Files`."""
        return self._files.size_of(path)

    def close(self, fd: int) -> None:
        """See `Files`."""
        self._files.close(fd)

    def read(self, fd: int, size: int, offset: int) -> bytes:
        """Read up to `size` bytes, some of which may be NULs instead of what they should be."""
        try:
            return self._files.read(fd, size, offset)
        except OSError:
            pass  # in which block it is, and whether it may be passed over, shows below
        return b"".join(self._read_blocks(fd, offset, min(offset + size, self._files.size(fd))))

    def _read_blocks(self, fd: int, offset: int, end: int) -> list[bytes]:
        blocks = []
        while offset < end:
            stop = min(end, offset - offset % _BLOCK_BYTES + _BLOCK_BYTES)
            blocks.append(self._read_block(fd, offset, stop))
            offset = stop
        return blocks

    def _read_block(self, fd: int, offset: int, stop: int) -> bytes:
        try:
            return self._files.read(fd, stop - offset, offset)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        self.unreadable.append(range(offset, stop))
        return bytes(stop - offset)
