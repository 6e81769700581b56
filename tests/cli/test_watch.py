"""`jobqueue log watch`: looks at a queue that runs, over its socket."""

from __future__ import annotations

import io
import signal
from argparse import Namespace
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from jobqueue.cli import looks, main
from jobqueue.cli.logged import LoggedQueue
from jobqueue.final import Config, Job, JobQueue, Priority, RetryJobError, Status
from tests.cli.test_run import MODULE, work
from tests.support.commands import Command
from tests.support.served import Served
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.logs import LogDirectory

pytest.importorskip("msgspec", reason="commands speak to a queue by msgspec")

HOSTILE = "\x1b[2J[red]boom"


def fail(payload: bytes) -> None:
    raise ValueError(payload.decode())


@pytest.fixture
def queue(log: LogDirectory) -> Iterator[JobQueue]:
    config = Config(persist_path=log.path, control=True, max_retries=0)
    with JobQueue(config, handlers={"fails": fail, "len": len}) as jq:
        yield jq


def run(jq: JobQueue, *handlers: str) -> None:
    for each in handlers:
        job = Job(HOSTILE.encode(), handler=each, priority=Priority.HIGH)
        assert jq.enqueue(job).wait(PATIENCE) in (Status.COMPLETED, Status.FAILED)


@pytest.fixture
def between(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Has something done between two looks, in place of the sleep."""

    def do(what: Callable[[], object]) -> None:
        monkeypatch.setattr("jobqueue.cli.watching.pause", lambda _seconds: what())

    return do


def test_scripts_get_counts_and_rates_of_each_lane(
    queue: JobQueue, command: Command, between: Callable[[Callable[[], object]], None]
) -> None:
    run(queue, "len")
    between(lambda: run(queue, "len", "len", "fails"))
    first, second = command("watch", "--json", "--count", "2").objects
    assert first["completed"] == 1
    assert first["per_second"] is None
    assert (second["completed"], second["failed"]) == (3, 1)
    lane = second["lanes"]["high"]["per_second"]
    assert lane["completed"] == pytest.approx(2 * lane["failed"], rel=0.01)
    assert second["lanes"]["low"]["per_second"]["completed"] == 0
    assert second["log"]["error"] is None
    assert second["failures"] == [
        {
            "handler": "fails",
            "error": "ValueError",
            "count": 1,
            "new": 1,
            "last": f"ValueError: {HOSTILE}",
        }
    ]


def test_what_is_no_terminal_gets_a_line_for_each_look(queue: JobQueue, command: Command) -> None:
    run(queue, "len")
    outcome = command("watch", "--count", "2", "--interval", "0.1")
    first, second = outcome.lines
    assert "1 completed" in first
    assert "(0.0/s)" in second


def test_a_terminal_shows_tables_in_which_nothing_can_harm_it(queue: JobQueue) -> None:
    run(queue, "fails")
    metrics = queue.metrics()
    look = looks.Look(0.0, 1.0, metrics, looks.failures_of(queue, metrics, None), None)  # type: ignore[arg-type]  # a queue has these calls too
    out = io.StringIO()
    Console(file=out, width=160).print(looks.as_tables(look))
    shown = out.getvalue()
    assert "\x1b" not in shown
    assert "\\x1b[2J[red]boom" in shown
    assert "workers: " in shown


def test_counts_that_begin_anew_are_another_process_s(queue: JobQueue) -> None:
    before = looks.Look(0.0, 1.0, queue.metrics(), [], None)
    run(queue, "len", "len")
    busy = looks.Look(1.0, 2.0, queue.metrics(), [], before)
    with JobQueue(Config(), handlers={"len": len}) as successor:
        run(successor, "len")
        after = looks.Look(2.0, 3.0, successor.metrics(), [], busy)
        rates = after.rates()
        assert rates is not None
        assert rates["completed"] == 1.0
    assert busy.before is None


def test_without_a_queue_it_says_so(command: Command, log: LogDirectory) -> None:
    with JobQueue(Config(persist_path=log.path)):
        pass
    outcome = command("watch", "--count", "1")
    assert (outcome.code, outcome.out) == (7, "")


def again(payload: bytes) -> None:
    raise RetryJobError("later", delay=0)


def plain(log: LogDirectory, **settings: Any) -> JobQueue:
    """A queue that takes no commands."""
    config = Config(persist_path=log.path, max_retries=1, base_delay=0.0, **settings)
    return JobQueue(config, handlers={"again": again, "fails": fail, "len": len})


def logged(log: LogDirectory) -> LoggedQueue:
    arguments = Namespace(path=str(log.path), allow_shared=False, status_retention=100_000)
    return LoggedQueue(arguments)


def test_of_a_queue_that_takes_no_commands_the_log_is_read(
    log: LogDirectory, command: Command, between: Callable[[Callable[[], object]], None]
) -> None:
    def work(*handlers: str) -> None:
        run(jq, *handlers)
        jq.flush()

    with plain(log) as jq:
        work("len", "again")
        between(lambda: work("len", "len", "again"))
        outcome = command("watch", "--json", "--count", "2")
        told = jq.metrics()
    assert outcome.code == 0
    assert "read from the log" in outcome.err
    assert "Config(control=True)" in outcome.err
    first, second = outcome.objects
    assert first["per_second"] is None
    for name in looks.RATES:
        assert second[name] == getattr(told, name), name
    rates = second["lanes"]["high"]["per_second"]
    assert rates["completed"] == pytest.approx(2 * rates["failed"], rel=0.02)
    assert rates["enqueued"] == pytest.approx(3 * rates["failed"], rel=0.02)
    assert rates["retried"] == pytest.approx(rates["failed"], rel=0.02) != 0
    assert set(second["lanes"]["low"]["per_second"].values()) == {0.0}
    (failures,) = second["failures"]
    assert (failures["handler"], failures["error"]) == ("again", "RetryJobError")
    assert (failures["count"], failures["new"]) == (4, 2)
    assert [second["workers"], second["overrunning"], second["limited"]] == [None] * 3
    assert second["log"]["lag_records"] is None


def test_a_compaction_between_two_looks_makes_no_rate_wrong(
    log: LogDirectory, command: Command, between: Callable[[Callable[[], object]], None]
) -> None:
    with plain(log, status_retention=2, segment_bytes=4096) as jq:
        jq.enqueue(Job(handler="len", priority=Priority.LOW), delay=3600)
        run(jq, *["len"] * 20)
        jq.flush()
        # The first is sealed; there is no compaction before the second is.
        assert len([name for name in log.content() if name.endswith(".jsonl")]) == 2

        def go_on() -> None:
            run(jq, *["len"] * 20)
            jq.flush()
            eventually(lambda: logged(log).look(None).metrics.completed < 20)

        between(go_on)
        first, second = command("watch", "--json", "--count", "2").objects
    assert second["completed"] < first["completed"] == 20
    rates = second["per_second"]
    assert rates["completed"] > 0
    assert rates["enqueued"] > 0
    assert min(rates.values()) == 0
    assert second["lanes"]["low"]["scheduled"] == 1
    assert second["lanes"]["low"]["per_second"]["enqueued"] == 0  # it was there before


def test_a_terminal_is_told_that_the_log_was_read(log: LogDirectory) -> None:
    with plain(log) as jq:
        run(jq, "fails")
        jq.flush()
        look = logged(log).look(None)
    out = io.StringIO()
    Console(file=out, width=160).print(looks.as_tables(look))
    shown = out.getvalue()
    assert "\\x1b[2J[red]boom" in shown
    assert "read from the log" in shown
    assert "workers" not in shown


def test_when_a_queue_without_commands_ends_it_ends(
    log: LogDirectory,
    capsys: pytest.CaptureFixture[str],
    between: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobqueue.cli.owner.ANSWER_SECONDS", 0.1)
    with plain(log) as jq:
        between(jq.close)
        assert main(["log", "watch", str(log.path)]) == 7
    assert "the queue has ended" in capsys.readouterr().err


def test_when_the_queue_ends_it_ends(
    log: LogDirectory,
    capsys: pytest.CaptureFixture[str],
    between: Callable[[Callable[[], object]], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobqueue.cli.owner.ANSWER_SECONDS", 0.1)
    with JobQueue(Config(persist_path=log.path, control=True)) as jq:
        between(jq.close)
        assert main(["log", "watch", str(log.path)]) == 7
    assert "the queue has ended" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "soon"])
def test_a_wrong_interval_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["log", "watch", "somewhere", f"--interval={text}"])
    assert "is no number of seconds" in capsys.readouterr().err


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "jobs.py").write_text(MODULE)
    with work(tmp_path) as worker:
        worker.until("serving")
        with Served("jobqueue.cli", "log", "watch", "jobs.db", directory=tmp_path) as watching:
            watching.until("queued", times=2)
            assert watching.end(signal.SIGINT) == 0
            assert "Traceback" not in watching.output
            assert "jobqueue:" not in watching.output
        worker.end(signal.SIGTERM)
