"""How the command ends."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; they are part of the interface, and told in the help and in `docs/cli.md`."""

    OK = 0
    DAMAGED = 1
    USAGE = 2
    LOCKED = 3
    VERSION = 4
    SYSTEM = 5
    NO_SUCH_JOB = 6
    NOT_OPEN = 7
    INTERRUPTED = 130
    """As the shell has it for a program that Ctrl-C ended."""
    BROKEN_PIPE = 141
    """As the shell has it for a program whose reader went away."""


EXIT_CODES = """\
exit codes:
  0  all is well, or it was done
  1  the log is corrupt (verify: also if it is torn; repair: something was lost)
  2  wrong usage, or PATH holds no log; or what the command prints with is not installed
  3  the log is in use, by a queue that takes no commands or for a command that needs it closed
  4  the log has a format version that this release does not know; or the tables in the database
     are missing, older or newer
  5  the operating system refused: permissions, a full disk, an I/O error; or no connection to the
     database
  6  no job, or no dead letter, has the id that was given, or no schedule the name; migrate: some
     jobs were left behind, since the database has others of their ids
  7  no queue has the log open, and the command is for one that runs
"""


class CommandError(Exception):
    """The command cannot go on; the message is one line for the user."""

    def __init__(self, code: Exit, message: str) -> None:
        super().__init__(message)
        self.code = code
