"""What follows from the data, as a list in Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

CHARACTERS_MAX = 120  # in a line, as in all pages


def bullets(findings: Iterable[str]) -> str:
    """A list of findings, in lines that are not too long."""
    return "\n".join(wrapped(finding, "- ", "  ") for finding in findings)


def wrapped(text: str, first: str = "", further: str = "") -> str:
    """A paragraph in lines that are not too long; `first` and `further` begin them."""
    return textwrap.fill(
        text,
        CHARACTERS_MAX,
        initial_indent=first,
        subsequent_indent=further,
        break_long_words=False,
        break_on_hyphens=False,
    )


def milliseconds(seconds: float) -> str:
    """A time for people: in milliseconds, or in seconds if it is more than one."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1e3:.0f} ms" if seconds >= 0.01 else f"{seconds * 1e3:.1f} ms"
