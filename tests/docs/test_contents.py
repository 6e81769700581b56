"""A long page begins with links to its sections; `python -m tests.support.contents` writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.contents import CHARACTERS_MAX, wants_contents, with_contents
from tests.support.pages import DOCS, page_id


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=page_id)
def test_a_long_page_begins_with_its_contents(page: Path) -> None:
    """If this fails: `python -m tests.support.contents`."""
    text = page.read_text(encoding="utf-8")
    assert text == with_contents(text)


def test_a_short_page_and_one_of_the_reference_have_none() -> None:
    sections = "## One\n\n## Two\n\n"
    assert not wants_contents(f"# A\n\n{sections}")
    assert not wants_contents(f"# A\n\n::: jobqueue.Job\n\n{sections}{'x' * CHARACTERS_MAX}")


def test_the_contents_follow_the_headings() -> None:
    text = f"# A\n\nText.\n\n## `One`: [why](b.md)?\n\n## Two\n\n### Not this\n\n{'x' * 6_000}\n"
    once = with_contents(text)
    assert "On this page:\n[`One`: why?](#one-why) ·\n[Two](#two)\n" in once
    assert "#not-this" not in once
    assert with_contents(once) == once
    renamed = with_contents(once.replace("## Two", "## Three"))
    assert renamed == with_contents(text.replace("## Two", "## Three"))
