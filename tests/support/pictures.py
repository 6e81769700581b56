"""Makes the pictures of the dashboard that the guide and the README show: `make pictures`.

It shows the demonstration, always with the same seed, after it has run for a while: its charts are
of real time, so it takes that long. Each page is shown in light and in dark.
"""

from __future__ import annotations

import io
import logging
import sys
import time
from typing import TYPE_CHECKING

from PIL import Image

from jobqueue.web import as_text, serve_dashboard
from jobqueue.web.demo import demonstration
from tests.support.browser import launched, visitor
from tests.support.children import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Page

PICTURES = ROOT / "docs" / "guides" / "dashboard"
SCHEMES = ("light", "dark")
SEED = 1
SECONDS = 280.0
WIDTH = 1200
COLORS = 128
_METHOD = Image.Quantize.MAXCOVERAGE  # a colour that is seldom is kept
_PLACE = "/srv/shop"
"""What is shown in place of the directory in which this is made."""
_SHORTEN = """([root, place]) => {
    const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (texts.nextNode())
        texts.currentNode.data = texts.currentNode.data.replaceAll(root, place);
}"""


def main() -> None:
    """Make them all."""
    logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
    PICTURES.mkdir(parents=True, exist_ok=True)
    with (
        demonstration(SEED) as queue,
        serve_dashboard(queue, port=0, access=lambda _: "write", payload=as_text) as server,
        launched() as browser,
    ):
        print(f"the demonstration runs for {SECONDS:g} s at {server.url}", file=sys.stderr)
        time.sleep(SECONDS)
        letter = queue.dead_groups().groups[0].last.id
        pages = {"overview": ("", 720), "dead": ("dead", 490), "job": (f"job?id={letter}", 900)}
        for scheme in SCHEMES:
            with visitor(
                browser,
                color_scheme=scheme,
                viewport={"width": WIDTH, "height": WIDTH},
                device_scale_factor=1.5,
            ) as seen:
                for name, (path, height) in pages.items():
                    seen.page.set_viewport_size({"width": WIDTH, "height": height})
                    seen.page.goto(server.url + path)
                    _take(seen.page, name, scheme)


def _take(page: Page, name: str, scheme: str) -> None:
    page.evaluate(_SHORTEN, [str(ROOT), _PLACE])
    path = PICTURES / f"{name}-{scheme}.png"
    whole = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    whole.convert("RGB").quantize(COLORS, method=_METHOD, dither=Image.Dither.NONE).save(
        path, optimize=True
    )
    print(path.relative_to(ROOT), file=sys.stderr)


if __name__ == "__main__":
    main()
