"""A client's connection: interrupted, forked, dropped, asked by many threads."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from jobqueue.final import (
    Config,
    ConfigError,
    EnqueueCancelledError,
    Job,
    JobQueue,
    QueueClosedError,
    Status,
)
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.forks import in_fork
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.final.sharing.conftest import Sharing


@pytest.mark.slow
def test_each_of_many_threads_gets_its_own_answers(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()

    def ask(number: int) -> None:
        for n in range(50):
            handle = client.enqueue(Job(bytes(number), id=f"{number}-{n}"))
            assert handle.result(PATIENCE) == number
            assert client.info(handle.id).id == handle.id

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(16)))
    assert owner.metrics().completed == 800


def test_threads_and_callbacks_are_answered_beside_each_other(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    sharing.open(blocker)
    client = sharing.client()
    told = threading.Event()
    first, second = client.enqueue(Job()), client.enqueue(Job())
    first.add_done_callback(lambda _: told.set())
    waits = threading.Thread(target=second.wait)
    waits.start()
    assert client.status(first.id) in (Status.QUEUED, Status.PROCESSING)
    blocker.gate.set()
    waits.join(PATIENCE)
    assert told.wait(PATIENCE)
    assert not waits.is_alive()


def test_a_call_whose_thread_was_interrupted_is_accepted_no_more(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = sharing.open(len, start=False, queue_size=1)
    client = sharing.client()
    client.enqueue(Job())
    interrupt = KeyboardInterrupt()

    def interrupted(*_: object) -> bool:
        assert eventually(
            lambda: len(insides.producers(insides.owner_of(owner), Job().priority)) == 1
        )
        raise interrupt

    with monkeypatch.context() as patch:
        patch.setattr(insides.link_of(client), "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.enqueue(Job(id="interrupted"))

    assert eventually(lambda: not insides.producers(insides.owner_of(owner), Job().priority))
    assert client.metrics().enqueued == 1


def test_a_reader_that_was_interrupted_costs_no_other_its_answer(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing.open(len, start=False)
    client = sharing.client()
    client.enqueue(Job())
    seam = insides.hand_out(insides.link_of(client))
    hits = iter([KeyboardInterrupt()])
    original = getattr(*seam)

    def hit(answer: object) -> None:
        for error in hits:
            raise error
        original(answer)

    monkeypatch.setattr(*seam, hit)
    errors: list[BaseException] = []

    def lead() -> None:
        try:
            client.join()
        except KeyboardInterrupt as error:
            errors.append(error)

    leader = threading.Thread(target=lead)
    leader.start()
    assert eventually(lambda: insides.leads(client, leader))
    assert client.metrics().enqueued == 1
    leader.join(PATIENCE)
    assert len(errors) == 1


def test_what_was_given_up_before_there_was_an_owner_is_not_sent(sharing: Sharing) -> None:
    client = sharing.client()
    cancel = threading.Event()
    threading.Timer(0.03, cancel.set).start()
    with pytest.raises(EnqueueCancelledError):
        client.enqueue(Job(), cancel=cancel)
    sharing.open(len)
    client.enqueue(Job())
    assert client.metrics().enqueued == 1


def test_a_forked_childs_queue_is_its_parents(sharing: Sharing) -> None:
    sharing.open(len)
    client = sharing.client()
    handle = client.enqueue(Job())

    def use() -> list[str]:
        said = []
        for use in (lambda: client.enqueue(Job()), handle.wait, client.metrics):
            try:
                use()
            except QueueClosedError as error:
                said.append(str(error))
        client.close()
        return said

    said = in_fork(use)
    assert len(said) == 2  # `wait` gives the last status once the queue is closed
    assert "parent process" in said[0]
    assert client.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_a_forked_child_of_a_client_keeps_no_connection(sharing: Sharing) -> None:
    sharing.open(len)
    client = sharing.client()
    client.metrics()
    descriptor = insides.descriptor_of(client)

    def look() -> str:
        try:
            os.fstat(descriptor)
        except OSError:
            return "closed"
        return "open"

    assert look() == "open"
    assert in_fork(look) == "closed"


def test_a_client_that_is_dropped_ends_its_thread(sharing: Sharing) -> None:
    owner = sharing.open(len)
    client = JobQueue(Config(persist_path=sharing.path, share="client"))
    client.metrics()
    assert eventually(lambda: insides.visitors_of(owner) == 1)
    del client
    gc.collect()
    assert eventually(lambda: insides.visitors_of(owner) == 0)


@pytest.mark.parametrize("share", ["auto", "client"])
def test_a_clock_that_is_moved_by_hand_is_refused(tmp_path: Path, share: str) -> None:
    config = Config(persist_path=tmp_path / "jobs", share=share)  # type: ignore[arg-type]  # one of both
    with pytest.raises(ConfigError, match="share="):
        JobQueue(config, clock=ManualClock())


def test_a_users_subclass_may_be_shared(sharing: Sharing) -> None:
    class Counting(JobQueue):
        count = 0

        def enqueue(self, job: Job, **options: object) -> object:  # type: ignore[override]  # shorter
            self.count += 1
            return super().enqueue(job, **options)  # type: ignore[arg-type]  # likewise

    config = Config(persist_path=sharing.path, share="auto")
    with Counting(config, handler=len) as owner, Counting(config, handler=len) as client:
        for jq in (owner, client):
            jq.enqueue(Job())
            assert isinstance(jq, Counting)
            assert jq.count == 1


def test_every_call_of_a_queue_is_one_of_a_shared_queue() -> None:
    from jobqueue.final import shared

    plain = {name for name in dir(JobQueue) if not name.startswith("_")}
    own = vars(shared.SharedJobQueue).keys()
    assert plain - own == {"handler", "aclose"}  # which are made of others
