"""Changes of jobs: by the queue that has their log open, if it can be asked, else in the log."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from ..final.errors import JobQueueError, NoOwnerError
from ..final.wal.format.base import HAVE_MSGSPEC
from .access import find_log, log_owner, owned_log, owner_name
from .exits import CommandError, Exit

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterator

    from ..final.sharing.operator import RemoteOperator
    from ..final.wal.files import Owner
    from .access import Log

_T = TypeVar("_T")
ANSWER_SECONDS = 5.0
"""How long an owner that ends meanwhile is waited for: its successor, that is."""


def change(
    arguments: Namespace,
    in_queue: Callable[[RemoteOperator], _T],
    in_log: Callable[[Log], _T],
) -> _T:
    """Have jobs changed.

    Args:
        arguments: `path`, the log's directory, and `allow_shared`.
        in_queue: does it if a queue has the log open; it is asked over its socket.
        in_log: does it else; the log is locked meanwhile.

    Raises:
        CommandError: there is no log; or it is in use by what cannot be asked.
        OSError: the owner is another user's process.
    """
    directory = find_log(arguments.path)
    if log_owner(directory, arguments.allow_shared) is not None:
        return ask(arguments, in_queue)
    with owned_log(arguments) as log:
        return in_log(log)


def ask(arguments: Namespace, function: Callable[[RemoteOperator], _T]) -> _T:
    """Ask the queue that has a log open.

    Raises:
        CommandError: no queue has it open, or it cannot be asked.
        OSError: the owner is another user's process.
    """
    try:
        with asking(arguments) as operator:
            return function(operator)
    except NoOwnerError as error:
        raise CommandError(Exit.LOCKED, f"{error}; or try again") from None
    except (JobQueueError, LookupError, ValueError) as error:  # a job is not as it was a moment ago
        raise CommandError(Exit.NO_SUCH_JOB, str(error)) from None


@contextmanager
def asking(arguments: Namespace) -> Iterator[RemoteOperator]:
    """What asks the queue that has a log open, to the end of the block.

    Raises:
        CommandError: no queue has it open, or it takes no commands.
    """
    path = arguments.path
    directory = find_log(path)
    owner = log_owner(directory, arguments.allow_shared)
    if owner is None:
        raise CommandError(
            Exit.NOT_OPEN,
            f"{path}: no queue has this log open, and this is for one that runs; start it first",
        )
    if not _takes_commands(directory):
        raise CommandError(
            Exit.LOCKED,
            f"{path} is in use by {owner_name(owner.pid)}, which takes no commands: open that "
            f"queue with Config(control=True) or Config(share='auto'), or close it first",
        )
    from ..final.sharing.errand import operating  # it needs msgspec

    with operating(directory, ANSWER_SECONDS) as operator:
        yield operator


def mute_owner(arguments: Namespace) -> Owner | None:
    """The process that has a log open, if it takes no commands.

    Raises:
        CommandError: there is no log.
        OSError: the owner is another user's process.
    """
    directory = find_log(arguments.path)
    owner = log_owner(directory, arguments.allow_shared)
    return None if owner is None or _takes_commands(directory) else owner


def _takes_commands(directory: str) -> bool:
    if not HAVE_MSGSPEC:
        return False
    from ..final.sharing import address

    sock = address.connect(directory)
    if sock is None:
        return False
    sock.close()
    return True
