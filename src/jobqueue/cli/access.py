"""Finding a log; reading one that may be in use; locking one to change it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar

from ..final.errors import LogCorruptError, LogLockedError, LogVersionError
from ..final.wal.files import Files, Owner, path_in
from ..final.wal.names import LOCK_NAME, list_present
from ..final.wal.reading.closed import read_closed
from ..final.wal.reading.version import refuse_later_version
from ..final.wal.room import Room
from .exits import CommandError, Exit
from .live import LiveFiles

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from ..final.wal.reading.replay import Replay

_T = TypeVar("_T")

_TRIES = 5
"""How often a log is read anew if its files went away while it was read."""


@dataclass(frozen=True)
class Log:
    """A log that is being looked into.

    Attributes:
        directory: absolute path.
        files: how its files are to be read.
        owner: the process that has it open; `None` if none has, or this command has it locked.
    """

    directory: str
    files: Files
    owner: Owner | None

    @cached_property
    def room(self) -> Room:
        """What is held of the disk for it; only if the command has it locked."""
        return Room(self.files, self.directory)


def find_log(path: str) -> str:
    """Return the absolute path of a log's directory.

    Raises:
        CommandError: there is none.
        OSError: it cannot be listed.
    """
    if not path:
        raise CommandError(Exit.USAGE, "PATH is empty; give the log's directory, the persist_path")
    directory = os.path.abspath(path)
    if "://" in path and not os.path.isdir(directory):  # there may be a password in it
        raise CommandError(
            Exit.USAGE,
            "PATH is the directory of a log, not an address; 'jobqueue postgres' is for a queue on "
            "PostgreSQL, and 'jobqueue migrate PATH DSN' takes the log first",
        )
    if not os.path.lexists(directory):
        raise CommandError(Exit.USAGE, f"{path}: there is no such directory")
    if not os.path.isdir(directory):
        raise CommandError(Exit.USAGE, f"{path}: not a directory; PATH is the directory of a log")
    if not list_present(Files(), directory).files and read_closed(Files(), directory) is None:
        raise CommandError(Exit.USAGE, f"{path}: there is no log in this directory")
    return directory


def read_log(arguments: Namespace, work: Callable[[Log], _T]) -> _T:
    """Have a log read by `work`, without a lock; once more if a queue changed it meanwhile.

    Args:
        arguments: `path`, the log's directory, and `allow_shared`.
        work: reads it.

    Raises:
        CommandError: there is no log, or a later release has written it.
        PermissionError: it is not this user's alone, and that is not allowed.
    """
    directory = find_log(arguments.path)
    tries_left = _TRIES
    while True:
        tries_left -= 1
        log = _look(directory, arguments.allow_shared)
        try:
            _check_versions(log)
            return work(log)
        except FileNotFoundError:  # a compaction replaced it
            if not tries_left:
                raise
        except LogCorruptError:  # the listing may have been made in the middle of a compaction
            if not tries_left or log.owner is None:
                raise


def _look(directory: str, shared: bool) -> Log:
    files = Files()
    files.shared = shared
    owner = files.owner(path_in(directory, LOCK_NAME))
    if owner is not None:
        files = LiveFiles()
        files.shared = shared
    return Log(directory, files, owner)


def log_owner(directory: str, shared: bool) -> Owner | None:
    """The process that has a log open; `None` if none has."""
    return _look(directory, shared).owner


@contextmanager
def owned_log(arguments: Namespace) -> Iterator[Log]:
    """Lock a log, to change it.

    Args:
        arguments: `path`, the log's directory, and `allow_shared`.

    Raises:
        CommandError: there is no log, it is in use, or a later release has written it.
        PermissionError: it is not this user's alone, and that is not allowed.
    """
    directory = find_log(arguments.path)
    files = Files()
    files.shared = arguments.allow_shared
    try:
        lock = files.lock(path_in(directory, LOCK_NAME))
    except LogLockedError as error:
        owner = owner_name(error.pid)
        raise CommandError(
            Exit.LOCKED, f"{arguments.path} is in use by {owner}: close that queue first"
        ) from error
    try:
        log = Log(directory, files, None)
        _check_versions(log)
        yield log
    finally:
        files.unlock(lock)


def owner_name(pid: int | None) -> str:
    """Name the owner of a log."""
    return "another process" if pid is None else f"process {pid}"


def _check_versions(log: Log) -> None:
    try:
        refuse_later_version(log.files, log.directory)
    except LogVersionError as error:
        raise CommandError(Exit.VERSION, str(error)) from error


def torn_note(log: Log, reading: Replay) -> str | None:
    """Tell in words where a log that was read is torn; a log in use is only being written."""
    torn = reading.torn
    if torn is None or log.owner is not None:
        return None
    cut = next((cut for cut in torn.cuts if cut.keep), None)
    return None if cut is None else f"{cut.file.path}, byte {cut.offset}: torn, {torn.problem}"
