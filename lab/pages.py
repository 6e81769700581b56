"""The numbers in Markdown pages: they stand in blocks, which are written from the data alone.

A block begins with the line `<!-- lab:NAME -->` and ends with the line `<!-- /lab -->`. Any page
may hold any number of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from .experiment import Experiment
from .record import Record

_BLOCK = re.compile(
    r"^(?P<start><!-- lab:(?P<name>[a-z-]+) -->)\n(?P<body>.*?)^(?P<end><!-- /lab -->)$",
    re.DOTALL | re.MULTILINE,
)


def block_text(experiment: Experiment, record: Record) -> str:
    """What stands in a block: the report, and how to measure it again."""
    source = f"Measured by `{record.command}` on {record.date}: {record.machine}."
    return f"{experiment.report(record.data).strip()}\n\n*{source}*"


def blocks(text: str) -> Iterator[tuple[str, str]]:
    """The blocks of a page: of each the experiment's name, and what stands in it."""
    return ((found["name"], found["body"].strip("\n")) for found in _BLOCK.finditer(text))


def with_block(text: str, name: str, body: str) -> str:
    """A page with all blocks of one experiment written anew."""

    def replace(found: re.Match[str]) -> str:
        if found["name"] != name:
            return found[0]
        return f"{found['start']}\n\n{body}\n\n{found['end']}"

    return _BLOCK.sub(replace, text)


def update(pages: Iterable[Path], name: str, body: str) -> list[Path]:
    """Write all blocks of one experiment anew; returns the pages that have changed."""
    changed = []
    for page in pages:
        old = page.read_text(encoding="utf-8")
        new = with_block(old, name, body)
        if new != old:
            page.write_text(new, encoding="utf-8")
            changed.append(page)
    return changed


def pages_around(out: Path) -> list[Path]:
    """The pages that tell of the data in `out`.

    Those of `docs/lab` are told of in all of `docs` and in the README beside it; those of any
    other directory by the pages in it.
    """
    docs = out.resolve().parent
    if docs.name != "docs":
        return sorted(out.rglob("*.md"))
    readme = docs.parent / "README.md"
    return [*([readme] if readme.is_file() else []), *sorted(docs.rglob("*.md"))]


def table(header: Sequence[str], rows: Iterable[Sequence[object]], align: str = "") -> str:
    """A table in Markdown.

    Args:
        header: the columns' names.
        rows: the cells; a whole number gets commas between its thousands, `None` stays empty.
        align: for each column `l` or `r`. Without, the first is to the left, the others to the
            right, as is right for numbers.
    """
    align = align or "l" + "r" * (len(header) - 1)
    rule = ["---" if side == "l" else "---:" for side in align]
    lines = [header, *([_cell(cell) for cell in row] for row in rows)]
    texts = [f"| {' | '.join(line)} |" for line in lines]
    return "\n".join([texts[0], f"|{'|'.join(rule)}|", *texts[1:]])


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
