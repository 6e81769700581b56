"""Draws the diagrams that pages of the docs hold as Mermaid; part of `make pictures`.

GitHub draws them by itself. The site loads no script from elsewhere, so there, as a hook that
`mkdocs.yml` names, this module puts the drawings in their place. Mermaid comes from the npm
registry, and Chromium runs it.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from itertools import count
from pathlib import Path
from typing import Any

from tests.support.browser import launched, visitor
from tests.support.children import ROOT

DOCS = ROOT / "docs"
MERMAID = "mermaid@11.17.2"
DIAGRAM = re.compile(r"^```mermaid\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SETTINGS = {
    "startOnLoad": False,
    "htmlLabels": False,  # what is in a foreignObject is not drawn where the file is an image
    "flowchart": {"htmlLabels": False},
    "theme": "base",
    "themeCSS": ".edgeLabel rect { opacity: 1 !important; }",
    # Legible on a light page and on a dark one.
    "themeVariables": {
        "fontFamily": "system-ui, sans-serif",
        "lineColor": "#808080",
        "primaryBorderColor": "#00796b",
        "primaryColor": "#e3f2ef",
        "primaryTextColor": "#1b2b29",
        "edgeLabelBackground": "#e3f2ef",
    },
}
_DRAW = """async ([settings, name, text]) => {
    mermaid.initialize(settings);
    return (await mermaid.render(name, text)).svg;
}"""


def drawing(page: Path, number: int) -> Path:
    """Where the drawing of a page's so manieth diagram is, from 1."""
    return page.with_suffix("") / f"diagram-{number}.svg"


def digest(text: str) -> str:
    """What a drawing carries of the text that it was made of."""
    return hashlib.sha256(text.encode()).hexdigest()


def pages() -> list[Path]:
    """Those that hold diagrams."""
    return [each for each in sorted(DOCS.rglob("*.md")) if DIAGRAM.search(each.read_text("utf-8"))]


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """For mkdocs: the page with its drawings, each a link to itself in full size."""
    path, numbers = Path(page.file.abs_src_path), count(1)

    def shown(_: re.Match[str]) -> str:
        place = drawing(path, next(numbers)).relative_to(path.parent).as_posix()
        return f"[![a diagram, described by the text around it]({place})]({place})"

    return DIAGRAM.sub(shown, markdown)


def main() -> None:
    """Draw them all."""
    with tempfile.TemporaryDirectory() as directory, launched() as browser:
        script = _mermaid(Path(directory))
        with visitor(browser) as seen:
            seen.page.add_script_tag(content=script)
            for page in pages():
                for number, text in enumerate(DIAGRAM.findall(page.read_text("utf-8")), 1):
                    svg = seen.page.evaluate(_DRAW, [_SETTINGS, f"diagram{number}", text])
                    path = drawing(page, number)
                    path.parent.mkdir(exist_ok=True)
                    path.write_text(f"{svg}\n<!-- {digest(text)} -->\n", "utf-8")
                    print(path.relative_to(ROOT), file=sys.stderr)


def _mermaid(directory: Path) -> str:
    packed = subprocess.run(
        ["npm", "pack", "--json", MERMAID], cwd=directory, check=True, stdout=subprocess.PIPE
    )
    [package] = json.loads(packed.stdout)
    with tarfile.open(directory / package["filename"]) as archive:
        file = archive.extractfile("package/dist/mermaid.min.js")
        assert file is not None
        return file.read().decode()


if __name__ == "__main__":
    main()
