"""What is printed, for people or for scripts, and that nothing in a log can harm a terminal.

A log is not to be trusted. Whatever stands in it goes through `printable` (or, for scripts, through
JSON in ASCII) on its way out, and never through rich's markup.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime
from typing import TypeVar

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .output import written
from .words import complain, printable

__all__ = [
    "PAYLOAD_CHARACTERS_MAX",
    "Screen",
    "age_text",
    "complain",
    "count_text",
    "payload_text",
    "printable",
    "size_text",
    "time_text",
]

PAYLOAD_CHARACTERS_MAX = 200
"""How much of a payload is shown if not all of it is asked for."""

_BINARY_BYTES_MAX = PAYLOAD_CHARACTERS_MAX // 4 * 3
_WIDE = 10_000
"""Columns of what is no terminal: nothing is folded there."""
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_AGES = (("days", 86400.0), ("h", 3600.0), ("min", 60.0))
_Content = TypeVar("_Content", str, bytes)


def payload_text(payload: str, binary: bytes, *, full: bool, what: str = "payload") -> Text:
    """Show a payload, or what is kept as one, with its size: text as text, else in base64."""
    if binary:
        size, encoding = len(binary), ", base64"
        whole, is_cut = _cut(binary, _BINARY_BYTES_MAX, full=full)
        shown = base64.b64encode(whole).decode()
    else:
        size, encoding = len(payload.encode()), ""
        start, is_cut = _cut(payload, PAYLOAD_CHARACTERS_MAX, full=full)
        shown = printable(start)
    text = Text.assemble((f"{what} ({size} B{encoding})", "dim"), " ", shown)
    if is_cut:
        text.append(" … (--full shows all of it)", "dim")
    return text


def _cut(content: _Content, limit: int, *, full: bool) -> tuple[_Content, bool]:
    if full or len(content) <= limit:
        return content, False
    return content[:limit], True


def size_text(size: int) -> str:
    """Show a number of bytes."""
    value = float(size)
    for unit in _UNITS[:-1]:
        if value < 1024:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:,.1f} {_UNITS[-1]}"


def time_text(time: float) -> str:
    """Show a Unix time in UTC; one that no calendar has stays a number."""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return f"{time!r}"


def age_text(seconds: float) -> str:
    """Show how long ago something was; the largest unit that it fills, and one digit."""
    for unit, length in _AGES:
        if seconds >= length:
            return f"{seconds / length:,.1f} {unit}"
    return f"{max(seconds, 0.0):.1f} s"


def count_text(number: int, thing: str, plural: str = "s") -> str:
    """Show how many there are of something."""
    return f"{number:,} {thing}{'' if number == 1 else plural}"


class Screen:
    """Where a command shows what it found.

    Args:
        as_json: for scripts: one JSON object a line, in ASCII.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._console = _Console(highlight=False, markup=False, emoji=False)
        if not self._console.is_terminal:
            self._console.width = _WIDE

    def tell(self, data: object) -> None:
        """Print an object for scripts."""
        with written():
            sys.stdout.write(json.dumps(data, separators=(",", ":")) + "\n")

    def show(self, *things: Text | Table) -> None:
        """Print something for people; lines of text are not wrapped."""
        with written():
            for thing in things:
                if isinstance(thing, Table):
                    self._console.print(thing)
                elif self._console.is_terminal:
                    self._console.print(thing, soft_wrap=True)
                else:
                    sys.stdout.write(f"{thing.plain}\n")  # a hundred times as fast

    def live(self) -> Live | None:
        """What shows one thing in place of the last, on a terminal; `None` if there is none."""
        if self.as_json or not self._console.is_terminal:
            return None
        return Live(console=self._console, auto_refresh=False)

    def flush(self) -> None:
        """Let whoever reads it have it now."""
        with written():
            sys.stdout.flush()


class _Console(Console):
    """Leaves it to the caller what happens when its reader has gone away."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError
