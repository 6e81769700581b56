"""The drawings that the site shows are those of the diagrams that the pages hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

from tests.support.diagrams import DIAGRAM, DOCS, digest, drawing, on_page_markdown, pages


def test_each_diagram_has_its_drawing_and_no_other_is_left() -> None:
    wanted: dict[Path, str] = {}
    for page in pages():
        for number, text in enumerate(DIAGRAM.findall(page.read_text("utf-8")), 1):
            wanted[drawing(page, number)] = digest(text)
    found = {path: path.read_text("utf-8") for path in DOCS.rglob("diagram-*.svg")}
    assert wanted
    assert found.keys() == wanted.keys()
    stale = [path for path, text in found.items() if f"<!-- {wanted[path]} -->" not in text]
    assert not stale, "draw them anew: python -m tests.support.diagrams"


def test_the_site_shows_the_drawings_in_their_order() -> None:
    page = SimpleNamespace(file=SimpleNamespace(abs_src_path=str(DOCS / "guides" / "new.md")))
    text = "one\n```mermaid\na --> b\n```\ntwo\n```mermaid\nb --> c\n```\n```python\n1\n```\n"
    shown = on_page_markdown(text, page)
    assert "mermaid" not in shown
    assert shown.index("(new/diagram-1.svg)") < shown.index("two") < shown.index("diagram-2.svg")
    assert "```python\n1\n```" in shown
