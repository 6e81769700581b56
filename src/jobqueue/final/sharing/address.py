"""Where the owner of a log listens, and who may speak there.

The socket is a file in the log's directory, for the user alone. If its path is too long for a
socket, or the file system takes none, it is an abstract one on Linux, whose name comes from the
directory's device and inode: whatever path a process has the directory by, it finds the same. That
has no permissions, and any user may take its name. So both sides look at who is at the other end,
whatever kind it is: the kernel tells the user and the process, and another user is refused.

Any thread; no lock. Only the process that has the log's lock listens, so it may remove what an
owner that died has left.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import sys
from contextlib import suppress
from typing import NamedTuple

SOCKET_NAME = "OWNER.sock"
_PATH_BYTES_MAX = 107 if sys.platform == "linux" else 103  # of `sun_path`, without its last NUL
_BACKLOG = 4096
_NO_SOCKETS = frozenset(
    {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EROFS, errno.ENXIO}
)
"""Errnos of a `bind` on file systems that take no sockets; the lock's file could be made there."""
_LINUX_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_BSD_CREDENTIALS = struct.Struct("2I")  # version, uid; more follows


class Peer(NamedTuple):
    """Who is at the other end: the process, or 0 if it cannot be told, and its user."""

    pid: int
    uid: int


def listen(directory: str) -> socket.socket:
    """Listen for a log's clients; only by who has its lock.

    Raises:
        OSError: there can be no socket; the message says why.
    """
    path = os.path.join(directory, SOCKET_NAME)
    why = _too_long(path)
    if why is None:
        with suppress(FileNotFoundError):
            os.unlink(path)  # guard: what an owner that died left is no hindrance
        try:
            return _listening(path, path)
        except OSError as error:
            if error.errno not in _NO_SOCKETS:
                raise OSError(
                    error.errno, f"no socket can be made for other processes: {error}", path
                ) from None
            why = f"its file system takes no sockets ({error.strerror})"
    name = _abstract_name(directory)
    if name is None:
        raise OSError(
            errno.ENAMETOOLONG,
            f"the queue cannot be shared: {why}; use a shorter persist_path on a local disk",
            path,
        )
    try:
        return _listening(name, None)
    except OSError as error:
        raise OSError(
            error.errno,
            f"the queue cannot be shared: {why}, and the abstract socket that stands in for it is "
            f"taken by another process ({error.strerror})",
            path,
        ) from None


def _listening(address: str, path: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(address)
        if path is not None:
            # guard: the socket is for its user alone
            os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)  # nobody can connect before it listens
        sock.listen(_BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def remove(directory: str) -> None:
    """Take the socket's file away; only by who has the log's lock."""
    with suppress(OSError):  # another one will find it, and remove it
        os.unlink(os.path.join(directory, SOCKET_NAME))


def connect(directory: str) -> socket.socket | None:
    """Connect to a log's owner; `None` if nobody listens. Never waits for it.

    Raises:
        PermissionError: another user listens there.
        OSError: there can be no socket.
    """
    path = os.path.join(directory, SOCKET_NAME)
    sock = None if _too_long(path) is not None else _connected(path)
    if sock is None and (name := _abstract_name(directory)) is not None:
        sock = _connected(name)
    if sock is None:
        return None
    try:
        peer = peer_of(sock)
        # guard: a client speaks to its own user's owner alone
        if peer.uid != os.geteuid():
            raise PermissionError(
                errno.EPERM,
                f"process {peer.pid} of user {peer.uid} listens for the log's clients, and this is "
                f"user {os.geteuid()}: it is not spoken to",
                path,
            )
    except BaseException:
        sock.close()
        raise
    return sock


def _connected(address: str) -> socket.socket | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)  # a `connect` waits while the owner's backlog is full
    try:
        sock.connect(address)
    except (FileNotFoundError, ConnectionError, BlockingIOError, NotADirectoryError):
        sock.close()
        return None
    except BaseException:
        sock.close()
        raise
    return sock


def _too_long(path: str) -> str | None:
    size = len(os.fsencode(path))
    if size <= _PATH_BYTES_MAX:
        return None
    return f"the path of its socket has {size} bytes, and {_PATH_BYTES_MAX} can be"


def _abstract_name(directory: str) -> str | None:
    """The name of the abstract socket; `None` if there are none here, or there is no directory."""
    if sys.platform != "linux":
        return None
    try:
        here = os.stat(directory)
    except OSError:
        return None
    return f"\0jobqueue-{here.st_dev:x}-{here.st_ino:x}"


def peer_of(sock: socket.socket) -> Peer:
    """Who is at the other end, as the kernel tells.

    Raises:
        OSError: it cannot be told.
    """
    if sys.platform == "linux":
        size = _LINUX_CREDENTIALS.size
        pid, uid, _ = _LINUX_CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        )
        return Peer(pid, uid)
    credentials = sock.getsockopt(0, 1, 76)  # SOL_LOCAL, LOCAL_PEERCRED: a `struct xucred`
    _, uid = _BSD_CREDENTIALS.unpack_from(credentials)
    return Peer(0, uid)
