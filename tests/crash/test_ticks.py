"""kill -9 around a tick: its job and its record are in the log both, or neither; none is missed."""

from __future__ import annotations

import random
import signal
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.record import Enqueued, Ticked
from jobqueue.final.wal.reading.replay import replay
from tests.support.children import Child
from tests.support.waiting import PATIENCE

INTERVAL = 0.02
ROUNDS = 3
OTHERS = ("async", "fsync")


@pytest.mark.slow
@pytest.mark.parametrize(
    "durability", ["write", *(pytest.param(each, marks=pytest.mark.daily) for each in OTHERS)]
)
def test_killed_at_any_moment_each_tick_is_run_once(tmp_path: Path, durability: str) -> None:
    """Fault 1 of docs/reliability.md."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = tmp_path / "jobs.db"
    for _ in range(ROUNDS):
        with Child("tick_until_killed", log, durability, INTERVAL) as child:
            for _ in range(rng.randint(2, 40)):
                assert child.line() == "ticked"
            child.signal(signal.SIGKILL)
            assert child.end() == -signal.SIGKILL
        _assert_both_or_neither(log)

    jq = JobQueue(Config(persist_path=log), handler=len)
    jq.periodic("often", timedelta(seconds=INTERVAL), Job, catch_up="all")
    assert jq.join(PATIENCE)
    jq.close(PATIENCE)
    ids = _assert_both_or_neither(log)
    numbers = [round(_seconds(each) / INTERVAL) for each in ids]
    assert len(set(ids)) == len(ids)
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))


def _assert_both_or_neither(log: Path) -> list[str]:
    """Each tick has its job in the same log, and each job its tick; returns the jobs' ids."""
    jobs: dict[int, str] = {}
    ticks: dict[int, float] = {}
    for records in replay(Files(), str(log)):
        for record in records:
            if isinstance(record, Enqueued):
                jobs[record.job] = record.id
            elif isinstance(record, Ticked) and record.job:
                ticks[record.job] = record.at
        assert all(number in jobs for number in ticks)
    # A snapshot keeps of each schedule the last tick, and so that of the last job in it.
    last = max(ticks, default=0)
    assert last == max(jobs, default=0)
    if ticks:
        assert _seconds(jobs[last]) == pytest.approx(ticks[last])
    return [jobs[number] for number in sorted(jobs)]


def _seconds(job_id: str) -> float:
    return datetime.fromisoformat(job_id.removeprefix("often@")).astimezone(UTC).timestamp()
