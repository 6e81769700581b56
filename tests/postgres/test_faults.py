"""Processes that die, servers that crash, connections that are cut: no accepted job is lost."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import EngineMetrics, Job, JobContext, Status
from tests.support.children import Child, read_acks
from tests.support.cutting import Proxy
from tests.support.left_out import often
from tests.support.postgres import Server
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.slow
HEARTBEAT = 2.0
_LOCKED = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted"
Opened = Any


class Workers:
    """Worker processes on one database, and what they have written down."""

    def __init__(self, dsn: str, directory: Path) -> None:
        self.dsn = dsn
        self.acks = directory / "acks"
        self._stack = ExitStack()

    def start(self, heartbeat: float = HEARTBEAT) -> Child:
        child = self._stack.enter_context(Child("work_on_postgres", self.dsn, self.acks, heartbeat))
        assert child.line() == "works"
        return child

    def told(self, what: str) -> Counter[str]:
        """How often each job has begun, or ended."""
        lines = [line.split(" ") for line in read_acks(self.acks)]
        return Counter(job for verb, job in lines if verb == what)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def workers(dsn: str, tmp_path: Path) -> Iterator[Workers]:
    workers = Workers(dsn, tmp_path)
    yield workers
    workers.close()


def engine(queue: Any) -> EngineMetrics:
    """What a queue tells of its engine."""
    found: EngineMetrics | None = queue.metrics().engine
    assert found is not None
    return found


def enqueue(queue: Any, count: int, milliseconds: int = 3) -> list[str]:
    jobs = [Job(str(milliseconds).encode(), id=f"job-{each}") for each in range(count)]
    return [each.id for each in queue.enqueue_many(jobs)]


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.daily)])
def test_jobs_of_a_killed_process_run_in_another(
    opened: Opened, workers: Workers, count: int
) -> None:
    producer = opened(len, start=False)
    children = [workers.start() for _ in range(count)]
    ids = enqueue(producer, 60 * count, milliseconds=20)
    assert eventually(lambda: len(workers.told("ends")) > 10)
    children[0].process.kill()

    assert producer.join(3 * PATIENCE)
    assert set(workers.told("ends")) == set(ids)
    again = {job: times for job, times in workers.told("begins").items() if times > 1}
    assert len(again) <= 2 * 4  # those that it ran, and those whose ends were on their way
    assert producer.metrics().completed == len(ids)


def test_a_job_of_a_dead_process_runs_again_soon_after_the_heartbeat_timeout(
    opened: Opened, workers: Workers
) -> None:
    producer = opened(len, start=False)
    first = workers.start()
    handle = producer.enqueue(Job(b"60000", id="long"))
    assert eventually(lambda: workers.told("begins")["long"] == 1)
    workers.start()
    first.process.kill()
    killed = time.monotonic()

    assert eventually(lambda: workers.told("begins")["long"] == 2)
    assert time.monotonic() - killed <= HEARTBEAT + 1.0
    assert producer.cancel(handle.id)
    assert handle.wait(PATIENCE) is Status.CANCELLED


def test_a_job_that_has_started_in_time_runs_again_when_its_process_dies(
    opened: Opened, workers: Workers
) -> None:
    producer = opened(len, start=False)
    first = workers.start()
    handle = producer.enqueue(Job(b"60000", id="long", expires=1.0))
    assert eventually(lambda: workers.told("begins")["long"] == 1)
    workers.start()
    first.process.kill()

    assert eventually(lambda: workers.told("begins")["long"] == 2)
    assert producer.cancel(handle.id)


def test_a_job_that_was_asked_to_stop_does_not_run_again_when_its_process_dies(
    opened: Opened, workers: Workers
) -> None:
    producer = opened(len, start=False)
    first = workers.start()
    handle = producer.enqueue(Job(b"60000", id="long"))
    assert eventually(lambda: workers.told("begins")["long"] == 1)
    first.process.send_signal(signal.SIGSTOP)
    assert handle.cancel()
    first.process.kill()
    workers.start()

    assert handle.wait(PATIENCE) is Status.CANCELLED
    assert workers.told("begins") == {"long": 1}


def test_a_completion_by_a_process_that_was_thought_dead_does_not_count(
    opened: Opened, workers: Workers
) -> None:
    producer = opened(len, start=False)
    first = workers.start()
    handle = producer.enqueue(Job(b"2500", id="late"))
    assert eventually(lambda: workers.told("begins")["late"] == 1)
    first.process.send_signal(signal.SIGSTOP)
    workers.start()
    assert eventually(lambda: workers.told("begins")["late"] == 2)
    first.process.send_signal(signal.SIGCONT)

    assert handle.wait(PATIENCE) is Status.COMPLETED
    assert eventually(lambda: workers.told("ends")["late"] == 2)
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(PATIENCE) == 0
    assert "does not count" in first.stderr
    assert producer.metrics().completed == 1


def test_a_process_that_is_told_to_stop_finishes_what_it_runs_and_leaves_the_rest(
    opened: Opened, workers: Workers
) -> None:
    producer = opened(len, start=False)
    child = workers.start()
    ids = enqueue(producer, 40, milliseconds=20)
    assert eventually(lambda: len(workers.told("ends")) > 4)
    child.process.send_signal(signal.SIGTERM)
    assert child.process.wait(PATIENCE) == 0
    assert workers.told("begins") == workers.told("ends")
    workers.start()

    assert producer.join(PATIENCE)
    assert workers.told("ends") == Counter(ids)


# ── the server, and the way to it ────────────────────────────────────────────────────────────────


@pytest.fixture
def server() -> Iterator[Server]:
    pytest.importorskip("asyncpg")
    server = Server()
    yield server
    server.close()


def test_no_job_is_lost_when_the_server_crashes(server: Server, tmp_path: Path) -> None:
    from jobqueue.postgres import PostgresConfig, schema

    server.execute("CREATE DATABASE jobs")
    schema.install(server.dsn("jobs"))
    workers = Workers(server.dsn("jobs"), tmp_path)
    config = PostgresConfig(server.dsn("jobs"), connect_timeout=PATIENCE)
    with config.open(handler=len, start=False) as producer:
        for _ in range(2):
            workers.start()
        accepted: list[str] = []

        def produce() -> None:
            accepted.extend(producer.enqueue(Job(b"5", id=f"job-{each}")).id for each in range(150))

        def has_ended(count: int) -> bool:
            return len(workers.told("ends")) >= count

        thread = threading.Thread(target=produce)
        thread.start()
        for each in range(1, often(2, 4)):
            assert eventually(partial(has_ended, 20 * each))
            server.stop("immediate")
            assert eventually(lambda: not engine(producer).connected)
            server.start()
        thread.join(3 * PATIENCE)
        assert producer.join(3 * PATIENCE)

        assert len(accepted) == 150
        assert set(workers.told("ends")) == set(accepted)
        assert {each.status for each in producer.jobs(limit=1000)} == {Status.COMPLETED}
        assert eventually(lambda: engine(producer).connected)
        assert engine(producer).reconnects >= 1
    workers.close()


def test_what_runs_goes_on_while_the_connection_is_cut_and_its_end_is_told_later(
    databases: Any, dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    from jobqueue.postgres import PostgresConfig

    proxy = Proxy(databases.port)
    gate, ran = threading.Event(), threading.Semaphore(0)

    def handle(payload: bytes, context: JobContext) -> int:
        ran.release()
        return len(payload) if gate.wait(PATIENCE) else -1

    through = databases.dsn(dsn.rpartition("/")[2], port=proxy.port)
    with (
        PostgresConfig(through, heartbeat_timeout=PATIENCE).open(handler=handle) as queue,
        PostgresConfig(dsn).open(handler=len, start=False) as other,
    ):
        handle_ = other.enqueue(Job(b"abc"))
        assert ran.acquire(timeout=PATIENCE)
        proxy.cut(lets_in=False)
        gate.set()
        assert eventually(lambda: not engine(queue).connected)
        assert handle_.wait(0.2) is Status.PROCESSING
        proxy.lets_in = True

        assert handle_.result(PATIENCE) == 3
        assert not ran.acquire(blocking=False)
        assert queue.enqueue(Job(b"x")).result(PATIENCE) == 1  # notices come again, too
        for _ in range(often(3, 20)):
            proxy.cut()
            assert queue.enqueue(Job(b"xy")).result(PATIENCE) == 2
        assert other.metrics().failed == 0
    proxy.close()
    assert {each.name for each in caplog.records} <= {"jobqueue"}  # the driver floods no log


def test_an_outcome_waits_for_a_database_that_takes_nothing_for_a_while(
    databases: Any, dsn: str, opened: Opened
) -> None:
    """It is read-only, as that of a server whose disk is full or that a standby takes over from."""
    from jobqueue.postgres import NotConnectedError

    name = dsn.rpartition("/")[2]
    began, gate = threading.Semaphore(0), threading.Event()

    def handle(payload: bytes) -> int:
        began.release()
        return len(payload) if gate.wait(PATIENCE) else -1

    def be(setting: str) -> None:
        databases.execute(
            f"ALTER DATABASE {name} SET default_transaction_read_only = {setting}",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'",
        )

    queue = opened(handle, heartbeat_timeout=PATIENCE, connect_timeout=0.5)
    handle_ = queue.enqueue(Job(b"abc"))
    assert began.acquire(timeout=PATIENCE)
    be("on")
    with pytest.raises(NotConnectedError, match="read-only transaction"):
        queue.enqueue(Job())
    gate.set()
    assert eventually(lambda: queue.metrics().workers.busy == 0)
    be("off")

    assert handle_.result(PATIENCE) == 3
    assert not began.acquire(blocking=False)


def test_what_was_written_though_nobody_said_so_counts(databases: Any, dsn: str) -> None:
    from jobqueue.postgres import PostgresConfig

    proxy = Proxy(databases.port)
    through = databases.dsn(dsn.rpartition("/")[2], port=proxy.port)

    def handle(payload: bytes, context: JobContext) -> None:
        if payload == b"fail" and not context.attempt:
            proxy.cuts_after = b"ValueError: this once"
            raise ValueError("this once")
        if payload == b"enqueue":
            context.enqueue(Job(b"by it"))
            proxy.cuts_after = b"COMMIT"

    with PostgresConfig(through, base_delay=0.01).open(handler=handle) as queue:
        for payload in (b"fail", b"enqueue"):
            assert queue.enqueue(Job(payload)).wait(PATIENCE) is Status.COMPLETED
            assert eventually(lambda: proxy.cuts_after is None)
        assert queue.join(PATIENCE)
        assert queue.metrics().retried == 1
        assert engine(queue).late == 0
    proxy.close()


def test_a_call_that_nothing_answers_gives_up_after_a_while(databases: Any, dsn: str) -> None:
    """As behind a firewall that drops what it gets: no connection is refused or reset."""
    from jobqueue.postgres import NotConnectedError, PostgresConfig

    proxy = Proxy(databases.port)
    through = databases.dsn(dsn.rpartition("/")[2], port=proxy.port)
    with PostgresConfig(through, connect_timeout=2.0).open(handler=len) as queue:
        assert queue.enqueue(Job()).result(PATIENCE) == 0
        proxy.passes.clear()
        begun = time.monotonic()
        with pytest.raises(NotConnectedError):
            queue.enqueue(Job())
        assert queue.close(PATIENCE).unfinished == ()
        assert time.monotonic() - begun < 20.0  # it was minutes
    proxy.close()


def test_a_call_that_takes_long_is_waited_for(databases: Any, dsn: str) -> None:
    from jobqueue.postgres import PostgresConfig

    with (
        PostgresConfig(dsn, connect_timeout=0.1).open(handler=len, start=False) as queue,
        ThreadPoolExecutor() as pool,
    ):
        held = pool.submit(
            databases.execute,
            "DO $$ BEGIN LOCK TABLE jobqueue_job; PERFORM pg_sleep(2); END $$",
            database=dsn.rpartition("/")[2],
        )
        assert eventually(lambda: databases.execute(_LOCKED)[0][0])
        queue.enqueue(Job(id="a"))
        assert held.result(PATIENCE) is not None
        assert queue.status("a") is Status.QUEUED


def test_a_call_without_a_connection_gives_up_after_a_while(databases: Any, dsn: str) -> None:
    from jobqueue.postgres import NotConnectedError, PostgresConfig

    proxy = Proxy(databases.port)
    through = databases.dsn(dsn.rpartition("/")[2], port=proxy.port)
    config = PostgresConfig(through.replace("postgres@", "postgres:secret@"), connect_timeout=0.1)
    with config.open(handler=len) as queue:
        proxy.cut(lets_in=False)
        with pytest.raises(NotConnectedError) as raised:
            queue.enqueue(Job())
        with pytest.raises(NotConnectedError):
            queue.status("a")
        assert queue.close(PATIENCE).unfinished == ()
    assert "secret" not in str(raised.value)
    proxy.close()
