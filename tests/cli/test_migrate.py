"""`jobqueue migrate`: each job of a log is in the database, once, as it was."""

from __future__ import annotations

import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")

from jobqueue import Config, Job, JobQueue, Priority, RejectJobError, Status, Unique
from jobqueue.cli import main
from jobqueue.postgres import PostgresConfig, PostgresQueue
from tests.support.children import CHILD_SECONDS_MAX, Child
from tests.support.commands import Outcome
from tests.support.programs.migrate_and_die import STEPS
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Migrate = Callable[..., Outcome]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.jobs"


@pytest.fixture
def migrate(path: Path, dsn: str, capsys: pytest.CaptureFixture[str]) -> Migrate:
    """Runs `jobqueue migrate` from the log to the database."""

    def run(*options: str, to: str = dsn, log: Path = path) -> Outcome:
        capsys.readouterr()
        code = main(["migrate", *options, str(log), to])
        return Outcome(int(code), *capsys.readouterr())

    return run


def fails(payload: bytes) -> None:
    raise ConnectionError("no route")


def rejects(payload: bytes) -> None:
    raise RejectJobError("malformed")


HANDLERS: dict[str, Callable[..., object]] = {"len": len, "fails": fails, "rejects": rejects}


def log_of(path: Path, **settings: Any) -> JobQueue:
    return JobQueue(Config(persist_path=path, **settings), handlers=HANDLERS)


def opened(dsn: str, *, start: bool = False) -> PostgresQueue:
    return PostgresConfig(dsn).open(HANDLERS, start=start)


def test_jobs_that_wait_go_as_they_are(path: Path, dsn: str, migrate: Migrate) -> None:
    plain = Job(b"\xff\x00", id="plain", handler="len", headers={"by": "me"}, key="k")
    late = Job(b"x", id="late", handler="len", priority=Priority.LOW, max_retries=7, expires=600)
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue_many([plain, late])
        jq.enqueue(Job(id="later", handler="len", priority=Priority.HIGH), delay=3600)
    assert migrate("--json").object == {
        "log": str(path), "database": dsn, "unfinished": 3, "failed": 0, "not_moved": [],
        "to_cancel": [],
    }  # fmt: skip
    with opened(dsn) as queue:
        info = queue.info("plain")
        assert (info.status, info.payload, info.headers) == (
            Status.QUEUED,
            b"\xff\x00",
            {"by": "me"},
        )
        assert (info.created, info.key, info.retries) == (plain.created, "k", 0)
        assert queue.info("late").priority is Priority.LOW
        later = queue.info("later")
        assert later.status is Status.SCHEDULED
        assert later.due == pytest.approx(time.time() + 3600, abs=60)
        queue.start()
        assert queue.handle("plain").result(PATIENCE) == 2


def test_retries_that_were_made_count(path: Path, dsn: str, migrate: Migrate) -> None:
    with log_of(path, base_delay=3000, max_delay=3000, jitter=0.0) as jq:
        handle = jq.enqueue(Job(id="a", handler="fails", max_retries=1))
        while jq.info("a").retries == 0:
            assert handle.wait(0.01) is not Status.FAILED
        was = jq.info("a")
    migrate()
    with opened(dsn) as queue:
        info = queue.info("a")
        assert (info.status, info.retries) == (Status.SCHEDULED, 1)
        assert info.last_error == was.last_error == "ConnectionError: no route"
        assert info.attempts == was.attempts
        queue.run_now(status=Status.SCHEDULED)
        queue.start()
        assert queue.handle("a").wait(PATIENCE) is Status.FAILED  # it was the last one


def test_a_dead_letter_is_one_there_and_can_be_queued_again(
    path: Path, dsn: str, migrate: Migrate
) -> None:
    with log_of(path) as jq:
        jq.enqueue(Job(b"abc", id="dead", handler="rejects")).wait(PATIENCE)
        (was,) = jq.dead_letters()
    assert migrate().lines == [f"moved to {dsn}: 0 unfinished jobs, 1 dead letter"]
    with opened(dsn) as queue:
        (letter,) = queue.dead_letters()
        assert (letter.id, letter.payload, letter.retries) == ("dead", b"abc", was.retries)
        assert (letter.last_error, letter.finished) == (was.last_error, was.finished)
        assert letter.last_traceback == was.last_traceback
        assert letter.attempts == was.attempts
        queue.start()
        assert queue.requeue("dead").wait(PATIENCE) is Status.FAILED
    with log_of(path) as jq:
        assert not jq.dead_letters()


def test_a_unique_job_stays_so_and_is_not_lost_to_one_that_is_there(
    path: Path, dsn: str, migrate: Migrate
) -> None:
    unique = {"handler": "len", "unique": Unique("handler+key")}
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue(Job(id="a", key="one", **unique))  # type: ignore[arg-type]
        jq.enqueue(Job(id="b", key="two", **unique))  # type: ignore[arg-type]
    with opened(dsn) as queue:
        queue.enqueue(Job(id="theirs", key="two", **unique))  # type: ignore[arg-type]
    migrate()
    with opened(dsn) as queue:
        assert queue.enqueue(Job(key="one", **unique)).id == "a"  # type: ignore[arg-type]
        assert {each.id for each in queue.jobs()} == {"a", "b", "theirs"}


def test_the_last_ticks_of_schedules_go_along(path: Path, dsn: str, migrate: Migrate) -> None:
    with log_of(path) as jq:
        jq.periodic("daily", timedelta(days=1), lambda: Job(handler="len"))
    migrate()
    with opened(dsn) as queue:
        queue.periodic("daily", timedelta(days=1), lambda: Job(handler="len"))
        assert not queue.jobs()


def test_the_log_has_nothing_left_to_run(path: Path, migrate: Migrate) -> None:
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue(Job(id="a", handler="len"))
    migrate()
    assert migrate("--json").object["unfinished"] == 0
    with log_of(path) as jq:
        info = jq.info("a")
        assert info.status is Status.CANCELLED
        assert "moved to postgresql://" in (info.last_error or "")


def test_an_id_that_means_another_job_there_stays(path: Path, dsn: str, migrate: Migrate) -> None:
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue_many([Job(id="same", handler="len"), Job(id="mine", handler="len")])
    with opened(dsn) as queue:
        queue.enqueue(Job(b"another", id="same", handler="len"))
    outcome = migrate()
    assert outcome.code == 6
    assert "(same), which stay in the log" in outcome.err
    with opened(dsn) as queue:
        assert queue.info("same").payload == b"another"
        assert queue.status("mine") is Status.QUEUED
    with log_of(path) as jq:
        assert jq.handle("same").wait(PATIENCE) is Status.COMPLETED


def test_jobs_that_wait_for_others_are_refused_before_anything_moves(
    path: Path, dsn: str, migrate: Migrate
) -> None:
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue_many([Job(id="a", handler="len"), Job(id="b", handler="len", after=["a"])])
    outcome = migrate()
    assert outcome.code == 2
    assert "1 job in" in outcome.err
    assert "as b, which is not there on PostgreSQL" in outcome.err
    with opened(dsn) as queue:
        assert not queue.jobs()


def test_a_log_in_use_and_a_database_without_tables_are_refused(
    path: Path, databases: Any, migrate: Migrate
) -> None:
    with log_of(path):
        assert migrate().code == 3
    empty = databases.make(installed=False)
    outcome = migrate(to=empty)
    assert outcome.code == 4
    assert "jobqueue postgres install" in outcome.err


@pytest.mark.slow
@pytest.mark.parametrize("step", range(1, STEPS * 3 + 1))
def test_killed_anywhere_and_run_again_nothing_is_lost_or_doubled(
    path: Path, dsn: str, migrate: Migrate, step: int
) -> None:
    """Of five jobs in batches of two; those that have come run before the move goes on."""
    ids = [f"job-{number}" for number in range(5)]
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue_many([Job(id=each, handler="len") for each in ids])
    with Child("migrate_and_die", path, dsn, 2, step) as child:
        assert child.process.wait(CHILD_SECONDS_MAX) == -signal.SIGKILL
    ran: list[str] = []

    def note(payload: bytes, context: Any) -> None:
        ran.append(context.job.id)

    config = PostgresConfig(dsn, status_retention=1)
    with config.open({"len": note}) as queue:
        assert queue.join(PATIENCE)
    assert migrate().code == 0
    with config.open({"len": note}) as queue:
        assert queue.join(PATIENCE)
    assert sorted(ran) == ids


def test_a_move_that_was_killed_takes_no_later_job_of_the_same_id_for_its_own(
    path: Path, dsn: str, migrate: Migrate
) -> None:
    """Killed when the log was told of a job, before the database was told that it was."""
    with log_of(path) as jq:
        jq.pause()
        jq.enqueue(Job(id="order-1", handler="len"))
    with Child("migrate_and_die", path, dsn, 2, 4) as child:
        assert child.process.wait(CHILD_SECONDS_MAX) == -signal.SIGKILL
    other = path.with_name("other.jobs")
    with log_of(other) as jq:
        jq.pause()
        jq.enqueue(Job(id="order-1", handler="len"))
    outcome = migrate("--json", log=other)
    assert outcome.object["not_moved"] == ["order-1"]  # and not: it is there already
