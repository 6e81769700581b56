"""Chromium as the tests drive it: Debian's package, by Playwright; nothing is downloaded."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.children import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page

WITHOUT = "TEST_WITHOUT"
"""Environment variable: what `.ci/run` could not install."""
ARTEFACTS = ROOT / "tests" / "web" / "browser" / "seen"
"""Where pictures of pages are kept; git ignores it."""
PATIENCE_MS = 15_000
_SERIOUS = frozenset({"serious", "critical"})
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")


def chromium() -> str:
    """The path of Chromium; skips the test if it is not there, and may not be."""
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            return found
    if os.environ.get("CI") and "chromium" not in os.environ.get(WITHOUT, ""):
        pytest.fail("chromium is not on PATH, and .ci/run did not say that it cannot be had")
    pytest.skip("there is no chromium on PATH: apt-get install chromium")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser, ended at the end of the block."""
    playwright = pytest.importorskip("playwright.sync_api", reason="it drives the browser")
    path = chromium()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitor:
    """One who looks at pages, and what the browser complained of meanwhile."""

    context: BrowserContext
    page: Page
    complaints: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Note what goes wrong in the page from now on."""
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("console", self._hear)
        self.page.on("dialog", self._dismiss)

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.type}: {message.text}")

    def _dismiss(self, dialog: Dialog) -> None:
        self.complaints.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def picture(self, name: str) -> Path:
        """Keep a picture of the whole page."""
        ARTEFACTS.mkdir(parents=True, exist_ok=True)
        path = ARTEFACTS / f"{name}.png"
        self.page.screenshot(path=path, full_page=True, animations="disabled")
        return path

    def overflow(self) -> int:
        """By how many pixels the page is wider than its window."""
        script = "document.documentElement.scrollWidth - window.innerWidth"
        return max(0, int(self.page.evaluate(script)))

    def faults(self) -> list[str]:
        """What axe-core finds serious or critical on the page."""
        found = _axe().run(self.page).response["violations"]
        return [_told(each) for each in found if each["impact"] in _SERIOUS]


def _axe() -> Any:
    from axe_playwright_python.sync_playwright import Axe

    return Axe()


def _told(violation: dict[str, Any]) -> str:
    nodes = "; ".join(
        f"{node['html'][:160]} ({node.get('failureSummary', '')[:200]})"
        for node in violation["nodes"][:3]
    )
    return f"{violation['id']} ({violation['impact']}): {violation['help']}: {nodes}"


@contextmanager
def visitor(browser: Browser, **options: Any) -> Iterator[Visitor]:
    """A visitor with a profile of its own; options are those of Playwright's `new_context`."""
    context = browser.new_context(**options)
    context.set_default_timeout(PATIENCE_MS)
    try:
        visitor = Visitor(context, context.new_page())
        visitor.listen()
        yield visitor
        # While a page is being left for another one, its end can be waited for in vain.
        visitor.page.goto("about:blank")
    finally:
        context.close()
