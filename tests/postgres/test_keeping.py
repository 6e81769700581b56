"""What is too old is forgotten, by one process for all."""

from __future__ import annotations

from typing import Any

import pytest

from jobqueue.final import Job, ResultGoneError, Status, UnknownJobError
from tests.support.waiting import PATIENCE, eventually

Opened = Any


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it done ten times a second, and not once a minute."""
    pytest.importorskip("asyncpg")
    from jobqueue.postgres import keeping

    monkeypatch.setattr(keeping, "TURN_SECONDS", 0.1)
    monkeypatch.setattr(keeping, "OLD_TURNS", 1)


@pytest.mark.usefixtures("often")
def test_old_jobs_are_forgotten_and_unfinished_ones_are_not(opened: Opened) -> None:
    def handle(payload: bytes) -> int:
        if payload:
            raise OSError
        return 7

    queue = opened(handle, status_retention=3, result_retention=2, max_retries=0)
    queue.enqueue(Job(b"x", id="failed")).wait(PATIENCE)
    queue.enqueue(Job(id="waits", handler="nobody's"))
    for each in range(5):
        assert queue.enqueue(Job(id=f"done-{each}")).result(PATIENCE) == 7

    def ids() -> list[str]:
        return [each.id for each in queue.jobs()]

    assert eventually(lambda: ids() == ["done-4", "done-3", "done-2", "waits", "failed"])
    with pytest.raises(UnknownJobError):
        queue.status("done-0")
    with pytest.raises(ResultGoneError):
        queue.handle("done-2").result(PATIENCE)
    assert queue.handle("done-4").result(PATIENCE) == 7
    assert queue.metrics().completed == 5
    assert queue.status("waits") is Status.QUEUED


@pytest.mark.usefixtures("often")
def test_dead_letters_are_bounded_and_the_oldest_go(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: bytes) -> None:
        raise OSError

    queue = opened(fail, max_retries=0, max_dead_letters=2)
    for each in range(4):
        queue.enqueue(Job(id=str(each))).wait(PATIENCE)

    assert eventually(lambda: [each.id for each in queue.dead_letters()] == ["2", "3"])
    queue.close()
    assert "dead letters were dropped" in caplog.text
    own = [each for each in caplog.records if each.name == "jobqueue"]
    assert {vars(each)["queue"] for each in own} == {"postgres"}
