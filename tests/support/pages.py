"""The Markdown files of the project: their fenced blocks, headings and links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sybil import Document
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
MARKDOWN = sorted(
    {*PAGES, *ROOT.glob("*.md")}
    | {page for top in ("benchmarks", "examples", "lab") for page in (ROOT / top).rglob("*.md")}
)

INFO = re.compile(r"(?P<info>[^\n]*)$\n", re.MULTILINE)
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
SPAN = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
PICTURE = re.compile(r"<(?:img|source)\b[^>]*\bsrc(?:set)?=\"([^\"]+)\"")
INLINE_LINK = re.compile(r"\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
LINK_DEFINITION = re.compile(r"^ {0,3}\[[^\]]+\]:\s+<?(\S+?)>?(?:\s|$)", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block: what stands behind its fence, and which line of the page is its first."""

    info: str
    source: str
    line: int

    @property
    def language(self) -> str:
        return self.info.partition(" ")[0]

    @property
    def title(self) -> str | None:
        """The file that a quotation says it comes from."""
        found = re.search(r'title="([^"]*)"', self.info)
        return found and found[1]


def page_id(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def blocks_of(text: str) -> list[Block]:
    document = Document(text, "")
    regions = sorted(RawFencedCodeBlockLexer(INFO)(document), key=lambda region: region.start)
    return [
        Block(
            region.lexemes["info"].strip(),
            str(region.lexemes["source"]),
            text.count("\n", 0, region.start) + 2,
        )
        for region in regions
    ]


def prose_of(text: str) -> str:
    """A page without its fenced blocks and comments."""
    document = Document(text, "")
    kept, place = [], 0
    for region in sorted(RawFencedCodeBlockLexer(INFO)(document), key=lambda region: region.start):
        kept.append(text[place : region.start])
        place = region.end
    return COMMENT.sub("", "".join([*kept, text[place:]]))


def spans_of(text: str) -> list[str]:
    """What stands between backticks in a page's prose."""
    return [" ".join(code.split()) for _, code in SPAN.findall(prose_of(text))]


def links_of(text: str) -> Iterator[str]:
    """Where the links and pictures of a page lead."""
    prose = SPAN.sub("code", prose_of(text))
    yield from INLINE_LINK.findall(prose)
    yield from LINK_DEFINITION.findall(prose)
    yield from PICTURE.findall(prose)


def anchors_of(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub and the site make them.

    Of headings that read the same all but the first get a number, each site's own; no link may
    rely on these.
    """
    return {_anchor(heading) for heading in HEADING.findall(prose_of(text))}


def _anchor(heading: str) -> str:
    words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    words = re.sub(r"[^\w\- ]", "", words).strip().lower()
    return words.replace(" ", "-")
