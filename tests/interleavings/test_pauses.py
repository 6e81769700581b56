"""Pauses beside workers that take, and ticks beside `close`, in any order of the threads' steps."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any, Literal

import pytest

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    Limit,
    Priority,
    Status,
)
from jobqueue.final.life import recovery
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.disk_tree import Tree
from tests.support.interleavings import explore, join, start
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles

pytestmark = pytest.mark.slow

Store = Literal["memory", "async", "write"]
STORES: tuple[Store, ...] = ("memory", "async", "write")
WHAT: list[dict[str, Any]] = [
    {"handler": "held"},
    {"priority": Priority.LOW},
    {"handler": "held", "priority": Priority.LOW},
]


def kept(patch: pytest.MonkeyPatch, store: Store) -> Config:
    """The settings of a queue; if it has a log, that is on a disk in memory."""
    options: dict[str, Any] = {}
    if store != "memory":
        files = RecordingFiles(Tree(EMPTY_DISK), maps=store == "write", sync_seconds=0)
        patch.setattr(recovery, "Files", lambda: files)
        options = {"persist_path": LOG, "durability": store}
    return Config(num_workers=2, jitter=0, **options)


@pytest.mark.parametrize("limit", [None, Limit(1)], ids=["", "limited"])
@pytest.mark.parametrize("what", WHAT, ids=["handler", "lane", "both"])
def test_once_a_pause_has_returned_nothing_of_it_starts_until_it_is_resumed(
    what: dict[str, Any], limit: Limit | None
) -> None:
    def model() -> None:
        jq = JobQueue(Config(num_workers=2))
        ran: list[str] = []

        def handle(_payload: bytes, context: JobContext) -> None:
            with insides.mutex(jq):
                ran.append(context.job.id)

        jq.register("held", handle, limit=limit)
        jq.register("free", handle, limit=limit)
        held = [Job(id=name, handler="held", priority=Priority.LOW) for name in "abc"]
        free = [Job(id=name, handler="free", priority=Priority.HIGH) for name in "xy"]

        def pause() -> None:
            jq.pause(**what)
            started = have_started(jq)
            for each in jq.jobs(handler="free"):
                jq.handle(each.id).wait()
            assert have_started(jq) == started, "a job started while it was paused"
            jq.resume(**what)

        join(start(lambda: jq.enqueue_many(held), lambda: jq.enqueue_many(free), pause))
        for each in "abcxy":
            assert jq.handle(each).wait() is Status.COMPLETED
        assert sorted(ran) == ["a", "b", "c", "x", "y"]
        assert [each for each in ran if each in "abc"] == ["a", "b", "c"] or limit is None
        jq.close()

    explore(model, orders=90)


def have_started(jq: JobQueue) -> set[str]:
    return {each.id for each in jq.jobs(handler="held") if each.started is not None}


@pytest.mark.parametrize("store", STORES)
@pytest.mark.parametrize("drain", [True, False], ids=["drains", "leaves"])
@pytest.mark.parametrize("by_hand", [True, False], ids=["by-hand", "own-thread"])
def test_a_tick_beside_close_is_accepted_before_it_or_never(
    by_hand: bool, drain: bool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def model() -> None:
        config = kept(monkeypatch, store)
        clock = ManualClock(0.5) if by_hand else None
        jq = JobQueue(config, handler=len, clock=clock)
        jq.periodic("tick", timedelta(seconds=1), Job)
        there: list[set[str]] = []
        remaining: list[int] = []

        def close() -> None:
            if clock is None:
                threading.Event().wait(1)  # of the model's time: to when the tick comes
            remaining.append(jq.close(drain=drain).remaining)
            there.append(known(jq))

        moves = [] if clock is None else [lambda: clock.advance(1)] * 2
        join(start(close, *moves))
        assert known(jq) == there[0], "a tick was accepted by a queue that is closed"
        metrics = jq.metrics()
        assert metrics.enqueued == len(there[0])
        assert metrics.queued == remaining[0]
        assert metrics.completed + metrics.queued == metrics.enqueued
        assert not (drain and metrics.queued)
        if store != "memory":
            again = JobQueue(config, handler=len, start=False)
            assert known(again) == there[0]
            again.close()

    explore(model, orders=60)


def known(jq: JobQueue) -> set[str]:
    return {each.id for each in jq.jobs()}
