"""The way into the command: it prints with rich, which only the extra `cli` installs.

`jobqueue run` does without, and so does help.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .exits import Exit
from .output import with_output

if TYPE_CHECKING:
    from collections.abc import Sequence

_PRINTS_WITH = "rich"
_EXTRAS = {"web": "cli,web", "postgres": "cli,postgres", "migrate": "cli,postgres"}
"""What brings all that a command needs, if it is more than `cli`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as on the command line; `None` takes those.

    Returns:
        The exit code, see `exits.Exit`. If rich is not installed it is that of wrong usage, after
        one line on stderr that tells how to install it.

    Raises:
        SystemExit: with code 2 after wrong usage, with 0 after `--help` and `--version`.
    """
    given = sys.argv[1:] if arguments is None else arguments
    return with_output(lambda: _command(given))


def _command(given: Sequence[str]) -> int:
    if given[:1] == ["run"]:
        from .worker import main as work

        return work(given[1:])
    from .command import main as run

    try:
        return run(given)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != _PRINTS_WITH:
            raise
        extras = _EXTRAS.get(given[0], "cli") if given else "cli"
        print(
            f"jobqueue: this command prints with rich, which is not installed: "
            f"pip install 'jobqueue[{extras}]'",
            file=sys.stderr,
        )
        return Exit.USAGE
