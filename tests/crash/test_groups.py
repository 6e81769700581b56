"""kill -9 amid the acceptance of a group: the next start finds all of its jobs, or none."""

from __future__ import annotations

import errno
import random
import signal
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Config, Job, JobQueue, LogWriteError, UnknownJobError
from tests.support import insides
from tests.support.children import Child, read_acks
from tests.support.held_files import HeldFiles
from tests.support.left_out import often
from tests.support.waiting import eventually

ROUNDS = often(2, 4)
LEVELS: list[Any] = [pytest.param("async", marks=pytest.mark.daily), "write", "fsync"]


@pytest.mark.slow
@pytest.mark.parametrize("durability", LEVELS)
def test_of_a_group_all_are_there_after_a_kill_or_none(tmp_path: Path, durability: str) -> None:
    """Fault 1 of docs/reliability.md."""
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for round_ in range(ROUNDS):
        arguments = (log, acks, durability, f"{round_}", rng.randrange(2**32))
        with Child("groups_until_killed", *arguments) as child:
            assert child.line() == "started"
            acks.touch()
            wanted = rng.randint(1, 150)
            prefix = f"accepted {round_}-".encode()
            eventually(lambda: acks.read_bytes().count(prefix) >= wanted)  # noqa: B023
            child.signal(signal.SIGKILL)
            assert child.end() == -signal.SIGKILL

    lines = [line.split() for line in read_acks(acks)]
    accepted = {name for what, name, _ in lines if what == "accepted"}
    with JobQueue(Config(persist_path=log), handler=len, start=False) as jq:
        known = 0
        for what, name, count in lines:
            if what == "tried":
                there = [_is_known(jq, f"{name}-{k}") for k in range(int(count))]
                assert len(set(there)) == 1, name
                known += there[0]
                assert there[0] or name not in accepted or durability == "async"
        assert known > ROUNDS


def _is_known(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return False
    return True


@pytest.fixture
def files(monkeypatch: pytest.MonkeyPatch) -> HeldFiles:
    """What logs that are opened from here on are written through."""
    files = HeldFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    return files


@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_a_full_disk_refuses_all_of_a_group_and_with_space_back_it_is_taken(
    tmp_path: Path, files: HeldFiles, durability: Any
) -> None:
    """Fault 9 of docs/reliability.md."""
    files.fail("allocate", errno.EOPNOTSUPP)
    config = Config(persist_path=tmp_path, durability=durability, fsync_interval=0.01)
    jobs = [Job(id="a"), Job(id="b", after=["a"]), Job(id="c", after=["b"])]
    with JobQueue(config, handler=len, start=False) as jq:
        for method in ("allocate", "write"):
            files.fail(method, errno.ENOSPC, for_ever=True, partial=40)
        with pytest.raises(LogWriteError):
            jq.enqueue_together(jobs)
        assert [_is_known(jq, each) for each in "abc"] == [False] * 3
        assert (jq.metrics().enqueued, jq.metrics().scheduled) == (0, 0)
        files.heal()
        assert len(jq.enqueue_together(jobs)) == 3
    with JobQueue(config, handler=len) as jq:
        assert jq.join(10)
        assert jq.metrics().completed == 3


def test_a_record_that_cannot_be_encoded_refuses_all_of_its_group(tmp_path: Path) -> None:
    jobs = [Job(id="a"), Job(id="b", after=["a"]), Job(id="c", after=["b"])]
    with JobQueue(Config(persist_path=tmp_path), handler=len, start=False) as jq:
        with pytest.raises(LogWriteError, match="cannot be encoded"):
            jq.enqueue_together([jobs[0], insides.spoil(Job(id="b", after=["a"])), jobs[2]])
        assert [_is_known(jq, each) for each in "abc"] == [False] * 3
        assert len(jq.enqueue_together(jobs)) == 3
