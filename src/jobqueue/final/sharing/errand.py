"""A connection to a queue's owner for one errand: to look at its jobs and steer them, no more.

A command of another program makes it. It registers nothing, enqueues nothing, and never becomes the
owner. Whose thread: the caller's, and the link's; no lock.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..runtime.reporting import About
from .asking import Asking
from .desk import RemoteDesk
from .link import Link
from .operator import RemoteOperator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .messages import Welcome


@contextmanager
def operating(directory: str, seconds: float) -> Iterator[RemoteOperator]:
    """What asks the owner of a log, to its end.

    Args:
        directory: the log's, absolute.
        seconds: how long a call waits while there is no owner; then it is a `NoOwnerError`.
    """
    link = Link(directory, seconds, _Bystander())
    link.start()
    try:
        yield RemoteOperator(
            Asking(link), RemoteDesk(Asking(link), lambda _: None, lambda _: None, _report)
        )
    finally:
        link.close()


def _report(level: int, message: str, error: BaseException | None, of: About) -> None:
    """Of callbacks of handles; there are none."""


class _Bystander:
    """Has no part in who the owner is."""

    def seek(self) -> bool:
        return False

    def met(self, welcome: Welcome) -> None: ...

    def died(self) -> None: ...

    def report(self, level: int, message: str, error: BaseException | None = None) -> None: ...
