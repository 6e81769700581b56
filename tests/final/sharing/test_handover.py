"""What happens when the owner of a shared queue ends: one of its clients goes on, nothing is lost.

Faults 39 and 40: an owner that is killed under load, and at each step of a handover.
"""

from __future__ import annotations

import asyncio
import errno
import os
import random
import signal
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobHandle,
    JobQueue,
    NoOwnerError,
    QueueClosedError,
    Status,
)
from jobqueue.final.sharing import address
from jobqueue.final.sharing.greeting import GREETING_SECONDS
from jobqueue.final.sharing.link import END_SECONDS
from tests.support import insides
from tests.support.children import Child
from tests.support.killed_owners import Trial
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.final.sharing.conftest import Sharing
    from tests.support.records import Records

FOLLOW_SECONDS_MAX = 0.5
STEPS = sorted(insides.handover_steps())


def call(function: Callable[..., object], *args: object) -> Future[object]:
    """Make a call in a thread of its own."""
    future: Future[object] = Future()

    def run() -> None:
        try:
            future.set_result(function(*args))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def test_a_client_becomes_the_owner_when_that_one_closes(sharing: Sharing) -> None:
    first = sharing.open(len, start=False)
    second = sharing.open(len)
    waiting = second.enqueue(Job(b"abc"))
    assert not insides.is_owner(second)

    first.close()

    assert waiting.result(PATIENCE) == 3
    assert insides.is_owner(second)
    assert second.enqueue(Job(b"abcd")).result(PATIENCE) == 4
    assert second.status(waiting.id) is waiting.status is Status.COMPLETED


def test_what_a_client_registered_is_there_in_its_turn(sharing: Sharing) -> None:
    first, second = sharing.open(start=False), sharing.open()
    second.register("length", len, timeout=30.0)
    handle = second.enqueue(Job(b"abc", handler="length"))
    first.close()
    assert handle.result(PATIENCE) == 3
    with pytest.raises(ValueError, match="'length'"):
        second.register("length", max)


def test_a_client_that_was_not_started_starts_nothing_in_its_turn(sharing: Sharing) -> None:
    first, second = sharing.open(len, start=False), sharing.open(len, start=False)
    handle = second.enqueue(Job())
    first.close()
    assert eventually(lambda: insides.is_owner(second))
    assert handle.wait(0.01) is Status.QUEUED
    second.start()
    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_calls_that_wait_go_on_with_the_next_owner(sharing: Sharing) -> None:
    first, second, third = (sharing.open(len, start=n > 0) for n in range(3))
    handle = second.enqueue(Job(b"abc"))
    calls = [call(handle.result), call(third.join), call(third.handle(handle.id).wait)]
    for jq in (second, third):
        assert eventually(lambda jq=jq: insides.is_asking(jq))  # type: ignore[misc]  # bound at once

    first.close()

    assert [each.result(PATIENCE) for each in calls] == [3, True, Status.COMPLETED]


def test_a_call_that_waits_for_room_goes_on_with_the_next_owner(sharing: Sharing) -> None:
    first = sharing.open(len, start=False, queue_size=1)
    second = sharing.client()
    second.enqueue(Job(id="first"))
    late = call(second.enqueue, Job(id="late"))
    assert eventually(lambda: insides.is_asking(second))
    third = sharing.open(len, queue_size=1)

    first.close()

    handle = late.result(PATIENCE)
    assert isinstance(handle, JobHandle)
    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert third.status("first") is Status.COMPLETED


def test_a_call_that_is_sent_again_was_accepted_once(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    owner = sharing.open(blocker, num_workers=1, queue_size=1)
    client = sharing.client()
    client.enqueue(Job())
    blocker.await_entered()
    handle = client.enqueue(Job(id="known"))
    late = call(client.enqueue, Job(id="late"))
    assert eventually(lambda: insides.is_asking(client))

    insides.break_off(client)

    with pytest.raises(DuplicateJobError):  # the same id, but not the same call
        client.enqueue(Job(id=handle.id))
    blocker.gate.set()
    late.result(PATIENCE)
    assert owner.join(PATIENCE)
    assert owner.metrics().enqueued == 3


def test_a_call_whose_answer_was_lost_is_not_carried_out_twice(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, client = sharing.open(len), sharing.client()
    client.metrics()
    with monkeypatch.context() as patch:
        patch.setattr(*insides.handover_steps()["a job is let in"], lambda *_: None)
        late = call(client.enqueue, Job(b"abc", id="late"))
        assert owner.join(PATIENCE)
        assert eventually(lambda: owner.metrics().enqueued == 1)
    insides.break_off(client)
    handle = late.result(PATIENCE)
    assert isinstance(handle, JobHandle)
    assert handle.result(PATIENCE) == 3
    assert owner.metrics().enqueued == 1


def test_a_client_that_is_closed_as_it_becomes_the_owner_runs_nothing(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[bytes] = []
    first, second = sharing.open(len, start=False), sharing.open(ran.append)
    second.enqueue(Job(id="waits"))
    begun, closes = threading.Event(), threading.Event()

    def held(*_: object) -> None:
        begun.set()
        assert closes.wait(PATIENCE)

    monkeypatch.setattr(*insides.handover_steps()["the handlers are registered"], held)
    first.close()
    assert begun.wait(PATIENCE)
    closing = call(second.close)
    assert eventually(lambda: second.closed)
    closes.set()
    closing.result(PATIENCE)
    monkeypatch.undo()
    third = sharing.open(len, start=False)
    assert insides.is_owner(third)
    assert third.status("waits") is Status.QUEUED
    assert not ran


def test_without_an_owner_calls_wait_for_a_while_and_are_told(sharing: Sharing) -> None:
    client = sharing.client(connect_timeout=0.05)
    with pytest.raises(NoOwnerError, match=r"metrics .*0\.05 s"):
        client.metrics()
    late = call(client.metrics)
    sharing.open(len)
    late.exception(PATIENCE)  # one or the other, and it ends
    assert client.metrics().enqueued == 0


@pytest.mark.parametrize("how", ["call", "coroutine"])
def test_an_owner_that_drains_for_long_is_not_waited_for_without_end(
    sharing: Sharing, how: str
) -> None:
    blocker = sharing.blocker()
    owner, client = sharing.open(blocker), sharing.client(connect_timeout=0.2)
    client.enqueue(Job(id="runs"))
    blocker.await_entered()
    closing = call(owner.close)
    assert eventually(lambda: owner.closed)
    with pytest.raises(NoOwnerError, match=r"enqueue .*0\.2 s"):
        if how == "call":
            client.enqueue(Job())
        else:
            asyncio.run(client.aenqueue(Job()))
    assert client.status("runs") is Status.PROCESSING
    blocker.gate.set()
    closing.result(PATIENCE)


def test_a_call_finds_the_owner_that_comes_while_it_waits(sharing: Sharing) -> None:
    client = sharing.client()
    late = call(client.enqueue, Job(b"abc"))
    assert eventually(lambda: insides.is_asking(client))
    sharing.open(len)
    handle = late.result(PATIENCE)
    assert isinstance(handle, JobHandle)
    assert handle.result(PATIENCE) == 3


def test_a_client_without_an_owner_is_made_and_closed_at_once(sharing: Sharing) -> None:
    begun = time.monotonic()
    client = sharing.client(connect_timeout=PATIENCE)
    late = call(client.metrics)
    assert eventually(lambda: insides.is_asking(client))
    client.close()
    with pytest.raises(QueueClosedError):
        late.result(PATIENCE)
    assert time.monotonic() - begun < PATIENCE / 2


@pytest.fixture
def mute(sharing: Sharing) -> Iterator[None]:
    """Somebody listens as an owner does, and never says a word: one that was stopped, say."""
    sharing.path.mkdir()
    with address.listen(str(sharing.path)):
        yield


@pytest.mark.usefixtures("mute")
def test_an_owner_that_does_not_answer_is_not_waited_for_without_end(sharing: Sharing) -> None:
    client = sharing.client(connect_timeout=0.05)
    begun = time.monotonic()
    with pytest.raises(NoOwnerError, match=r"0\.05 s .* does not answer"):
        client.metrics()
    assert time.monotonic() - begun < GREETING_SECONDS / 2


@pytest.mark.usefixtures("mute")
def test_a_client_is_closed_at_once_while_its_owner_does_not_answer(sharing: Sharing) -> None:
    client = sharing.client(connect_timeout=PATIENCE)
    late = call(client.metrics)
    assert eventually(lambda: insides.is_asking(client))
    begun = time.monotonic()
    client.close()
    with pytest.raises(QueueClosedError):
        late.result(PATIENCE)
    assert time.monotonic() - begun < END_SECONDS


def test_a_client_by_its_settings_never_becomes_the_owner(sharing: Sharing) -> None:
    first, client = sharing.open(len), sharing.client(connect_timeout=0.05)
    first.close()
    with pytest.raises(NoOwnerError):
        client.enqueue(Job())
    assert not insides.is_owner(client)


def test_a_log_that_cannot_be_taken_over_is_told_and_tried_again(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch, records: Records
) -> None:
    first, second = sharing.open(len), sharing.open(len, connect_timeout=0.2)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(*insides.handover_steps()["the lock is taken"], fail)
        first.close()
        with pytest.raises(NoOwnerError, match="the disk is gone"):
            second.metrics()
    assert eventually(lambda: insides.is_owner(second))
    told = [record.getMessage() for record in records.rest()]
    assert sum("could not take over" in each for each in told) == 1


def test_settings_that_differ_are_told_once(sharing: Sharing, records: Records) -> None:
    sharing.open(len, num_workers=2)
    client = sharing.client(num_workers=3)
    client.metrics()
    insides.break_off(client)
    client.metrics()
    told = [
        each for each in [record.getMessage() for record in records.rest()] if "do not hold" in each
    ]
    assert len(told) == 1
    assert "num_workers (3 here, 2 there)" in told[0]


@pytest.mark.slow
def test_an_owner_that_is_killed_is_followed_within_half_a_second(tmp_path: Path) -> None:
    """The quickest of a few counts: a busy machine is slow by itself."""
    assert any(seconds_to_follow(tmp_path / str(n)) < FOLLOW_SECONDS_MAX for n in range(5))


def seconds_to_follow(log: Path) -> float:
    """From the death of an owner until a job has run in the next one."""
    with Child("die_in_handover", log, "") as first:
        assert first.line() == "owner"
        with JobQueue(Config(persist_path=log, share="auto"), handler=len) as jq:
            handle = jq.enqueue(Job(b"abc"))
            assert not insides.is_owner(jq)
            begun = time.monotonic()
            first.signal(signal.SIGKILL)
            assert jq.enqueue(Job(b"abcd")).result(PATIENCE) == 4
            seconds = time.monotonic() - begun
            assert jq.status(handle.id) is Status.COMPLETED
            assert insides.is_owner(jq)
    return seconds


@pytest.mark.slow
@pytest.mark.parametrize(
    "after",
    # After a step is much the same as before the next one.
    [pytest.param(False, id="before"), pytest.param(True, id="after", marks=pytest.mark.daily)],
)
@pytest.mark.parametrize("step", STEPS)
def test_a_death_at_any_step_of_a_handover_loses_nothing(
    tmp_path: Path, step: str, after: bool
) -> None:
    """Fault 40."""
    log = tmp_path / "jobs"
    with Child("die_in_handover", log, "") as first:
        assert first.line() == "owner"
        with (
            JobQueue(Config(persist_path=log, share="client", connect_timeout=60.0)) as client,
            Child("die_in_handover", log, step, *(["after"] if after else [])) as second,
        ):
            assert second.line() == "client"
            client.pause()
            early = client.enqueue(Job(id="early"))
            first.signal(signal.SIGSTOP)  # so that what is sent now is not answered
            os.waitpid(first.process.pid, os.WUNTRACED)
            calls = [call(client.join), call(client.enqueue, Job(id="late"))]
            calls.append(call(client.enqueue_many, [Job(id=f"many-{n}") for n in range(20)]))
            assert eventually(lambda: insides.asked_by(client) == 3)
            first.signal(signal.SIGKILL)
            first.end()
            with JobQueue(client.config) as other:
                calls.append(call(other.enqueue, Job(id="new")))
                assert second.end(PATIENCE) == -signal.SIGKILL
                with Child("die_in_handover", log, "") as third:
                    assert third.line() == "owner"
                    assert calls[0].result(PATIENCE) is True
                    for each in calls[1:]:
                        each.result(PATIENCE)
                    assert client.join(PATIENCE)
                    assert early.status is Status.COMPLETED
                    for job_id in ("late", "new", *(f"many-{n}" for n in range(20))):
                        assert other.status(job_id) is Status.COMPLETED


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "seconds"),
    [(3, 60), pytest.param(1000, 60, marks=[pytest.mark.daily, pytest.mark.timeout(400)])],
)
def test_owners_that_are_killed_under_load_lose_nothing(
    tmp_path: Path, kills: int, seconds: float
) -> None:
    """Fault 39; once a day for a minute."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    trial = Trial(tmp_path, random.Random(seed))
    assert trial.run(kills, seconds) == []
    assert trial.kills
    print(f"{trial.kills} owners killed, {len(trial.accepted)} jobs accepted")
