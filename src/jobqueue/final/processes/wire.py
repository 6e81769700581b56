"""What a queue and the processes of its handlers say to each other, and over what.

A process has two sockets and a pipe. On the first socket (`Channel`) it is told to load a
handler or to run an attempt, and answers. One frame of the queue's is followed by one answer. In
between an attempt may tell of its progress, and of jobs that it enqueues, which the queue answers.
The second socket carries what may come in the middle of an attempt: that it is to stop. A process
that cannot go on says why on it. Nothing is ever written to the pipe: it ends with the queue's
process.

A handler may write to any file descriptor of its process, by mistake also to these. So each frame
carries checksums: what is no frame is never taken for an answer.
"""

from __future__ import annotations

import marshal
import select
import signal
import socket
import struct
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

# From the queue: the frame's number is that of the handler.
LOAD = 1  # body: a pickled `Reference`
RUN = 2  # body: an `Assignment`, see `packed`
EXIT = 4
HELD = 11  # the answer to a `HOLD_BACK`, with its number; body: nothing, or the pickled error

# From the process.
LOADED = 5
RETURNED_NONE = 6
RETURNED = 7  # body: the pickled result
RAISED = 8  # body: a pickled `RemoteError`
PROGRESS = 9  # body: a `Told`, see `packed`; any number of them come before an answer
HOLD_BACK = 10  # body: pickled jobs that the handler enqueues by returning; likewise

# On the second socket: the attempt that is to stop, or that the queue's `close` has begun.
ORDER = struct.Struct("<Q")
CLOSING = 0  # in place of an attempt's number

GAVE_UP = 70
"""The exit code of a process that could not go on, and said why on the second socket."""
REASON_BYTES_MAX = 4 * 1024

FORM = 7
"""The form of all this: to be counted up with each change, for the queue may have been installed
anew under a program that runs, and a process is started with the new one."""

MARK = "JOBQUEUE_PROCESS_OF"
"""An environment variable that a process finds while it starts: its owner's process id."""

GROUP_SIGNALS = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGQUIT,
    signal.SIGUSR1,
    signal.SIGUSR2,
)
"""Signals that users and terminals send to a whole process group: the owner alone acts on them."""

_HEAD = struct.Struct("<QQBI")  # length of the body, number, kind, checksum of the body
_SUM = struct.Struct("<I")  # checksum of those
_HEAD_BYTES = _HEAD.size + _SUM.size
_CHUNK = 8 * 1024
_COPIED_MAX = 64 * 1024
_PART_MAX = 1024 * 1024
_LOOK_TIME = struct.pack("ll", 1, 0)  # seconds, microseconds

is_importing = False
"""Whether this process belongs to a queue of another one, and is importing a handler for it."""


class Reference(NamedTuple):
    """The place at which a process finds a handler.

    Attributes:
        module: its module; "__main__" is made anew from `main`.
        qualname: its name in there.
        main: what `multiprocessing.spawn.prepare` needs to make the owner's main module.
        argv: the owner's `sys.argv`.
        roots: the directories that the owner has the module's package from.
        middleware: what makes the middleware that its attempts run within, outermost first.
        queue: what the queue is called in log records.
    """

    module: str
    qualname: str
    main: dict[str, str]
    argv: list[str]
    roots: tuple[str, ...] = ()
    middleware: tuple[Reference, ...] = ()
    queue: str | None = None


class Assignment(NamedTuple):
    """An attempt.

    Attributes:
        number: names the attempt when it is told to stop.
        job: what `Job.__slots__` names, in that order; the headers as a plain dictionary, the
            priority as a number.
        deadline: when its time will be up, in the queue clock's monotonic seconds.
        closing: whether the queue's `close` has begun.
    """

    number: int
    job: tuple[object, ...]
    attempt: int
    deadline: float | None
    closing: bool


def packed(values: tuple[Any, ...]) -> bytes:
    """A tuple of exact built-in types, ten times as fast as `pickle` does it."""
    return marshal.dumps(tuple(values))


def unpacked(data: bytes) -> tuple[Any, ...]:
    """What was packed."""
    values: tuple[Any, ...] = marshal.loads(data)
    return values


class RemoteError(NamedTuple):
    """What a handler raised.

    Attributes:
        summary: type and text.
        trace: the traceback as text.
        error: the pickled exception; `None` if it cannot be pickled.
        problem: why it cannot be pickled, if so.
        rejects: whether it is a `RejectJobError`.
        delay: the delay that it asks for, if it is a `RetryJobError`.
    """

    summary: str
    trace: str
    error: bytes | None
    problem: str
    rejects: bool
    delay: float | None


class GarbledError(Exception):
    """What was received is no frame: something else writes to the socket."""

    def __init__(self) -> None:
        super().__init__("what was received is no frame of the queue's")


class Channel:
    """Frames over a stream socket. One thread at a time uses it.

    Args:
        sock: the socket; only this channel should use it.
        is_gone: whether the other side is gone; asked each second in a long wait. A process that
            was forked from the other side may keep a copy of its end, and so keep the socket open.
    """

    def __init__(self, sock: socket.socket, is_gone: Callable[[], bool] | None = None) -> None:
        self._socket = sock
        self._is_gone = is_gone
        self._rest: bytes = b""
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)
        if is_gone is not None:  # by the kernel: Python's own timeout is a system call per frame
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _LOOK_TIME)

    def send(self, kind: int, number: int, body: bytes = b"") -> None:
        """Send a frame; blocks until the other side has taken most of it.

        Raises:
            OSError: the other side is gone.
        """
        head = _HEAD.pack(len(body), number, kind, zlib.crc32(body))
        head += _SUM.pack(zlib.crc32(head))
        if len(body) <= _COPIED_MAX:
            self._socket.sendall(head + body)
        else:
            self._socket.sendall(head)
            self._socket.sendall(body)

    def receive(self) -> tuple[int, int, bytes]:
        """Wait for a frame: kind, number, body.

        Raises:
            EOFError: the other side is gone.
            GarbledError: it is none.
        """
        data = self._rest or self._read(_CHUNK)
        while len(data) < _HEAD_BYTES:
            data += self._read(_CHUNK)
        (checksum,) = _SUM.unpack_from(data, _HEAD.size)
        # guard: a length is believed only if its checksum is right
        if checksum != zlib.crc32(data[: _HEAD.size]):
            raise GarbledError
        length, number, kind, checksum = _HEAD.unpack_from(data)
        end = _HEAD_BYTES + length
        if len(data) < end:
            parts, missing = [data], end - len(data)
            while missing:
                parts.append(self._read(min(missing, _PART_MAX)))
                missing -= len(parts[-1])
            data = b"".join(parts)
        self._rest = data[end:]
        body = data[_HEAD_BYTES:end]
        # guard: a body is believed only if its checksum is right
        if checksum != zlib.crc32(body):
            raise GarbledError
        return kind, number, body

    def is_quiet(self) -> bool:
        """Whether nothing has arrived that was not received. Never blocks."""
        return not self._rest and not self._poll.poll(0)  # which also tells of the end

    def _read(self, most: int) -> bytes:
        """Some bytes, at least one."""
        was_gone = False
        while True:
            try:
                data = self._socket.recv(most, socket.MSG_DONTWAIT if was_gone else 0)
            except BlockingIOError:  # nothing came for a while
                if was_gone or self._is_gone is None:
                    raise EOFError from None
                was_gone = self._is_gone()  # if so, look once more for what it sent before
                continue
            except ConnectionError as error:  # the other side ended, with something left unread
                raise EOFError from error
            if not data:
                raise EOFError
            return data
