"""What a client's calls promise: the same as the owner's."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from jobqueue.final import (
    DuplicateJobError,
    EnqueueCancelledError,
    EnqueueTimeoutError,
    Job,
    JobCancelledError,
    JobHandle,
    JobQueue,
    JobQueueError,
    Middleware,
    Priority,
    QueueClosedError,
    RejectJobError,
    ResultGoneError,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
)
from tests.support import insides
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.final.sharing.conftest import Sharing


def test_the_first_is_the_owner_and_runs_the_jobs_of_all(sharing: Sharing) -> None:
    ran: list[bytes] = []
    owner, client = sharing.open(ran.append), sharing.client()

    handle = client.enqueue(Job(b"of the client"))

    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert ran == [b"of the client"]
    assert owner.status(handle.id) is client.status(handle.id) is Status.COMPLETED
    assert isinstance(client, JobQueue)


def test_all_of_a_job_reaches_the_owner(sharing: Sharing) -> None:
    owner, client = sharing.open(len, start=False), sharing.client()
    first = client.enqueue(Job(id="first"))
    job = Job(
        bytes(range(256)),
        id="id \u2028 \x00",
        priority=Priority.LOW,
        handler="later",
        max_retries=7,
        headers={"a": "b"},
        store_result=True,
        key="k",
        unique=Unique(by="key", until="started", on_conflict="raise"),
        after=[first],
        expires=3600.0,
    )

    client.enqueue(job)

    found = owner.handle(job.id).job
    names = ("payload", "id", "priority", "handler", "max_retries", "headers", "store_result")
    for name in (*names, "key", "unique", "after", "expires", "created"):
        assert getattr(found, name) == getattr(job, name), name


def test_an_id_is_known_in_all_processes(sharing: Sharing) -> None:
    owner, client, other = sharing.open(len), sharing.client(), sharing.client()
    owner.enqueue(Job(id="a"))
    client.enqueue(Job(id="b"))

    for jq in (owner, client, other):
        for job_id in ("a", "b"):
            with pytest.raises(DuplicateJobError, match=repr(job_id)):
                jq.enqueue(Job(id=job_id))


def test_the_result_is_what_the_handler_returned(sharing: Sharing) -> None:
    sharing.open(lambda payload: {"length": len(payload), "as": (payload, None, 1.5)})
    client = sharing.client()

    handle = client.enqueue(Job(b"abc", store_result=True))

    expected = {"length": 3, "as": (b"abc", None, 1.5)}
    assert handle.result(PATIENCE) == expected
    assert client.handle(handle.id).result(PATIENCE) == expected
    assert client.info(handle.id).result == expected


def test_a_result_that_cannot_leave_the_owner_is_told_as_gone(sharing: Sharing) -> None:
    sharing.open(lambda payload: threading.Event())
    handle = sharing.client().enqueue(Job())
    with pytest.raises(ResultGoneError, match=r"Event.*@tasks\.task\(store_result=True\)"):
        handle.result(PATIENCE)


def test_a_result_is_read_by_the_codec_of_the_clients_handler(sharing: Sharing) -> None:
    class Upper:
        def encode(self, result: object) -> bytes:
            return str(result).upper().encode()

        def decode(self, data: bytes) -> object:
            return data.decode().lower()

    owner, client = sharing.open(), sharing.client()
    for jq in (owner, client):
        jq.register("shout", bytes.decode, result_codec=Upper())

    handle = client.enqueue(Job(b"Abc", handler="shout", store_result=True))
    assert handle.result(PATIENCE) == "abc"
    assert client.info(handle.id).result == "abc"
    assert [each.result for each in client.jobs()] == ["abc"]


def test_a_job_that_failed_has_its_error_as_text(sharing: Sharing) -> None:
    def fail(payload: bytes) -> None:
        raise RejectJobError("no good")

    sharing.open(fail)
    client = sharing.client()
    handle = client.enqueue(Job())
    with pytest.raises(JobQueueError, match="RejectJobError: no good"):
        handle.result(PATIENCE)
    assert "in fail" in str(client.info(handle.id).last_traceback)
    assert [info.id for info in client.dead_letters()] == [handle.id]


def test_a_failed_job_is_requeued_and_discarded_by_a_client(sharing: Sharing) -> None:
    fails = threading.Event()
    fails.set()

    def work(payload: bytes) -> None:
        if fails.is_set():
            raise RejectJobError("not yet")

    sharing.open(work)
    client = sharing.client()
    for job_id in ("a", "b"):
        assert client.enqueue(Job(id=job_id)).wait(PATIENCE) is Status.FAILED
    fails.clear()

    assert client.requeue("a").wait(PATIENCE) is Status.COMPLETED
    client.discard("b")

    with pytest.raises(UnknownJobError):
        client.info("b")
    with pytest.raises(ValueError, match="'a'"):
        client.requeue("a")


def test_a_client_cancels_what_waits_and_what_runs(sharing: Sharing) -> None:
    started = threading.Event()

    def work(payload: bytes, context: object) -> None:
        started.set()
        assert context.wait(PATIENCE)  # type: ignore[attr-defined]  # a `JobContext`
        raise RuntimeError("stopped")

    sharing.open(work, num_workers=1)
    client = sharing.client()
    running = client.enqueue(Job())
    assert started.wait(PATIENCE)
    waiting = client.enqueue(Job())

    assert waiting.cancel()
    assert client.cancel(running.id)

    for handle in (waiting, running):
        with pytest.raises(JobCancelledError):
            handle.result(PATIENCE)
    assert not client.cancel(running.id)


def test_a_job_without_a_handler_anywhere_is_refused(sharing: Sharing) -> None:
    sharing.open()
    with pytest.raises(UnknownHandlerError):
        sharing.client().enqueue(Job())


def test_a_handler_that_only_a_client_knows_is_waited_for(sharing: Sharing) -> None:
    owner, client = sharing.open(), sharing.client()
    client.register("mail", len)
    handle = client.enqueue(Job(handler="mail"))
    assert handle.status is Status.QUEUED
    owner.register("mail", len)
    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_a_full_lane_holds_up_a_client_until_there_is_room(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    owner = sharing.open(blocker, num_workers=1, queue_size=1)
    client = sharing.client()
    client.enqueue(Job())
    blocker.await_entered()
    client.enqueue(Job())
    accepted: list[JobHandle] = []
    thread = threading.Thread(target=lambda: accepted.append(client.enqueue(Job(id="late"))))
    thread.start()

    with pytest.raises(EnqueueTimeoutError, match="MEDIUM lane"):
        client.enqueue(Job(), timeout=0.01)
    assert not accepted
    blocker.gate.set()
    thread.join(PATIENCE)

    assert accepted[0].wait(PATIENCE) is Status.COMPLETED
    assert owner.metrics().enqueued == 3


def test_a_wait_for_room_is_given_up_by_an_event(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    owner = sharing.open(blocker, num_workers=1, queue_size=1)
    client = sharing.client()
    client.enqueue(Job())
    blocker.await_entered()
    client.enqueue(Job())
    cancel = threading.Event()
    threading.Timer(0.03, cancel.set).start()

    with pytest.raises(EnqueueCancelledError):
        client.enqueue(Job(id="given up"), cancel=cancel)

    blocker.gate.set()
    assert owner.join(PATIENCE)
    with pytest.raises(UnknownJobError):
        owner.status("given up")


def test_an_event_that_is_set_before_does_not_matter_where_there_is_room(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    cancel = threading.Event()
    cancel.set()

    assert client.enqueue(Job(b"abc"), cancel=cancel).wait(PATIENCE) is Status.COMPLETED
    assert owner.metrics().completed == 1


def test_a_call_with_what_is_no_event_or_no_drain_is_refused_by_the_client(
    sharing: Sharing,
) -> None:
    owner, client = sharing.open(len), sharing.client()
    with pytest.raises(TypeError, match="cancel must be an event"):
        client.enqueue(Job(), cancel=True)  # type: ignore[arg-type]  # the wrong type is the point
    with pytest.raises(TypeError, match="drain must be True, False or None"):
        client.close(drain="no")  # type: ignore[arg-type]  # the wrong type is the point

    assert client.enqueue(Job(b"abc")).wait(PATIENCE) is Status.COMPLETED
    assert owner.metrics().enqueued == 1


def test_many_jobs_of_one_call_are_accepted_or_refused_as_by_the_owner(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    handles = client.enqueue_many([Job(id=str(n)) for n in range(100)])
    assert [handle.id for handle in handles] == [str(n) for n in range(100)]
    assert all(handle.wait(PATIENCE) is Status.COMPLETED for handle in handles)

    with pytest.raises(DuplicateJobError, match="'7'"):
        client.enqueue_many([Job(id="new"), Job(id="7")])
    with pytest.raises(UnknownJobError):
        owner.status("new")


def test_what_was_accepted_of_many_is_told_when_the_time_is_up(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    sharing.open(blocker, num_workers=1, queue_size=3)
    client = sharing.client()
    client.enqueue(Job())
    blocker.await_entered()

    with pytest.raises(EnqueueTimeoutError) as caught:
        client.enqueue_many([Job(id=str(n)) for n in range(5)], timeout=0.01)

    assert [handle.id for handle in caught.value.accepted] == ["0", "1", "2"]


def test_jobs_of_one_step_are_accepted_together(sharing: Sharing) -> None:
    owner, client = sharing.open(len, start=False), sharing.client()
    first = Job(id="first")
    client.enqueue_together([first, Job(id="second", after=[first])], delays=[0.0, 0.0])
    assert owner.handle("second").job.after == ("first",)
    with pytest.raises(DuplicateJobError):
        client.enqueue_together([Job(id="third"), Job(id="first")])
    with pytest.raises(UnknownJobError):
        owner.status("third")


def test_a_job_like_another_is_had_as_that_one(sharing: Sharing) -> None:
    owner, client = sharing.open(len, start=False), sharing.client()
    first = owner.enqueue(Job(b"a", key="k", unique=Unique()))

    handle = client.enqueue(Job(b"b", key="k", unique=Unique()))

    assert handle.existing
    assert (handle.id, handle.job.payload) == (first.id, b"a")


def test_a_delayed_job_waits_for_its_time(sharing: Sharing) -> None:
    sharing.open(len)
    handle = sharing.client().enqueue(Job(), delay=timedelta(hours=1))
    assert handle.status is Status.SCHEDULED


def test_a_callback_is_called_and_may_use_the_queue(sharing: Sharing) -> None:
    sharing.open(len)
    client = sharing.client()
    seen: list[tuple[Status, str]] = []

    def note(handle: JobHandle) -> None:
        seen.append((handle.status, client.enqueue(Job(id="next")).id))

    client.enqueue(Job(id="first")).add_done_callback(note)

    assert eventually(lambda: seen == [(Status.COMPLETED, "next")])


def test_a_wait_ends_with_its_time_and_with_the_last_status(sharing: Sharing) -> None:
    sharing.open(len, start=False)
    handle = sharing.client().enqueue(Job())
    assert handle.wait(0.01) is Status.QUEUED
    with pytest.raises(TimeoutError):
        handle.result(0.01)


def test_coroutines_enqueue_and_wait(sharing: Sharing) -> None:
    owner = sharing.open(len)
    client = sharing.client()

    async def work() -> list[object]:
        handles = await asyncio.gather(*(client.aenqueue(Job(b"x" * n)) for n in range(50)))
        handles += await client.aenqueue_many([Job(b"many")])
        handles += await client.aenqueue_together([Job(b"togethe")])
        return [await handle for handle in handles]

    assert asyncio.run(work()) == [*range(50), 4, 7]
    assert asyncio.run(client.ajoin(PATIENCE))
    assert owner.metrics().completed == 52


def test_a_coroutine_that_is_cancelled_has_enqueued_nothing(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    owner = sharing.open(blocker, num_workers=1, queue_size=1)
    client = sharing.client()
    client.enqueue(Job())
    blocker.await_entered()
    client.enqueue(Job())

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await client.aenqueue(Job(id="given up"))

    asyncio.run(give_up())
    assert client.metrics().queued == 1  # asked after it was given up, so answered after that
    blocker.gate.set()
    assert owner.join(PATIENCE)
    with pytest.raises(UnknownJobError):
        owner.status("given up")


def test_the_owner_is_steered_from_a_client(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    client.pause()
    handle = owner.enqueue(Job())
    assert client.handle(handle.id).wait(0.01) is Status.QUEUED
    client.resume()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    client.flush()
    log = owner.metrics().log
    assert log is not None
    assert log.fsyncs


def test_schedules_are_seen_and_paused_from_a_client(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    owner.periodic("report", timedelta(hours=1), Job)
    client.pause(periodic="report")
    assert client.periodics() == owner.periodics()
    assert client.periodics()[0].paused
    with pytest.raises(ValueError, match="'other'"):
        client.pause(periodic="other")


def test_jobs_are_found_and_changed_by_what_they_are_like(sharing: Sharing) -> None:
    owner, client = sharing.open(len, start=False), sharing.client()
    for key in ("a", "b", "b"):
        owner.enqueue(Job(b"payload", key=key))

    assert client.jobs(key="b", limit=1) == owner.jobs(key="b", limit=1)
    assert client.cancel_jobs(key="b", status="queued") == 2
    assert client.run_now() == client.requeue_jobs() == client.discard_jobs() == 0
    assert [info.key for info in client.jobs(status=[Status.QUEUED])] == ["a"]
    with pytest.raises(ValueError, match="status"):
        client.jobs(status="none")


def test_handlers_and_lanes_are_looked_at_and_paused_from_a_client(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    owner.register("mail", len, timeout=3.0, retry_on=OSError)
    client.pause(handler="mail", priority=Priority.LOW)
    assert client.paused() == owner.paused()
    assert client.paused().handlers == {"mail"}
    client.resume(handler="mail", priority=Priority.LOW)
    assert not client.paused().priorities
    mail = next(each for each in client.handlers() if each.name == "mail")
    assert mail.options["timeout"] == 3.0


def test_metrics_are_those_of_the_owner(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.client()
    client.enqueue(Job(priority=Priority.HIGH)).wait(PATIENCE)
    found = client.metrics()
    assert found.by_priority[Priority.HIGH].completed == found.completed == 1
    assert found.log is not None
    assert found.workers.count == owner.metrics().workers.count


def test_a_join_waits_for_all_jobs(sharing: Sharing) -> None:
    blocker = sharing.blocker()
    sharing.open(blocker)
    client = sharing.client()
    client.enqueue(Job())
    assert not client.join(0.01)
    blocker.gate.set()
    assert client.join(PATIENCE)


def test_middleware_has_its_word_where_the_call_is_made_and_once(sharing: Sharing) -> None:
    class Mark(Middleware):
        def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
            by = job.headers.get("by", "")
            return call_next(job.with_headers({"by": f"{by}x"}))

    owner = sharing.open(len)
    client = JobQueue(sharing.client().config, middleware=[Mark()])
    with client:
        one = client.enqueue(Job())
        many = client.enqueue_many([Job(), Job()])
        (together,) = client.enqueue_together([Job()])
        awaited = asyncio.run(client.aenqueue(Job()))
        for handle in (one, *many, together, awaited):
            assert owner.info(handle.id).headers == {"by": "x"}


def test_a_closed_client_refuses_and_leaves_its_jobs_to_the_owner(sharing: Sharing) -> None:
    owner, client = sharing.open(len, start=False), sharing.client()
    handle = client.enqueue(Job())

    report = client.close()

    assert (report.completed, report.remaining) == (0, 0)
    assert client.closed
    with pytest.raises(QueueClosedError):
        client.enqueue(Job())
    with pytest.raises(QueueClosedError):
        handle.result(PATIENCE)
    owner.start()
    assert owner.handle(handle.id).wait(PATIENCE) is Status.COMPLETED


def test_a_call_that_waits_is_ended_by_the_clients_close(sharing: Sharing) -> None:
    sharing.open(len, start=False)
    client = sharing.client()
    client.enqueue(Job())
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            client.join()
        except QueueClosedError as error:
            errors.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert eventually(lambda: insides.is_asking(client))
    client.close()
    thread.join(PATIENCE)
    assert len(errors) == 1


def test_bad_arguments_are_refused_before_they_are_sent(sharing: Sharing) -> None:
    sharing.open(len)
    client = sharing.client(max_payload_bytes=10)
    with pytest.raises(TypeError):
        client.enqueue("job")  # type: ignore[arg-type]  # this is what is tested
    with pytest.raises(TypeError):
        client.status(1)  # type: ignore[arg-type]  # likewise
    with pytest.raises(ValueError, match="max_payload_bytes"):
        client.enqueue(Job(bytes(11)))
    with pytest.raises(ValueError, match="delay"):
        client.enqueue(Job(), delay=-1)
    with pytest.raises(TypeError):
        client.register("generator", lambda: (yield))
    client.register("taken", len)
    with pytest.raises(ValueError, match="taken"):
        client.register("taken", max)
