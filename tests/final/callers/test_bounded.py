"""`look` and `dead_groups`: what a page shows, found within a bound; and bulk changes by ids."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobQueue,
    Priority,
    RejectJobError,
    Status,
    Unique,
    UnknownJobError,
)
from tests.support.queues import Store
from tests.support.waiting import PATIENCE


def rejects(_payload: bytes) -> None:
    raise RejectJobError("no such customer")


def fails(_payload: bytes) -> None:
    raise ValueError("boom")


HANDLERS = {"rejects": rejects, "fails": fails, "length": len}


def filled(store: Store, count: int, seed: int) -> JobQueue:
    """Jobs of every status, in any order, some of them requeued and some forgotten."""
    rng = random.Random(seed)
    jq = store.open(handlers=HANDLERS, num_workers=1, max_retries=0, status_retention=count // 4)
    jq.pause(priority=Priority.LOW)
    for n in range(count):
        name = rng.choice([*HANDLERS])
        lane = Priority(rng.randrange(3))
        job = Job(str(n).encode(), id=f"job-{n}", handler=name, priority=lane, key=str(n % 3))
        jq.enqueue(job, delay=3600.0 * (rng.random() < 0.1))
    while jq.metrics().by_priority[Priority.HIGH].queued or jq.metrics().processing:
        jq.join(0.01)
    while jq.metrics().by_priority[Priority.MEDIUM].queued or jq.metrics().processing:
        jq.join(0.01)
    jq.pause()
    dead = [info.id for info in jq.dead_letters()]
    jq.requeue_jobs(ids=rng.sample(dead, len(dead) // 4))
    return jq


@pytest.mark.parametrize(
    "like",
    [
        {},
        {"status": "failed"},
        {"status": "failed", "error": "ValueError", "key": "1"},
        {"status": ["failed", "processing"]},
        {"status": ["failed", "queued"], "handler": "fails"},
        {"text": "job-1"},
        {"status": "failed", "text": "boom"},
        {"key": "nobody"},
    ],
    ids=str,
)
def test_a_look_tells_what_jobs_does_page_by_page(memory: Store, like: dict[str, Any]) -> None:
    jq = filled(memory, 700, seed := random.randrange(2**32))
    print("seed", seed)
    whole = [info.id for info in jq.jobs(limit=5000, **like)]
    found: list[str] = []
    before = None
    for _ in range(1000):
        look = jq.look(limit=37, before=before, within=151, **like)
        found += [job.id for job in look.jobs]
        assert look.looked_at <= 151
        assert look.matching >= len(look.jobs)
        before = look.jobs[-1].id if look.matching > len(look.jobs) else look.last
        if before is None:
            break
    assert found == whole
    assert jq.look(within=10**6, **like).matching == len(whole)
    jq.close(0, drain=False)


def test_a_look_tells_no_payload_and_finds_no_text_in_it_unless_it_may(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, start=False)
    jq.enqueue(Job(b"the secret", id="a", handler="length", headers={"tenant": "t1"}))
    (job,) = jq.look(text="secret").jobs
    assert (job.id, job.payload, job.attempts) == ("a", None, ())
    assert jq.look(text="secret", in_payload=False).jobs == ()
    assert jq.look(text="t1", in_payload=False).matching == 1
    jq.close(0, drain=False)


def test_what_fails_is_found_without_a_look_at_all_others(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, max_retries=0, queue_size=5000)
    jq.enqueue(Job(id="dead", handler="rejects")).wait(PATIENCE)
    jq.pause()
    jq.enqueue_many([Job(handler="length") for _ in range(3000)])
    look = jq.look(status="failed", within=10)
    assert [job.id for job in look.jobs] == ["dead"]
    assert (look.looked_at, look.last) == (1, None)
    jq.close(0, drain=False)


def test_a_look_refuses_what_cannot_be(memory: Store) -> None:
    jq = memory.open(len)
    with pytest.raises(UnknownJobError):
        jq.look(before="nobody")
    for wrong in ({"limit": 0}, {"within": 0}, {"status": "lost"}):
        with pytest.raises(ValueError):
            jq.look(**wrong)


def test_dead_letters_are_grouped_with_the_last_of_each(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, num_workers=1, max_retries=0)
    for name in ("rejects", "fails", "fails"):
        jq.enqueue(Job(b"x", id=f"{name}-{jq.metrics().failed}", handler=name)).wait(PATIENCE)
    groups = jq.dead_groups()
    assert (groups.letters, groups.kinds) == (3, 2)
    assert [(each.handler, each.error, each.count, each.last.id) for each in groups.groups] == [
        ("fails", "ValueError", 2, "fails-2"),
        ("rejects", "RejectJobError", 1, "rejects-0"),
    ]
    assert "boom" in (groups.groups[0].last.last_traceback or "")
    assert groups.groups[0].last.payload is None
    assert len(jq.dead_groups(limit=1).groups) == 1
    assert jq.dead_groups(limit=1).kinds == 2


def test_changes_by_ids_are_those_alone(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, num_workers=1, max_retries=0)
    for each in "abcd":
        jq.enqueue(Job(id=each, handler="fails")).wait(PATIENCE)
    assert jq.discard_jobs(ids=["a", "nobody", "a"]) == 1
    assert jq.discard_jobs(ids=["b"], handler="rejects") == 0
    assert jq.requeue_jobs(ids=["d", "c", "b"], limit=2) == 2
    jq.join()
    jq.enqueue(Job(id="later", handler="length"), delay=3600)
    jq.pause()
    assert jq.run_now(ids=["later"]) == 1
    assert jq.cancel_jobs(ids=["later", "b"]) == 1
    assert jq.cancel_jobs(ids=[]) == 0
    assert {job.id for job in jq.jobs()} == {"b", "c", "d", "later"}
    with pytest.raises(TypeError, match="list of jobs' ids"):
        jq.cancel_jobs(ids="later")


def test_handlers_count_what_is_queued_of_the_newest_jobs(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, start=False, queue_size=2000)
    jq.enqueue_many([Job(handler="length") for _ in range(1000)])
    (length,) = [each for each in jq.handlers(within=200) if each.name == "length"]
    assert 200 <= length.queued < 500
    assert {each.queued for each in jq.handlers()} == {0, 1000}
    jq.close(0, drain=False)


def test_a_schedule_is_run_besides_its_ticks(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS)
    jq.periodic("report", timedelta(days=1), lambda: Job(b"four", id="mine", handler="length"))
    jq.pause(periodic="report")
    first, second = jq.run_periodic("report"), jq.run_periodic("report")
    assert first.id != second.id
    assert (first.result(PATIENCE), second.wait(PATIENCE)) == (4, Status.COMPLETED)
    assert jq.periodics()[0].last is None
    with pytest.raises(ValueError, match="no schedule 'nobody'"):
        jq.run_periodic("nobody")


def test_a_unique_job_of_a_schedule_is_added_once(memory: Store) -> None:
    jq = memory.open(handlers=HANDLERS, start=False)
    raising = Unique(by="key", on_conflict="raise")
    jq.periodic("once", timedelta(days=1), lambda: Job(handler="length", key="k", unique=Unique()))
    jq.periodic("only", timedelta(days=1), lambda: Job(handler="fails", key="x", unique=raising))
    assert jq.run_periodic("once").id == jq.run_periodic("once").id
    jq.run_periodic("only")
    with pytest.raises(DuplicateJobError):
        jq.run_periodic("only")
    jq.close(0, drain=False)


def test_a_client_asks_its_owner_for_the_same(tmp_path: Path) -> None:
    pytest.importorskip("msgspec", reason="processes speak by it")
    config = Config(persist_path=tmp_path / "jobs", share="auto", max_retries=0)
    with JobQueue(config, handlers=HANDLERS) as owner, JobQueue(config) as client:
        owner.periodic("report", timedelta(days=1), lambda: Job(b"four", handler="length"))
        for each in "abc":
            client.enqueue(Job(id=each, handler="fails")).wait(PATIENCE)
        look = client.look(status=Status.FAILED, limit=2)
        assert ([job.id for job in look.jobs], look.matching) == (["c", "b"], 3)
        assert client.look(before=look.jobs[-1].id).jobs[0].id == "a"
        assert client.dead_groups() == owner.dead_groups()
        assert {each.name for each in client.handlers(within=10)} == {*HANDLERS}
        assert client.discard_jobs(ids=["a", "b"]) == 2
        assert client.run_periodic("report").wait(PATIENCE) is Status.COMPLETED
        with pytest.raises(ValueError, match="no schedule"):
            client.run_periodic("nobody")
        assert client.metrics().workers.size == 4
