"""The words of the command, and its complaints: what the parser needs, which does without rich."""

from __future__ import annotations

import sys
from enum import StrEnum

PRIORITIES = ("high", "medium", "low")
ALL = "all"
"""In the place of an id: all of them."""


class Status(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    SCHEDULED = "scheduled"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def printable(text: str) -> str:
    """Escape what is not printable, as Python does: controls, directions of text, surrogates."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def complain(message: str) -> None:
    """Print one line for the user on stderr, whatever stands in it."""
    print(f"jobqueue: {printable(message)}", file=sys.stderr)
