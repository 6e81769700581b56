"""Moves a log to a database in small batches, and kills itself at the given step.

Arguments: the log, the DSN, how many jobs a batch has, and the number of the step. The steps of a
batch are: before the database takes it, in the middle of that, after it, after the log was told,
and after the database has let it go.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from jobqueue.cli import main, migrate
from jobqueue.postgres.moving import Destination

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 5


class Fuse:
    """Counts steps, and kills the process at one of them."""

    def __init__(self, steps: int) -> None:
        self._left = steps

    def step(self) -> None:
        """One more."""
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any], *, before: bool = False) -> Callable[..., Any]:
        """The function, with a step after it, or one before it too."""

        def stepping(*arguments: Any) -> Any:
            if before:
                self.step()
            result = function(*arguments)
            self.step()
            return result

        return stepping

    def around_awaited(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same of a coroutine function."""

        async def stepping(*arguments: Any) -> Any:
            result = await function(*arguments)
            self.step()
            return result

        return stepping


def run(log: str, dsn: str, batch: str, step: str) -> None:
    """Do it."""
    fuse = Fuse(int(step))
    migrate.BATCH = int(batch)
    Destination.insert = fuse.around_awaited(Destination.insert)  # type: ignore[method-assign]
    Destination.take = fuse.around(Destination.take, before=True)  # type: ignore[method-assign]
    migrate.tell_log = fuse.around(migrate.tell_log)
    Destination.let_go = fuse.around(Destination.let_go)  # type: ignore[method-assign]
    sys.exit(main(["migrate", log, dsn]))


if __name__ == "__main__":
    run(*sys.argv[1:])
