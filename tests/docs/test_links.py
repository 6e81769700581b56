"""Links between the Markdown files lead somewhere, and files they speak of exist.

The site's build checks the same once more, its reference included (`make docs`); this is quick and
needs nothing but the files. Pages of the site link only to what is in `docs`, and name other files
between backticks: neither the site nor a reader of it has them.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.pages import (
    DOCS,
    MARKDOWN,
    ROOT,
    anchors_of,
    links_of,
    page_id,
    prose_of,
    spans_of,
)

OTHER_SITE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
FILE_OF_THE_PROJECT = re.compile(r"(?:src|tests|docs|lab|examples|benchmarks)/[\w./-]*\w\.\w+")


def broken_links(page: Path, text: str) -> list[str]:
    return [
        link for link in links_of(text) if not OTHER_SITE.match(link) and not _resolves(page, link)
    ]


def _resolves(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    if DOCS in page.parents and DOCS not in target.parents:
        return False
    if not target.is_file():
        return target.is_dir() and DOCS not in page.parents
    return not anchor or anchor in anchors_of(target.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", MARKDOWN, ids=page_id)
def test_every_link_to_a_file_or_heading_leads_there(page: Path) -> None:
    assert broken_links(page, page.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("page", MARKDOWN, ids=page_id)
def test_every_file_that_is_named_exists(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = [name for span in spans_of(text) for name in FILE_OF_THE_PROJECT.findall(span)]
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=page_id)
def test_a_page_has_one_title_and_it_comes_first(page: Path) -> None:
    prose = prose_of(page.read_text(encoding="utf-8")).lstrip()
    assert re.findall(r"^# .+$", prose, re.MULTILINE) == [prose.partition("\n")[0]]


def test_the_menu_of_the_site_has_every_page_once() -> None:
    _, menu = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("\nnav:\n")
    pages = re.findall(r"([\w/-]+\.md)$", menu, re.MULTILINE)
    assert sorted(pages) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_a_broken_link_is_told(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Job queue: why?\n"
        '[a](#job-queue-why) [b](#elsewhere) ![c](no.png) [d](no.md "title") [e](page.md#no)\n'
        "[f](https://example.org/x) [g](mailto:a@example.org) `[h](no.md)` [i][there]\n\n"
        "<!-- [j](no.md) -->\n"
        "```text\n[k](no.md)\n```\n"
        "[there]: nowhere.md\n\n"
        '<source media="(min-width: 9em)" srcset="wide.png"><img alt="x" src="narrow.png">\n'
    )
    broken = ["#elsewhere", "no.png", "no.md", "page.md#no", "nowhere.md"]
    broken += ["wide.png", "narrow.png"]
    assert broken_links(page, page.read_text()) == broken


def test_a_page_of_the_site_must_not_link_to_what_the_site_has_not() -> None:
    text = "[a](../README.md) [b](architecture.md)"
    assert broken_links(DOCS / "page.md", text) == ["../README.md"]
