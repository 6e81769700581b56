"""What the README shows first works as it stands, and its figures are those that were measured.

That its code runs and prints what it says is seen in `tests/docs`, with that of all pages.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.pages import blocks_of, links_of
from tests.support.readme import BLOCK, MEASUREMENTS, README, figures

TEXT = README.read_text(encoding="utf-8")
SCREEN_LINES = 30
SEARCHED_FOR = [
    *("FastAPI", "Flask", "Django", "gunicorn", "asyncio", "cron", "rate limit", "retries"),
    *("idempotency", "testing", "Prometheus", "OpenTelemetry", "dashboard", "priorities"),
    *("Kubernetes", "Celery", "pip install"),
]
QUICK_START_LINES_MAX = 20


@pytest.mark.parametrize("command", ["make run", "make test"])
def test_the_command_stands_on_the_first_screen(command: str) -> None:
    first_screen = TEXT.splitlines()[:SCREEN_LINES]
    assert any(line.startswith(command) for line in first_screen)


@pytest.mark.slow
def test_the_quick_start_is_a_short_program_of_its_own(tmp_path: Path) -> None:
    quick_start = next(block for block in blocks_of(TEXT) if block.info == "python")
    assert quick_start.source.count("\n") <= QUICK_START_LINES_MAX

    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", quick_start.source],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stdout) == (0, "sent to ada@example.com\n"), run.stderr


def test_the_figures_are_those_that_were_measured() -> None:
    """`python -m tests.support.readme` writes them."""
    measurements = json.loads(MEASUREMENTS.read_text(encoding="utf-8"))
    (block,) = BLOCK.findall(TEXT)
    assert block.strip() == figures(measurements).strip()


def test_the_fastest_job_queue_is_named_and_no_mere_queue() -> None:
    def row(name: str, speed: float, ratio: float) -> dict[str, object]:
        return {"name": name, "jobs/s": speed, "ratio": ratio}

    rows = [
        row("queue.Queue(1000), bare", 900_000.0, 0.1),
        row("jobqueue", 1_000.0, 1.0),
        row("slow", 10.0, 100.0),
        row("fast", 100.0, 10.0),
        {"name": "gone", "left out": "ModuleNotFoundError"},
    ]
    machine = {"date": "2026-01-01", "cores": "2", "python": "CPython 3.11.7", "system": "Linux"}
    text = figures({"machine": machine, "series": {"peers": {"in memory": rows}}})
    assert "| in memory | 1,000 jobs/s | fast: 100 jobs/s | 10 × |" in text


@pytest.mark.parametrize(
    "page",
    [
        *("guides/getting-started.md", "guides/web.md", "guides/testing.md", "guides/dashboard.md"),
        *("learn.md", "lab/index.md", "promises.md", "reference/config.md", "cli.md"),
        *("architecture.md", "performance.md", "guides/other-libraries.md", "index.md"),
    ],
)
def test_the_documentation_is_found_from_here(page: str) -> None:
    """From each of its four parts some pages are linked."""
    assert f"docs/{page}" in set(links_of(TEXT))


def test_the_picture_says_what_it_shows_and_is_there_for_both_schemes() -> None:
    (words, light) = re.findall(r'<img alt="([^"]*)" src="([^"]+)">', TEXT)[0]
    (dark,) = re.findall(r'prefers-color-scheme: dark\)" srcset="([^"]+)"', TEXT)
    assert len(words.split()) >= 5
    assert all((README.parent / picture).is_file() for picture in (light, dark))


@pytest.mark.parametrize("word", SEARCHED_FOR)
def test_what_people_search_for_is_named(word: str) -> None:
    assert word.lower() in TEXT.lower()


def test_it_says_how_far_it_goes_in_its_first_sentences() -> None:
    first = TEXT.split("\n\n")[1]
    assert "one machine" in first
    assert "PostgreSQL" in first


def test_what_was_told_here_is_told_on_pages_of_its_own() -> None:
    told = {
        "learn.md": "| what it is | what everyone writes first | bounded, in memory |",
        "promises.md": '| `"write"` (default) | handed to the kernel | nothing |',
        "guides/other-libraries.md": "| dramatiq 2.2 | machines, by RabbitMQ or Redis |",
    }
    for page, row in told.items():
        assert row in (README.parent / "docs" / page).read_text(encoding="utf-8")
