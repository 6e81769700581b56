from __future__ import annotations

import io

import pytest

from lab.progress import Progress, progress_bar


def test_progress_tells_steps_done_and_expected_and_what_is_done() -> None:
    told: list[tuple[float, float, str]] = []
    progress = Progress(lambda done, total, what: told.append((done, total, what)))
    progress.expect(3)
    progress.begin("one")
    progress.advance()
    progress.advance(2)
    assert told == [(0, 3, ""), (0, 3, "one"), (1, 3, "one"), (3, 3, "one")]


def test_without_a_terminal_there_is_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with progress_bar("crash") as progress:
        progress.expect(2)
        progress.advance()
    assert stderr.getvalue().strip() == ""
