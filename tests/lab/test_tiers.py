from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lab.tiers import Kind, open_queue
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize(
    "kind",
    [Kind("naive"), Kind("improved"), Kind("final"), Kind("final", "write")],
    ids=["naive", "improved", "final", "final-write"],
)
def test_each_queue_hands_a_job_to_the_handler_by_its_id(tmp_path: Path, kind: Kind) -> None:
    seen: list[str] = []
    ran = threading.Event()

    def handle(job_id: str) -> None:
        seen.append(job_id)
        ran.set()

    door = open_queue(kind, handle, workers=1, log=tmp_path / "log")
    door.enqueue("job-1")
    assert ran.wait(PATIENCE)
    door.queue.close()
    assert seen == ["job-1"]
    assert (tmp_path / "log").exists() == (kind.durability is not None)
