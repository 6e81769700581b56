"""What becomes of jobs in PostgreSQL, if one process or several have the queue."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

import pytest

from jobqueue.final import (
    DuplicateJobError,
    Job,
    JobCancelledError,
    JobContext,
    JobFailedError,
    JobInfo,
    Limit,
    Middleware,
    Priority,
    QueueClosedError,
    Rate,
    RejectJobError,
    ResultGoneError,
    RetryJobError,
    Status,
    Unique,
    UnknownHandlerError,
    UnknownJobError,
)
from tests.support.waiting import PATIENCE, eventually

Opened = Any


def until_status(handle: Any, status: Status) -> None:
    assert eventually(lambda: handle.status is status), handle.status


class Gate:
    """A handler that waits until it is let go, or asked to stop."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.open = threading.Event()
        self.ran: list[str] = []

    def __call__(self, payload: bytes, context: JobContext) -> bytes:
        self.began.release()
        while not (self.open.is_set() or context.wait(0.01)):
            pass
        if context.cancelled:
            raise RuntimeError("it was asked to stop")
        self.ran.append(context.job.id)
        return payload


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.open.set()


def keyed(opened: Opened, gate: Gate, *, num_workers: int = 2, **like: Any) -> Any:
    """A queue whose handler "keyed" waits at the gate, one job of a key at a time."""
    queue = opened(num_workers=num_workers, **like)
    queue.register("keyed", gate, limit=Limit(1, per_key=True))
    return queue


# ── results and errors ───────────────────────────────────────────────────────────────────────────


def test_a_result_is_read_by_its_id_in_another_process(opened: Opened) -> None:
    opened(lambda payload: {"length": len(payload)})
    producer = opened(len, start=False)
    job = Job(b"abc", store_result=True)
    producer.enqueue(job)

    assert producer.handle(job.id).result(PATIENCE) == {"length": 3}
    assert producer.info(job.id).result == {"length": 3}
    assert producer.info(job.id).status is Status.COMPLETED


def test_a_result_is_there_also_after_a_look_at_the_status(opened: Opened) -> None:
    queue = opened(len)
    handle = queue.enqueue(Job(b"abc"))
    until_status(handle, Status.COMPLETED)

    assert handle.result(PATIENCE) == 3


def test_a_row_of_the_engines_that_is_no_job_is_put_aside(
    opened: Opened, databases: Any, dsn: str
) -> None:
    queue = opened(len)
    databases.execute(
        "INSERT INTO pgqueuer (priority, status, entrypoint, payload) "
        "VALUES (1, 'queued', '1:', 'x')",
        database=dsn.rpartition("/")[2],
    )

    assert queue.enqueue(Job(b"abc")).result(PATIENCE) == 3
    assert eventually(
        lambda: (
            [
                row["status"]
                for row in databases.execute(
                    "SELECT status::text FROM pgqueuer", database=dsn.rpartition("/")[2]
                )
            ]
            == ["failed"]
        )
    )


def test_an_error_is_told_elsewhere_with_its_traceback(opened: Opened) -> None:
    def fail(payload: bytes) -> None:
        raise ValueError(f"no {payload!r}\0")

    queue = opened(fail, max_retries=1)
    handle = queue.enqueue(Job(b"x"))

    with pytest.raises(JobFailedError, match="ValueError: no b'x'"):
        handle.result(PATIENCE)
    info = queue.info(handle.id)
    assert (info.retries, [each.number for each in info.attempts]) == (1, [0, 1])
    assert info.last_traceback is not None
    assert info.last_traceback.splitlines()[1].lstrip().startswith(f'File "{__file__}"')


def test_a_result_that_cannot_be_written_fails_the_job_only_if_it_is_to_be_stored(
    opened: Opened,
) -> None:
    thing = object()
    queue, other = opened(lambda payload: thing), opened(len, start=False)
    here = queue.enqueue(Job())
    failed = queue.enqueue(Job(store_result=True))

    assert here.result(PATIENCE) is thing
    with pytest.raises(ResultGoneError):
        other.handle(here.id).result(PATIENCE)
    with pytest.raises(JobFailedError, match="cannot be kept"):
        failed.result(PATIENCE)


def test_retries_rejections_and_asked_delays(opened: Opened) -> None:
    def handle(payload: bytes, context: JobContext) -> int:
        if payload == b"reject":
            raise RejectJobError("never")
        if context.attempt < 2:
            raise RetryJobError(delay=0.001)
        return context.attempt

    queue = opened(handle, base_delay=60.0)
    rejected = queue.enqueue(Job(b"reject"))

    assert queue.enqueue(Job(b"asks")).result(PATIENCE) == 2
    assert rejected.wait(PATIENCE) is Status.FAILED
    assert queue.info(rejected.id).retries == 0


def test_a_handle_is_awaited_on_any_loop(opened: Opened) -> None:
    queue = opened(lambda payload: payload.decode())

    async def use() -> str:
        handle = await queue.aenqueue(Job(b"hello"))
        many = await queue.aenqueue_many([Job(b"a"), Job(b"b")])
        assert [await each for each in many] == ["a", "b"]
        assert await queue.ajoin(PATIENCE)
        return str(await handle)

    assert asyncio.run(use()) == "hello"


def test_a_handle_of_a_job_that_returned_nothing_is_awaited(opened: Opened) -> None:
    queue = opened(lambda payload: None)

    async def use() -> list[object]:
        handle = await queue.aenqueue(Job())
        return [await handle, await handle, await queue.handle(handle.id)]

    assert asyncio.run(use()) == [None, None, None]


def test_a_callback_is_called_when_the_job_has_ended(opened: Opened) -> None:
    queue = opened(len)
    called: list[Status] = []
    queue.enqueue(Job()).add_done_callback(lambda handle: called.append(handle.status))

    assert eventually(lambda: called == [Status.COMPLETED])


def test_what_has_ended_is_known_by_its_handle_after_the_close(opened: Opened) -> None:
    def work(payload: bytes) -> int:
        if not payload:
            raise RejectJobError("nothing in it")
        return len(payload)

    queue = opened(work)
    done, failed, awaited = queue.enqueue_many([Job(b"ab"), Job(), Job(b"abc")])
    assert queue.join(PATIENCE)
    waiting = queue.enqueue(Job(b"a"), delay=1000)
    queue.close()

    async def wait() -> object:
        return await awaited

    assert (done.status, failed.status) == (Status.COMPLETED, Status.FAILED)
    assert (done.result(0), asyncio.run(wait())) == (2, 3)
    with pytest.raises(JobFailedError, match="nothing in it"):
        failed.result(0)
    with pytest.raises(QueueClosedError):
        waiting.result(0)
    called: list[Status] = []
    failed.add_done_callback(lambda handle: called.append(handle.status))
    assert eventually(lambda: called == [Status.FAILED])
    for ask in (queue.jobs, queue.dead_letters, queue.paused, lambda: queue.info(done.id)):
        with pytest.raises(QueueClosedError):
            ask()
    assert queue.metrics().completed == 2


# ── who may be enqueued ──────────────────────────────────────────────────────────────────────────


def test_an_id_is_refused_that_another_process_has_enqueued(opened: Opened) -> None:
    here, there = opened(len), opened(len, start=False)
    here.enqueue(Job(id="a")).wait(PATIENCE)

    with pytest.raises(DuplicateJobError, match="'a'"):
        there.enqueue(Job(id="a"))
    with pytest.raises(DuplicateJobError):
        there.enqueue_many([Job(id="b"), Job(id="a")])
    with pytest.raises(UnknownJobError):
        there.status("b")


def test_one_id_that_is_known_has_all_of_a_call_refused(opened: Opened) -> None:
    queue = opened(len, start=False)
    queue.enqueue(Job(id="known"))

    with pytest.raises(DuplicateJobError, match="'known'"):
        queue.enqueue_many([Job(id="a"), Job(id="b", key="k"), Job(id="known")])

    assert [job.id for job in queue.jobs()] == ["known"]


def test_one_job_that_cannot_be_has_all_of_a_large_call_refused(opened: Opened) -> None:
    """The database takes so many in several steps, and the last one finds it."""
    queue = opened(len, start=False)
    queue.enqueue(Job(id="known"))
    many = [Job() for _ in range(1000)]

    with pytest.raises(DuplicateJobError, match="an id of its own") as refused:
        queue.enqueue_many([*many, Job(id="known")])
    with pytest.raises(DuplicateJobError):
        asyncio.run(queue.aenqueue_many([*many, Job(id="known")]))
    with pytest.raises(ValueError, match="NUL"):
        queue.enqueue_many([*many, Job(id="a\0")])

    assert refused.value.accepted == ()
    assert [job.id for job in queue.jobs()] == ["known"]


def test_many_large_jobs_go_in_several_calls(opened: Opened, databases: Any) -> None:
    """PostgreSQL takes at most 1 GiB in one."""
    queue = opened(len, start=False)
    payload = b"x" * 6 * 1024 * 1024
    handles = queue.enqueue_many([Job(payload, id=str(each)) for each in range(5)])

    assert [each.id for each in handles] == ["0", "1", "2", "3", "4"]
    calls = "SELECT count(*) FROM jobqueue_job GROUP BY xmin::text ORDER BY min(number)"
    found = databases.execute(calls, database=queue.config.dsn.rpartition("/")[2])
    assert [count for (count,) in found] == [2, 2, 1]


def test_of_many_that_enqueue_one_id_at_once_one_does(opened: Opened) -> None:
    queues = [opened(len, start=False) for _ in range(2)]
    accepted, refused = [], []

    def enqueue(number: int) -> None:
        try:
            accepted.append(queues[number % 2].enqueue(Job(id="same")))
        except DuplicateJobError as error:
            refused.append(error)

    threads = [threading.Thread(target=enqueue, args=(each,)) for each in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(PATIENCE)

    assert (len(accepted), len(refused)) == (1, 11)


def test_a_job_without_any_handler_is_refused(opened: Opened) -> None:
    with pytest.raises(UnknownHandlerError):
        opened().enqueue(Job())


def test_a_drain_and_an_event_that_are_none_are_refused_at_the_call(opened: Opened) -> None:
    jq = opened(handler=len)
    with pytest.raises(TypeError, match="cancel must be an event"):
        jq.enqueue(Job(), cancel=True)
    with pytest.raises(TypeError, match="drain must be True, False or None"):
        jq.close(drain="no")

    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_a_job_runs_once_its_handler_is_registered_somewhere(opened: Opened) -> None:
    with pytest.raises(TypeError, match="unknown_handlers"):
        opened(unknown_handlers="refuse")
    producer = opened()
    handle = producer.enqueue(Job(b"abc", handler="count"))
    worker = opened()
    assert handle.status is Status.QUEUED
    worker.register("count", len)

    assert handle.result(PATIENCE) == 3


@pytest.mark.parametrize("text", ["a\0b"])
def test_what_text_in_postgres_cannot_hold_is_refused(opened: Opened, text: str) -> None:
    queue = opened(len, start=False)

    for job in (Job(id=text), Job(headers={"a": text}), Job(key=text), Job(handler=text)):
        with pytest.raises(ValueError, match="NUL"):
            queue.enqueue(job)
    with pytest.raises(ValueError, match="NUL"):
        queue.register(text, len)
    with pytest.raises(ValueError, match="schedule's name has a NUL"):
        queue.periodic(text, "@daily", Job)


def test_headers_key_and_payload_come_through(opened: Opened) -> None:
    seen: list[Job] = []
    queue = opened(lambda payload, context: seen.append(context.job))
    job = Job(bytes(range(256)), headers={"ü": "\\u0000 '\""}, key="k", priority=Priority.LOW)
    queue.enqueue(job).wait(PATIENCE)

    assert (seen[0].payload, dict(seen[0].headers), seen[0].key) == (
        job.payload, dict(job.headers), "k",
    )  # fmt: skip
    assert queue.info(job.id).headers == job.headers


# ── unique, expires, delay ───────────────────────────────────────────────────────────────────────


def test_a_unique_job_is_one_in_the_cluster(opened: Opened, gate: Gate) -> None:
    here, there = opened(gate), opened(gate, start=False)
    unique = Unique()
    first = here.enqueue(Job(key="a", unique=unique))
    second = there.enqueue(Job(key="a", unique=unique))
    other = there.enqueue(Job(key="b", unique=unique))

    assert (second.id, second.existing, other.existing) == (first.id, True, False)
    with pytest.raises(DuplicateJobError, match="is like it"):
        there.enqueue_many([Job(id="no"), Job(key="a", unique=Unique(on_conflict="raise"))])
    with pytest.raises(UnknownJobError):
        there.status("no")
    gate.open.set()
    first.wait(PATIENCE)
    assert not there.enqueue(Job(key="a", unique=unique)).existing


def test_a_unique_job_takes_the_place_of_one_that_waits(opened: Opened, gate: Gate) -> None:
    queue = opened(gate, start=False)
    replace = Unique(on_conflict="replace")
    first = queue.enqueue(Job(b"1", key="a", unique=replace))
    second = queue.enqueue(Job(b"2", key="a", unique=replace))

    assert first.wait(PATIENCE) is Status.CANCELLED
    queue.start()
    gate.open.set()
    assert second.result(PATIENCE) == b"2"


def test_a_job_that_is_unique_until_it_has_started_lets_the_next_one_in(
    opened: Opened, gate: Gate
) -> None:
    queue = opened(gate)
    until = Unique(until="started")
    queue.enqueue(Job(key="a", unique=until))
    assert gate.began.acquire(timeout=PATIENCE)

    assert not queue.enqueue(Job(key="a", unique=until)).existing


def test_a_job_that_has_not_started_in_time_is_cancelled(opened: Opened, gate: Gate) -> None:
    queue = opened(gate, num_workers=1, heartbeat_timeout=2.0)
    queue.enqueue(Job())
    assert gate.began.acquire(timeout=PATIENCE)
    swept = queue.enqueue(Job(expires=0.01))
    until_status(swept, Status.CANCELLED)
    late = queue.enqueue(Job(expires=0.01))
    assert threading.Event().wait(0.02) is False  # the job's own time, on the database's clock
    gate.open.set()

    assert late.wait(PATIENCE) is Status.CANCELLED
    told = {queue.info(each.id).last_error for each in (swept, late)}
    assert told == {"expired after 0.01 s"}
    assert eventually(lambda: queue.metrics().expired == 2)


def test_a_job_expires_also_if_no_process_runs_any(opened: Opened) -> None:
    queue = opened(len, start=False, heartbeat_timeout=2.0)
    until_status(queue.enqueue(Job(expires=0.01)), Status.CANCELLED)
    assert queue.metrics().expired == 1


def test_a_job_that_has_started_in_time_does_not_expire_when_it_is_requeued(
    opened: Opened,
) -> None:
    failures = [ValueError("no")]

    def handle(payload: bytes) -> int:
        if failures:
            raise failures.pop()
        return len(payload)

    queue = opened(handle, max_retries=0, heartbeat_timeout=2.0)
    handle_ = queue.enqueue(Job(id="a", expires=0.5))
    assert handle_.wait(PATIENCE) is Status.FAILED
    created = queue.info("a").created
    assert eventually(lambda: time.time() > created + 0.5)
    assert queue.requeue("a").wait(PATIENCE) is Status.COMPLETED
    assert queue.info("a").last_error is None  # it is as new, as in one process


def test_a_job_that_waits_for_its_key_expires(opened: Opened, gate: Gate) -> None:
    queue = keyed(opened, gate)
    queue.enqueue(Job(handler="keyed", key="a"))
    assert gate.began.acquire(timeout=PATIENCE)
    late = queue.enqueue(Job(handler="keyed", key="a", expires=0.5))

    assert late.wait(PATIENCE) is Status.CANCELLED
    assert queue.metrics().expired == 1


def test_a_job_that_waits_for_its_key_is_unique_until_it_has_started(
    opened: Opened, gate: Gate
) -> None:
    queue = keyed(opened, gate)
    until = Unique(by="handler+payload", until="started")
    queue.enqueue(Job(b"1", handler="keyed", key="a", unique=until))
    assert gate.began.acquire(timeout=PATIENCE)
    waiting = queue.enqueue(Job(b"2", handler="keyed", key="a", unique=until))
    until_status(waiting, Status.PROCESSING)
    queue.register("free", len)  # a job that is picked after it, and has ended
    assert queue.enqueue(Job(handler="free")).wait(PATIENCE) is Status.COMPLETED

    assert queue.enqueue(Job(b"2", handler="keyed", key="a", unique=until)).id == waiting.id


def test_a_delayed_job_waits_and_can_be_run_at_once(opened: Opened) -> None:
    queue = opened(len)
    handle = queue.enqueue(Job(id="later"), delay=3600.0)

    assert handle.status is Status.SCHEDULED
    due = queue.info("later").due
    assert due is not None
    assert abs(due - queue.info("later").created - 3600.0) < 60.0
    assert queue.run_now(status="scheduled") == 1
    assert handle.result(PATIENCE) == 0
    assert queue.enqueue(Job(), delay=0.05).result(PATIENCE) == 0


# ── order ────────────────────────────────────────────────────────────────────────────────────────


def test_one_low_job_gets_its_turn_after_so_many_high_ones(opened: Opened) -> None:
    ran: list[Priority] = []
    queue = opened(
        lambda payload, context: ran.append(context.job.priority),
        num_workers=1, fairness=4, start=False,
    )  # fmt: skip
    jobs = [Job(priority=each) for each in Priority for _ in range(24)]
    queue.enqueue_many(jobs)
    queue.start()
    assert queue.join(PATIENCE)

    assert ran[:6].count(Priority.HIGH) == 4
    assert Counter(ran[:24]) == {Priority.HIGH: 16, Priority.MEDIUM: 4, Priority.LOW: 4}


def test_a_limit_holds_for_all_processes(opened: Opened, gate: Gate) -> None:
    queues = [opened(num_workers=4) for _ in range(2)]
    limit = Limit(2)
    for each in queues:
        each.register("a", gate, limit=limit)
        each.register("b", gate, limit=limit)
        each.register("free", len)
    queues[0].enqueue_many([Job(handler=name, priority=each) for name in "ab" for each in Priority])
    for _ in range(2):
        assert gate.began.acquire(timeout=PATIENCE)

    assert queues[1].enqueue(Job(handler="free")).result(PATIENCE) == 0
    assert queues[0].metrics().processing == 2
    gate.open.set()
    assert queues[0].join(PATIENCE)
    assert len(gate.ran) == 6


def test_a_rate_holds_in_this_process(opened: Opened) -> None:
    queue = opened(num_workers=4)
    ran = threading.Semaphore(0)
    queue.register("slow", lambda payload: ran.release(), rate=Rate(2, per=3600.0))
    queue.register("free", len)
    queue.enqueue_many([Job(handler="slow") for _ in range(5)])
    for _ in range(2):
        assert ran.acquire(timeout=PATIENCE)

    assert queue.enqueue(Job(handler="free")).result(PATIENCE) == 0
    assert queue.metrics().queued == 3


def test_jobs_of_one_key_run_one_after_the_other_and_hold_up_no_others(
    opened: Opened, gate: Gate
) -> None:
    queue = keyed(opened, gate, num_workers=3)
    queue.register("free", len)
    queue.enqueue_many([Job(id=f"a{each}", handler="keyed", key="a") for each in range(3)])
    assert gate.began.acquire(timeout=PATIENCE)

    assert queue.enqueue(Job(handler="free")).result(PATIENCE) == 0
    assert not gate.began.acquire(blocking=False)
    gate.open.set()
    assert queue.join(PATIENCE)
    assert gate.ran == ["a0", "a1", "a2"]


def test_a_retry_keeps_its_place_in_its_lane(opened: Opened) -> None:
    ran: list[str] = []

    def handle(payload: bytes, context: JobContext) -> None:
        ran.append(context.job.id)
        if context.job.id == "first" and not context.attempt:
            raise RetryJobError(delay=0.0)
        if context.job.id == "second":  # a retry is written while the next job runs
            assert eventually(lambda: queue.info("first").retries == 1)

    queue = opened(handle, num_workers=1, start=False)
    queue.enqueue_many([Job(id=each) for each in ("first", "second", "third")])
    queue.start()
    assert queue.join(PATIENCE)

    assert ran.index("first", 1) < ran.index("third")


def test_close_leaves_to_others_what_waits_for_its_key_and_cancel_ends_it(
    opened: Opened, gate: Gate
) -> None:
    queue = keyed(opened, gate, heartbeat_timeout=600.0)
    handles = queue.enqueue_many([Job(handler="keyed", key="a") for _ in range(3)])
    assert gate.began.acquire(timeout=PATIENCE)
    assert eventually(lambda: queue.metrics().processing == 3)
    assert handles[1].cancel()
    assert handles[1].wait(PATIENCE) is Status.CANCELLED
    closing = threading.Thread(target=queue.close, args=(PATIENCE,))
    closing.start()
    other = opened()
    other.register("keyed", lambda payload: "other")
    assert other.handle(handles[2].id).wait(PATIENCE) is Status.COMPLETED
    gate.open.set()
    closing.join(PATIENCE)


def test_a_misspelt_filter_is_told_with_the_one_that_is_meant(opened: Opened) -> None:
    queue = opened(len, start=False)
    for look in (queue.jobs, queue.look, queue.cancel_jobs):
        with pytest.raises(TypeError, match=r"'handlr'; did you mean 'handler'\?"):
            look(handlr="mail")


def test_text_that_postgres_cannot_hold_finds_nothing(opened: Opened) -> None:
    queue = opened(len, start=False)
    for look in (queue.status, queue.info, queue.handle, queue.cancel):
        with pytest.raises(UnknownJobError):
            look("a\0b")
        with pytest.raises(UnknownJobError):
            look("\udcff")
    assert queue.cancel_jobs(ids=["a\0b", "\udcff"]) == 0
    with pytest.raises(ValueError, match="cannot hold"):
        queue.jobs(text="a\0b")
    assert queue.metrics().engine.reconnects == 0


# ── cancel, and other steering from another process ──────────────────────────────────────────────


def test_a_waiting_job_is_cancelled_from_another_process(opened: Opened) -> None:
    here, there = opened(len, start=False), opened(len, start=False)
    handle = here.enqueue(Job())

    assert there.cancel(handle.id)
    assert handle.wait(PATIENCE) is Status.CANCELLED
    assert not there.cancel(handle.id)
    with pytest.raises(JobCancelledError):
        handle.result()
    with pytest.raises(UnknownJobError):
        there.cancel("none")


def test_a_running_job_is_asked_to_stop_from_another_process(opened: Opened, gate: Gate) -> None:
    here, there = opened(gate), opened(len, start=False)
    handle = here.enqueue(Job())
    assert gate.began.acquire(timeout=PATIENCE)

    assert there.cancel(handle.id)
    assert handle.wait(PATIENCE) is Status.CANCELLED
    assert there.info(handle.id).last_error == "RuntimeError: it was asked to stop"


def test_an_attempt_that_was_cancelled_is_no_failure_of_its_handler(
    opened: Opened, gate: Gate
) -> None:
    queue = opened(gate)
    handle = queue.enqueue(Job())
    assert gate.began.acquire(timeout=PATIENCE)
    handle.cancel()

    async def wait() -> None:
        await handle

    with pytest.raises(JobCancelledError, match="it was asked to stop"):
        asyncio.run(wait())
    assert queue.handlers()[0].failures == {}


def test_what_has_not_failed_is_told_by_its_status(opened: Opened) -> None:
    queue = opened(len, start=False)
    queue.enqueue(Job(id="a"))
    for change in (queue.requeue, queue.discard):
        with pytest.raises(ValueError, match="'a' is queued; only failed jobs"):
            change("a")


def test_a_notice_to_stop_that_comes_late_does_not_cancel_a_requeued_job(
    opened: Opened, databases: Any, gate: Gate
) -> None:
    """Cancelled as it fails: the notice comes to processes in which the job does not run."""
    failures = [ValueError("no")]

    def handle(payload: bytes) -> int:
        if failures:
            raise failures.pop()
        return len(payload)

    queue = opened(handle, handlers={"gate": gate}, max_retries=0)
    assert queue.enqueue(Job(id="a")).wait(PATIENCE) is Status.FAILED
    databases.execute(
        "SELECT pg_notify('jobqueue_stop', number::text) FROM jobqueue_job",
        database=queue.config.dsn.rpartition("/")[2],
    )
    other = queue.enqueue(Job(handler="gate"))
    assert gate.began.acquire(timeout=PATIENCE)
    assert other.cancel()  # by a notice that comes after that one
    assert other.wait(PATIENCE) is Status.CANCELLED
    assert queue.requeue("a").wait(PATIENCE) is Status.COMPLETED


def test_past_its_time_an_attempt_is_asked_to_stop_and_another_job_runs(
    opened: Opened, gate: Gate
) -> None:
    stuck = threading.Event()

    def handle(payload: bytes) -> int:
        return len(payload) if payload else int(not stuck.wait(PATIENCE))

    queue = opened(handle, num_workers=1, job_timeout=0.05, max_retries=0)
    late = queue.enqueue(Job())
    try:
        assert queue.enqueue(Job(b"x")).result(PATIENCE) == 1
        assert queue.metrics().overrunning == 1
    finally:
        stuck.set()
    with pytest.raises(JobFailedError, match="TimeoutError"):
        late.result(PATIENCE)


def test_a_pause_holds_for_all_processes_and_those_that_start_later(opened: Opened) -> None:
    here, there = opened(len, start=False), opened(len)
    here.pause()
    here.pause(handler="mail", priority=Priority.LOW)
    late = opened(len)
    handle = here.enqueue(Job())
    assert late.paused() == here.paused()
    assert late.paused().all
    assert late.paused().handlers == {"mail"}
    assert handle.wait(0.2) is Status.QUEUED

    there.resume()
    assert handle.wait(PATIENCE) is Status.COMPLETED
    low = here.enqueue(Job(priority=Priority.LOW))
    assert low.wait(0.2) is Status.QUEUED
    here.resume(priority=Priority.LOW)
    assert low.wait(PATIENCE) is Status.COMPLETED


def test_dead_letters_are_listed_requeued_and_discarded_from_another_process(
    opened: Opened,
) -> None:
    broken = [True]

    def handle(payload: bytes) -> int:
        if broken:
            raise OSError("down")
        return len(payload)

    here, there = opened(handle, max_retries=0, num_workers=1), opened(len, start=False)
    handles = here.enqueue_many([Job(b"x", id=str(each)) for each in range(4)])
    for each in handles:
        assert each.wait(PATIENCE) is Status.FAILED
    assert [each.id for each in there.dead_letters()] == ["0", "1", "2", "3"]
    assert there.dead_letters()[0].payload == b"x"
    broken.clear()

    assert there.requeue("0").result(PATIENCE) == 1
    there.discard("1")
    assert there.discard_jobs(error="OSError", limit=1) == 1
    assert there.requeue_jobs(error="OSError") == 1
    assert eventually(lambda: there.dead_letters() == [])
    with pytest.raises(UnknownJobError):
        there.status("1")
    with pytest.raises(ValueError, match="is completed; only failed"):
        there.requeue("0")


def test_a_requeued_job_is_unique_again(opened: Opened) -> None:
    def fail(payload: bytes) -> None:
        raise OSError

    queue = opened(fail, max_retries=0)
    unique = Unique()
    first = queue.enqueue(Job(key="a", unique=unique))
    assert first.wait(PATIENCE) is Status.FAILED
    queue.pause()
    queue.requeue(first.id)
    assert queue.enqueue(Job(key="a", unique=unique)).id == first.id
    queue.cancel(first.id)
    second = queue.enqueue(Job(key="a", unique=unique))
    assert not second.existing


def test_progress_is_told_in_the_process_that_runs_the_job(opened: Opened, gate: Gate) -> None:
    def handle(payload: bytes, context: JobContext) -> None:
        context.progress(3, 10, "at it")
        gate(payload, context)

    here, there = opened(handle), opened(len, start=False)
    job = here.enqueue(Job())
    assert gate.began.acquire(timeout=PATIENCE)

    assert job.progress == here.info(job.id).progress == (3, 10, "at it")
    assert there.handle(job.id).progress is None


def test_jobs_are_found_newest_first_by_what_they_are_like(opened: Opened) -> None:
    queue = opened(len, start=False)
    for each in range(5):
        queue.enqueue(Job(f"p{each}".encode(), id=str(each), handler="h", key=f"k{each % 2}"))
    queue.enqueue(Job(id="later", priority=Priority.HIGH), delay=60.0)

    def found(**like: Any) -> list[str]:
        return [each.id for each in queue.jobs(**like)]

    assert found() == ["later", "4", "3", "2", "1", "0"]
    assert found(handler="h", key="k0") == ["4", "2", "0"]
    assert found(status="scheduled") == found(priority=Priority.HIGH) == ["later"]
    assert found(text="p3") == ["3"]
    assert found(limit=2, before="3") == ["2", "1"]
    assert queue.cancel_jobs(key="k1", limit=1) == 1
    assert found(status=[Status.CANCELLED]) == ["1"]
    assert queue.cancel_jobs() == 5
    assert queue.metrics().cancelled == 6


def test_counts_are_those_of_all_processes(opened: Opened) -> None:
    here, there = opened(len), opened(len, start=False)
    there.enqueue_many([Job() for _ in range(3)])
    assert there.join(PATIENCE)

    assert eventually(lambda: there.metrics().completed == 3)
    metrics = there.metrics()
    assert (metrics.enqueued, metrics.queued, metrics.log) == (3, 0, None)
    assert metrics.engine is not None
    assert (metrics.engine.connected, metrics.engine.processes) == (True, 2)
    assert here.handlers()[0].completed == 3


# ── within handlers ──────────────────────────────────────────────────────────────────────────────


def test_jobs_that_a_handler_enqueues_come_with_its_completion(opened: Opened) -> None:
    def handle(payload: bytes, context: JobContext) -> None:
        if payload == b"child":
            return
        context.enqueue(Job(b"child", id=f"child of {context.job.id}"))
        with pytest.raises(UnknownJobError):
            queue.status(f"child of {context.job.id}")
        with pytest.raises(DuplicateJobError):
            context.enqueue(Job(id="a"))
        if payload == b"fails":
            raise OSError

    queue = opened(handle, max_retries=0)
    queue.enqueue(Job(id="a")).wait(PATIENCE)
    assert queue.handle("child of a").wait(PATIENCE) is Status.COMPLETED
    assert queue.enqueue(Job(b"fails", id="b")).wait(PATIENCE) is Status.FAILED
    with pytest.raises(UnknownJobError):
        queue.status("child of b")


def test_a_handler_that_waits_for_another_job_is_stood_in_for(opened: Opened) -> None:
    def handle(payload: bytes, context: JobContext) -> object:
        if payload == b"itself":
            return queue.handle(context.job.id).result()
        return queue.enqueue(Job(b"")).result(PATIENCE) + 1 if payload else 1

    queue = opened(handle, num_workers=1, max_retries=0)

    assert queue.enqueue(Job(b"x")).result(PATIENCE) == 2
    with pytest.raises(JobFailedError, match="would wait for itself"):
        queue.enqueue(Job(b"itself")).result(PATIENCE)


def test_coroutines_run_on_the_loop_that_entered_and_are_cancelled_there(opened: Opened) -> None:
    loops: list[object] = []

    async def handle(payload: bytes) -> str:
        loops.append(asyncio.get_running_loop())
        if payload:
            await asyncio.sleep(60)
        return "done"

    async def use() -> None:
        async with opened(handle, executor="asyncio") as queue:
            assert await (await queue.aenqueue(Job())) == "done"
            stuck = await queue.aenqueue(Job(b"stuck"))
            while stuck.status is not Status.PROCESSING:
                await asyncio.sleep(0.01)
            assert await asyncio.to_thread(stuck.cancel)
            with pytest.raises(JobCancelledError):
                await stuck
        assert set(loops) == {asyncio.get_running_loop()}

    asyncio.run(use())


def test_a_coroutine_that_is_cancelled_before_it_begins_costs_an_attempt(opened: Opened) -> None:
    """A program that cancels all tasks of its loop, as some do before they end."""
    ran: list[int] = []

    async def handle(payload: bytes, context: JobContext) -> None:
        ran.append(context.attempt)

    def cancel_first(loop: Any, work: Any, **settings: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **settings)
        task.cancel()
        loop.set_task_factory(None)
        return task

    async def use() -> None:
        async with opened(handle, executor="asyncio") as queue:
            handle_ = await queue.aenqueue(Job(), delay=0.1)
            asyncio.get_running_loop().set_task_factory(cancel_first)
            await handle_

    asyncio.run(use())
    assert ran == [1]


def test_coroutines_whose_loop_has_ended_fail_and_hold_up_nothing(opened: Opened) -> None:
    async def handle(payload: bytes) -> None:
        """Never called."""

    async def use() -> Any:
        return await opened(handle, executor="asyncio", max_retries=0).__aenter__()

    queue = asyncio.run(use())

    assert queue.enqueue(Job(b"a")).wait(PATIENCE) is Status.FAILED
    assert queue.close(PATIENCE).unfinished == ()


def test_middleware_sees_each_job_each_attempt_and_each_end(opened: Opened) -> None:
    told: list[object] = []

    class Telling(Middleware):
        def enqueue(self, job: Job, call_next: Any) -> Any:
            return call_next(job.with_headers({"by": "middleware"}))

        def attempt(self, context: JobContext, call_next: Any) -> object:
            told.append(context.job.headers["by"])
            return call_next(context)

        def finished(self, info: JobInfo) -> None:
            told.append(info.status)

    queue = opened(len, middleware=[Telling()])
    queue.enqueue(Job()).wait(PATIENCE)
    queue.enqueue_many([Job(), Job()])
    assert queue.join(PATIENCE)

    expected = Counter({"middleware": 3, Status.COMPLETED: 3})
    assert eventually(lambda: Counter(told) == expected)


# ── the end ──────────────────────────────────────────────────────────────────────────────────────


def test_close_leaves_what_waits_to_other_processes(opened: Opened, gate: Gate) -> None:
    queue = opened(gate, num_workers=1)
    running = queue.enqueue(Job())
    assert gate.began.acquire(timeout=PATIENCE)
    waiting = queue.enqueue(Job())
    gate.open.set()
    report = queue.close(PATIENCE)

    assert report.unfinished == ()
    other = opened(lambda payload: None)
    assert other.status(running.id) is Status.COMPLETED
    assert other.handle(waiting.id).wait(PATIENCE) is Status.COMPLETED


def test_a_process_without_handlers_joins_what_others_run(opened: Opened, gate: Gate) -> None:
    producer = opened(start=False)
    producer.enqueue(Job(handler="work"))
    opened(handlers={"work": gate})
    assert gate.began.acquire(timeout=PATIENCE)

    assert not producer.join(0.02)
    gate.open.set()
    assert producer.join(PATIENCE)


def test_close_tells_what_still_runs(opened: Opened) -> None:
    gate, began = threading.Event(), threading.Semaphore(0)

    def handle(payload: bytes) -> None:
        began.release()
        gate.wait(PATIENCE)

    queue = opened(handle)
    handle_ = queue.enqueue(Job())
    assert began.acquire(timeout=PATIENCE)
    try:
        assert queue.close(0.05).unfinished == (handle_.id,)
    finally:
        gate.set()
