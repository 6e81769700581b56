"""Lines that a page quotes from a file of the project really stand in that file.

A quotation is a block with a title that names the file. Its lines stand there one after the other,
with the same indentation or less; a line `…` alone stands for lines that are left out.
"""

from __future__ import annotations

import re
from itertools import groupby

import pytest

from tests.support.pages import PAGES, ROOT, blocks_of, page_id

QUOTATIONS = [
    pytest.param(block.title, block.source, id=f"{page_id(page)}:{block.line}")
    for page in PAGES
    for block in blocks_of(page.read_text(encoding="utf-8"))
    if block.title is not None
]


def missing_from(lines: list[str], quotation: str) -> list[str]:
    """The first passage of a quotation that does not stand in a file's lines, after the last."""
    place = 0
    for passage in _passages(quotation):
        found = _find(passage, lines, place)
        if found is None:
            return passage
        place = found + len(passage)
    return []


def _without_guards(text: str) -> list[str]:
    """The lines of a file but for the comments that `tests/support/guards.py` tells of."""
    text = re.sub(r"^ *#( guard:|   without:).*\n", "", text, flags=re.MULTILINE)
    return re.sub(r"  # guard: .*$", "", text, flags=re.MULTILINE).splitlines()


def _passages(quotation: str) -> list[list[str]]:
    """The runs of lines between those that are left out, without blank lines around them."""
    runs = groupby(quotation.splitlines(), key=lambda line: line.strip() == "…")
    texts = ["\n".join(lines).strip("\n") for is_gap, lines in runs if not is_gap]
    return [text.split("\n") for text in texts if text.strip()]


def _find(passage: list[str], lines: list[str], start: int) -> int | None:
    for place in range(start, len(lines) - len(passage) + 1):
        if _is_same(passage, lines[place : place + len(passage)]):
            return place
    return None


def _is_same(passage: list[str], lines: list[str]) -> bool:
    indent = lines[0][: len(lines[0]) - len(passage[0])]
    return not indent.strip() and lines == [indent + line if line else "" for line in passage]


@pytest.mark.parametrize(("title", "source"), QUOTATIONS)
def test_quoted_lines_stand_in_the_file(title: str, source: str) -> None:
    lines = _without_guards((ROOT / title).read_text(encoding="utf-8"))
    assert _passages(source)
    assert missing_from(lines, source) == []


FILE = """\
class A:
    def f(self):
        x = 1

        return x

    def g(self):
        return 2
""".splitlines()


@pytest.mark.parametrize(
    "quotation",
    [
        "def f(self):\n    x = 1\n\n    return x\n",
        "    def f(self):\n        x = 1\n",
        "class A:\n    …\n    def g(self):\n",
        "def f(self):\n\n…\n\nreturn 2\n",
    ],
)
def test_what_stands_there_is_found(quotation: str) -> None:
    assert missing_from(FILE, quotation) == []


@pytest.mark.parametrize(
    ("quotation", "passage"),
    [
        ("x = 2\n", "x = 2"),
        ("def f(self):\nx = 1\n", "def f(self):\nx = 1"),  # the indentation within is lost
        ("def f(self):\n    return x\n", "def f(self):\n    return x"),  # a line is left out
        ("def g(self):\n…\ndef f(self):\n", "def f(self):"),  # the order is another
        ("lf):\n", "lf):"),
    ],
)
def test_what_does_not_stand_there_is_told(quotation: str, passage: str) -> None:
    assert missing_from(FILE, quotation) == passage.split("\n")
