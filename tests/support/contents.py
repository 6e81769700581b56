"""`python -m tests.support.contents`: writes the contents list at the head of each long page.

The site shows the headings beside a page if the screen is wide enough, and behind the menu's button
if it is not; GitHub shows them nowhere. So a page that is longer than a few screens begins with a
line of links to its sections, which the site hides where the headings stand beside the page.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.pages import DOCS, anchor_of, prose_of

CHARACTERS_MAX = 5_000
"""A page with more than these takes about four screens, with the code and tables of these pages."""

START, END = '<div class="contents" markdown="1">', "</div>"
BLOCK = re.compile(rf"^{re.escape(START)}\n.*?^{re.escape(END)}\n\n", re.DOTALL | re.MULTILINE)
TITLE = re.compile(r"\A# .+\n\n", re.MULTILINE)
SECTION = re.compile(r"^## +(.+?) *#*$", re.MULTILINE)


def wants_contents(text: str) -> bool:
    """Whether a page is long and has sections. Those of the reference are made elsewhere."""
    is_reference = re.search(r"^::: ", text, re.MULTILINE)
    return not is_reference and len(without(text)) > CHARACTERS_MAX and len(sections(text)) > 1


def sections(text: str) -> list[str]:
    """The headings of a page's sections."""
    return SECTION.findall(prose_of(text))


def without(text: str) -> str:
    """A page without its contents list."""
    return BLOCK.sub("", text)


def with_contents(text: str) -> str:
    """A page with the contents list that it should have, or with none."""
    text = without(text)
    if not wants_contents(text):
        return text
    links = " ·\n".join(f"[{_words(each)}](#{anchor_of(each)})" for each in sections(text))
    return TITLE.sub(
        lambda title: f"{title[0]}{START}\n\nOn this page:\n{links}\n\n{END}\n\n", text
    )


def _words(heading: str) -> str:
    return re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)


def main() -> None:
    for page in _pages():
        old = page.read_text(encoding="utf-8")
        new = with_contents(old)
        if new != old:
            page.write_text(new, encoding="utf-8")


def _pages() -> list[Path]:
    return sorted(DOCS.rglob("*.md"))


if __name__ == "__main__":
    main()
