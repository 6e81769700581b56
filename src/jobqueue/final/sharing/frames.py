"""Frames: how messages are cut out of the stream of bytes that a socket is.

Four bytes tell the length, most significant first; so many bytes follow. What is in them is told
in `messages.py`. Any thread; no lock, for each stream has one reader.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from ..errors import JobQueueError

if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME_BYTES_MAX = 256 * 1024 * 1024
"""A payload has at most 128 MiB, and a call of many jobs may be cut in several."""
GREETING_BYTES_MAX = 64 * 1024
"""Until the other side has said who it is, nothing longer is taken from it."""

_LENGTH = struct.Struct(">I")


class FrameError(JobQueueError):
    """What was received is no frame, or one that is too long: the connection is of no use."""


def framed(body: bytes) -> bytes:
    """A message as it is sent.

    Raises:
        ValueError: it is too long.
    """
    # guard: no frame is sent that its receiver would refuse
    if len(body) > FRAME_BYTES_MAX:
        raise ValueError(
            f"a call of {len(body)} bytes is too large to be sent to the queue's owner; at most "
            f"{FRAME_BYTES_MAX} can be: enqueue fewer jobs at a time"
        )
    return _LENGTH.pack(len(body)) + body


class Splitter:
    """Cuts one stream into messages.

    Attributes:
        bytes_max: how long the next one may be; what is kept of an unfinished one is bounded by it.
    """

    __slots__ = ("_kept", "bytes_max")

    def __init__(self, bytes_max: int = GREETING_BYTES_MAX) -> None:
        self.bytes_max = bytes_max
        self._kept = bytearray()

    @property
    def is_within(self) -> bool:
        """Whether some of a message has come, and not all of it."""
        return bool(self._kept)

    def split(self, data: bytes) -> Iterator[bytes]:
        """The messages that are whole with this data.

        Raises:
            FrameError: a length is out of bounds.
        """
        if self._kept:
            self._kept += data
            data = bytes(self._kept) if self._is_whole() else b""
        start, size = 0, len(data)
        while size - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(data, start)
            # guard: no frame is longer than is bearable
            if length > self.bytes_max:
                raise FrameError(f"a frame of {length} bytes; {self.bytes_max} may be sent")
            end = start + _LENGTH.size + length
            if end > size:
                break
            yield data[start + _LENGTH.size : end]
            start = end
        if data:
            self._kept = bytearray(data[start:])

    def _is_whole(self) -> bool:
        """Whether there is a message in what is kept, or a length that is out of bounds."""
        if len(self._kept) < _LENGTH.size:
            return False
        length: int = _LENGTH.unpack_from(self._kept)[0]
        return length > self.bytes_max or len(self._kept) >= _LENGTH.size + length
