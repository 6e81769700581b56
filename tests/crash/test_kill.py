"""kill -9 at any moment: nothing is lost that the level of durability promised to keep."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from jobqueue.final import Config, JobQueue, Status, UnknownJobError
from tests.support.children import Child, read_acks
from tests.support.handlers import Recorder
from tests.support.waiting import PATIENCE, eventually

ROUNDS = 4
FINISHED = {Status.COMPLETED, Status.FAILED, Status.CANCELLED}


@pytest.mark.slow
@pytest.mark.parametrize(
    "durability", ["async", "write", pytest.param("fsync", marks=pytest.mark.daily)]
)
def test_no_job_that_was_acknowledged_is_lost_and_none_appears(
    tmp_path: Path, durability: str
) -> None:
    """Fault 1 of docs/reliability.md."""
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    for round_ in range(ROUNDS):
        _work_until_killed(log, acks, durability, f"{round_}", rng)

    lines = read_acks(acks)
    tried = _ids(lines, "tried")
    promised = _ids(_flushed(lines) if durability == "async" else lines, "accepted")
    cancelled = _ids(_flushed(lines) if durability == "async" else lines, "cancelled")
    ran = _ids(lines, "ran")
    assert len(promised) > ROUNDS

    recorder = Recorder()
    jq = JobQueue(Config(persist_path=log, num_workers=1), handler=recorder, start=False)
    before = {job_id: jq.status(job_id) for job_id in promised}  # each of them is known
    assert {jq.status(job_id) for job_id in cancelled} <= {Status.CANCELLED}
    assert {each for each, status in before.items() if status is Status.COMPLETED} <= ran
    _assert_all_children_or_none(jq, tried)
    jq.start()
    eventually(lambda: jq.metrics().queued + jq.metrics().processing == 0)
    for job_id in promised:
        assert jq.status(job_id) in FINISHED | {Status.SCHEDULED}, job_id
    jq.close(PATIENCE)
    again = recorder.ids()
    assert len(set(again)) == len(again)
    assert set(again) <= tried
    assert not set(again) & {each for each, status in before.items() if status in FINISHED}


def _assert_all_children_or_none(jq: JobQueue, tried: set[str]) -> None:
    """What a handler enqueued with its completion is there if that is, and only then."""
    parents = {each.partition("/")[0] for each in tried if "/" in each}
    assert parents
    for parent in parents:
        known = [_is_known(jq, f"{parent}/{number}") for number in range(3)]
        is_done = _is_known(jq, parent) and jq.status(parent) is Status.COMPLETED
        assert known == [is_done] * 3, parent


def _is_known(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return False
    return True


def _work_until_killed(
    log: Path, acks: Path, durability: str, run: str, rng: random.Random
) -> None:
    """Kill a child after so many promises of its own, wherever it is then."""
    with Child("work_until_killed", log, acks, durability, run, rng.randrange(2**32)) as child:
        assert child.line() == "started"
        acks.touch()
        promise, most = ("flushed", 6) if durability == "async" else ("accepted", 150)
        prefix, wanted = f"{promise} {run}-", rng.randint(1, most)
        eventually(lambda: acks.read_bytes().count(prefix.encode()) >= wanted)
        child.signal(signal.SIGKILL)
        assert child.end() == -signal.SIGKILL


def _ids(lines: Iterable[str], what: str) -> set[str]:
    return {line.split()[1] for line in lines if line.startswith(f"{what} ")}


def _flushed(lines: list[str]) -> list[str]:
    """Of each run, the lines before its last flush that returned began."""
    flushed = _ids(lines, "flushed")
    kept: list[str] = []
    for run in range(ROUNDS):
        own = [line for line in lines if line.split()[1].startswith(f"{run}-")]
        starts = [
            n
            for n, line in enumerate(own)
            if line.startswith("flushing ") and line.split()[1] in flushed
        ]
        kept += own[: starts[-1]] if starts else []
    return kept


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["write", "fsync"])
def test_a_job_survives_a_kill_right_after_enqueue_returned(
    tmp_path: Path, durability: str
) -> None:
    with Child("enqueue_and_wait", tmp_path, durability, "the job") as child:
        assert child.line() == "accepted"
        child.signal(signal.SIGKILL)
        child.end()

    with JobQueue(Config(persist_path=tmp_path), handler=len, start=False) as jq:
        assert jq.status("the job") is Status.QUEUED


@pytest.mark.slow
def test_async_hands_a_job_to_the_kernel_by_itself_before_long(tmp_path: Path) -> None:
    with Child("enqueue_and_wait", tmp_path, "async", "the job") as child:
        assert child.line() == "accepted"
        (segment,) = tmp_path.glob("*.jsonl")
        eventually(lambda: b"the job" in segment.read_bytes())
        child.signal(signal.SIGKILL)
        child.end()

    with JobQueue(Config(persist_path=tmp_path), handler=len, start=False) as jq:
        assert jq.status("the job") is Status.QUEUED
