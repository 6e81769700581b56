"""Commands on a log that a queue has open: they ask that queue, if it takes commands."""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.cli import main
from jobqueue.final import Config, Job, JobQueue, Priority, RejectJobError, Status
from jobqueue.final.sharing.address import SOCKET_NAME
from tests.support.commands import Command, Outcome
from tests.support.handlers import Blocker, in_thread
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.logs import LogDirectory

    Asks = Callable[..., Outcome]

pytest.importorskip("msgspec", reason="commands speak to a queue by msgspec")
SETTINGS: dict[str, dict[str, Any]] = {"shared": {"share": "auto"}, "control": {"control": True}}


def reject(payload: bytes) -> None:
    raise RejectJobError("no")


@pytest.fixture(params=SETTINGS)
def queue(request: pytest.FixtureRequest, log: LogDirectory) -> Iterator[JobQueue]:
    config = Config(persist_path=log.path, **SETTINGS[request.param])
    with JobQueue(config, handlers={"fails": reject, "len": len}) as jq:
        yield jq


@pytest.fixture
def ask(log: LogDirectory, capsys: pytest.CaptureFixture[str]) -> Asks:
    """Runs `jobqueue log NAME PATH ...`."""

    def run(name: str, *arguments: str) -> Outcome:
        capsys.readouterr()
        code = main(["log", name, str(log.path), *arguments])
        return Outcome(int(code), *capsys.readouterr())

    return run


def fail(jq: JobQueue, *ids: str) -> None:
    for each in ids:
        assert jq.enqueue(Job(id=each, handler="fails")).wait(PATIENCE) is Status.FAILED


def test_failed_jobs_are_queued_again(queue: JobQueue, ask: Asks) -> None:
    fail(queue, "a", "b")
    queue.pause()
    assert ask("dead", "--requeue", "a", "--json").object == {"requeued": ["a"]}
    assert queue.status("a") is Status.QUEUED
    assert ask("dead", "--requeue", "all").lines == ["requeued: 1 job"]
    assert queue.status("b") is Status.QUEUED


@pytest.mark.parametrize("other", ["a", "all"])
def test_if_one_id_is_no_dead_letters_nothing_is_changed(
    queue: JobQueue, ask: Asks, other: str
) -> None:
    fail(queue, "a")
    outcome = ask("dead", "--requeue", other, "--requeue", "none")
    assert outcome.code == 6
    assert "'none'" in outcome.err or "id none" in outcome.err
    assert queue.status("a") is Status.FAILED


@pytest.mark.parametrize("command", [("dead", "--discard", "a"), ("discard", "a")], ids=" ".join)
def test_failed_jobs_are_dropped(queue: JobQueue, ask: Asks, command: tuple[str, ...]) -> None:
    fail(queue, "a")
    assert ask(*command).lines == ["discarded: 1 job"]
    assert not queue.dead_letters()


def test_jobs_are_cancelled(queue: JobQueue, ask: Asks) -> None:
    queue.enqueue(Job(id="done", handler="len")).wait(PATIENCE)
    queue.enqueue(Job(id="later", handler="len"), delay=3600)
    found = ask("cancel", "later", "done", "--json").object
    assert found == {"cancelled": ["later"], "finished": ["done"]}
    assert queue.status("later") is Status.CANCELLED
    assert ask("cancel", "none").code == 6


def test_a_job_that_runs_is_asked_to_stop(queue: JobQueue, ask: Asks) -> None:
    blocker = Blocker()
    queue.register("blocks", blocker)
    handle = queue.enqueue(Job(handler="blocks"))
    blocker.await_entered()
    assert ask("cancel", handle.id).lines == ["cancelled: 1 job"]
    blocker.gate.set()
    assert handle.wait(PATIENCE) is Status.COMPLETED


def test_handlers_priorities_and_the_whole_queue_are_paused_and_resumed(
    queue: JobQueue, ask: Asks
) -> None:
    assert ask("pause", "--handler", "len").lines == ["paused now: handlers len"]
    handle = queue.enqueue(Job(b"abc", handler="len"))
    assert ask("pause", "--priority", "low").code == 0
    paused = ask("pause", "--json").object["paused"]
    assert paused == {"all": True, "handlers": ["len"], "priorities": ["low"], "periodics": []}
    assert queue.paused().priorities == {Priority.LOW}
    assert ask("resume", "--handler", "len").code == 0
    assert ask("resume", "--priority", "low").lines == ["paused now: the whole queue"]
    assert ask("resume").lines == ["paused now: nothing"]
    assert handle.result(PATIENCE) == 3


def test_only_one_thing_is_paused_at_a_time(queue: JobQueue, ask: Asks) -> None:
    assert ask("pause", "--handler", "len", "--priority", "low").code == 2


def test_a_handler_without_a_name_cannot_be_paused(queue: JobQueue, ask: Asks) -> None:
    outcome = ask("pause", "--handler", "")
    assert (outcome.code, outcome.out) == (2, "")
    assert "--handler needs a name" in outcome.err


def test_looking_reads_the_log_of_a_live_queue(queue: JobQueue, command: Command) -> None:
    fail(queue, "a")
    eventually(lambda: [each["id"] for each in command("dead", "--json").objects] == ["a"])
    assert command("inspect", "--json").object["in_use"]


@pytest.mark.parametrize(
    "arguments",
    [("cancel", "a"), ("discard", "a"), ("dead", "--requeue", "all"), ("pause",), ("resume",)],
    ids=lambda each: each[0],
)
def test_a_queue_that_takes_no_commands_is_told_how_to(
    log: LogDirectory, ask: Asks, arguments: tuple[str, ...]
) -> None:
    with JobQueue(Config(persist_path=log.path), handlers={"fails": reject}) as jq:
        fail(jq, "a")
        outcome = ask(*arguments)
        assert outcome.code == 3
        assert "Config(control=True)" in outcome.err
        assert jq.status("a") is Status.FAILED


def test_a_queue_that_does_not_answer_is_not_waited_for_without_end(
    log: LogDirectory, ask: Asks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.cli.owner.ANSWER_SECONDS", 0.05)
    with (
        JobQueue(Config(persist_path=log.path), handlers={"fails": reject}),
        socket.socket(socket.AF_UNIX) as deaf,
    ):
        deaf.bind(str(log.path / SOCKET_NAME))
        deaf.listen()

        def turn_away() -> None:
            with suppress(OSError):
                while True:
                    deaf.accept()[0].close()

        turning = in_thread(turn_away)
        outcome = ask("pause")
        deaf.shutdown(socket.SHUT_RDWR)
        turning.result(PATIENCE)
    assert outcome.code == 3
    assert "0.05 s" in outcome.err
    assert "try again" in outcome.err


# ── a log that no queue has open ─────────────────────────────────────────────────────────────────


@pytest.fixture
def closed(log: LogDirectory) -> LogDirectory:
    with JobQueue(Config(persist_path=log.path), handlers={"fails": reject, "len": len}) as jq:
        fail(jq, "failed")
        jq.enqueue(Job(id="later", handler="len"), delay=3600)
        jq.enqueue(Job(id="after", handler="len", after=["later"]))
    return log


def test_without_a_queue_jobs_are_cancelled_in_the_log(closed: LogDirectory, ask: Asks) -> None:
    found = ask("cancel", "later", "failed", "--json").object
    assert found == {"cancelled": ["later"], "finished": ["failed"]}
    assert ask("cancel", "later", "none").code == 6
    with JobQueue(Config(persist_path=closed.path), handlers={"len": len}) as jq:
        assert jq.status("later") is Status.CANCELLED
        assert eventually(lambda: jq.status("after") is Status.CANCELLED)


def test_without_a_queue_failed_jobs_are_dropped_from_the_log(
    closed: LogDirectory, ask: Asks
) -> None:
    assert ask("discard", "failed").lines == ["discarded: 1 job"]
    assert ask("discard", "failed").code == 6


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_there_is_nothing_to_pause_without_a_queue(
    closed: LogDirectory, ask: Asks, name: str
) -> None:
    assert ask(name).code == 7
