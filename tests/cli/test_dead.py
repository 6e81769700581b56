from __future__ import annotations

import errno
import os
import threading

import pytest

from jobqueue.final import Config, Job, JobQueue, RejectJobError, Status
from jobqueue.final.errors import UnknownJobError
from jobqueue.final.wal.format.record import Failed
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from tests.support.commands import Command
from tests.support.faulty_files import FaultyFiles
from tests.support.logs import Image, LogDirectory, done, job, segment


def failed(number: int, at: float) -> Failed:
    return Failed(number, at, at - 1, 2, "E: x", "first line\n")


@pytest.fixture
def letters(log: LogDirectory) -> LogDirectory:
    """Of five jobs one is completed, three have failed."""
    jobs = [job(number) for number in range(1, 6)]
    log.put(segment(1, 1, [[*jobs], [failed(3, 50.0), failed(1, 60.0), failed(4, 55.0), done(2)]]))
    return log


def ids(command: Command) -> list[str]:
    return [each["id"] for each in command("dead", "--json").objects]


def statuses(command: Command) -> dict[str, str]:
    return {each["id"]: each["status"] for each in command("cat", "--json").objects}


def test_the_failed_jobs_are_listed_and_who_failed_first_comes_first(
    command: Command, letters: LogDirectory
) -> None:
    assert ids(command) == ["job-3", "job-4", "job-1"]


def test_people_get_the_error_and_on_request_the_traceback(
    command: Command, letters: LogDirectory
) -> None:
    outcome = command("dead")
    assert outcome.code == 0
    assert outcome.lines[0].startswith("job-3  failed  medium  default handler")
    assert outcome.lines.count("    error E: x") == 3
    assert "first line" not in outcome.out
    assert command("dead", "--full").lines.count("        first line") == 3


def test_a_torn_end_is_told(command: Command, letters: LogDirectory) -> None:
    data = letters.content()[segment_name(1)]
    letters.put(Image(segment_name(1), data + b"torn"))
    assert command("dead").err.endswith("what follows there does not count\n")


@pytest.mark.parametrize(
    ("options", "requeued", "left"),
    [
        (["--requeue", "job-1"], ["job-1"], ["job-3", "job-4"]),
        (["--requeue", "job-4", "--requeue", "job-3"], ["job-4", "job-3"], ["job-1"]),
        (["--requeue", "job-1", "--requeue", "job-1"], ["job-1"], ["job-3", "job-4"]),
        (["--requeue", "all"], ["job-3", "job-4", "job-1"], []),
        (["--requeue", "job-1", "--requeue", "all"], ["job-3", "job-4", "job-1"], []),
    ],
)
def test_a_job_can_be_queued_again(
    command: Command,
    letters: LogDirectory,
    options: list[str],
    requeued: list[str],
    left: list[str],
) -> None:
    outcome = command("dead", "--json", *options)
    assert (outcome.code, outcome.object) == (0, {"requeued": requeued})
    assert ids(command) == left
    assert {statuses(command)[each] for each in requeued} == {"queued"}


def test_its_retries_are_back_at_0(command: Command, letters: LogDirectory) -> None:
    command("dead", "--requeue", "job-1")
    again = command("cat", "--json", "--id", "job-1").object
    assert (again["retries"], again["error"], again["payload"]) == (0, None, "payload of 1")


def test_a_job_can_be_dropped(command: Command, letters: LogDirectory) -> None:
    outcome = command("dead", "--json", "--discard", "job-3", "--discard", "job-1")
    assert (outcome.code, outcome.object) == (0, {"discarded": ["job-3", "job-1"]})
    assert statuses(command) == {"job-2": "completed", "job-4": "failed", "job-5": "queued"}


def test_people_are_told_how_many(command: Command, letters: LogDirectory) -> None:
    assert command("dead", "--discard", "job-3").lines == ["discarded: 1 job"]
    assert command("dead", "--requeue", "all").lines == ["requeued: 2 jobs"]


@pytest.mark.parametrize("option", ["--requeue", "--discard"])
@pytest.mark.parametrize("name", ["job-2", "job-5", "nobody", "bad\x1b[2J"])
def test_an_id_that_no_dead_letter_has_ends_in_6_and_nothing_is_changed(
    command: Command, letters: LogDirectory, option: str, name: str
) -> None:
    before = letters.content()
    outcome = command("dead", option, "job-1", option, name)
    assert (outcome.code, outcome.out) == (6, "")
    shown = name.replace("\x1b", "\\x1b")
    assert outcome.err == (f"jobqueue: no dead letter has the id {shown}; nothing was changed\n")
    assert {n: data for n, data in letters.content().items() if n != LOCK_NAME} == before


def test_such_an_id_beside_all_of_them_is_told_too(command: Command, letters: LogDirectory) -> None:
    outcome = command("dead", "--requeue", "all", "--requeue", "nobody")
    assert (outcome.code, outcome.out) == (6, "")


def test_where_there_is_none_all_of_them_are_none(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    before = log.content()
    outcome = command("dead", "--json", "--requeue", "all")
    assert (outcome.code, outcome.object) == (0, {"requeued": []})
    assert {n: data for n, data in log.content().items() if n != LOCK_NAME} == before


def test_a_change_is_in_a_segment_of_its_own_that_is_sealed(
    command: Command, letters: LogDirectory
) -> None:
    command("dead", "--requeue", "all")
    assert letters.read().last == 4  # the requeued ones, and the batch that says so is synced
    assert letters.read().next_segment == 3
    last = letters.content()[segment_name(2)].splitlines()[-1]
    assert last.startswith(b'{"commit":4,"records":0,"synced":3,')


def test_a_change_is_on_the_disk_before_it_is_said_to_be(
    command: Command, letters: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FaultyFiles()
    monkeypatch.setattr("jobqueue.cli.access.Files", lambda: files)
    command("dead", "--requeue", "all")
    segment_calls = files.calls[files.calls.index("create") + 1 :]
    assert segment_calls == [
        *("write", "sync", "sync_directory"),  # the header
        *("write", "sync"),  # the change
        *("write", "sync", "close"),  # that it is on the disk
        *("create", "write", "sync", "close", "sync_directory"),  # how far the log goes
    ]


def test_what_is_torn_is_cut_off_before_a_change(command: Command, letters: LogDirectory) -> None:
    data = letters.content()[segment_name(1)]
    letters.put(Image(segment_name(1), data + b"torn"))
    outcome = command("dead", "--discard", "job-1")
    assert outcome.code == 0
    assert f"kept in {letters.path / segment_name(1)}.torn\n" in outcome.err
    assert command("verify").code == 0
    assert ids(command) == ["job-3", "job-4"]


@pytest.mark.parametrize(
    ("method", "skip"), [("write", 0), ("write", 1), ("write", 2), ("sync", 2)]
)
def test_a_disk_that_fails_ends_in_5_and_leaves_a_log_that_opens(
    command: Command,
    letters: LogDirectory,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    skip: int,
) -> None:
    files = FaultyFiles()
    files.fail(method, errno.ENOSPC, skip=skip, for_ever=True)
    monkeypatch.setattr("jobqueue.cli.access.Files", lambda: files)
    descriptors = len(os.listdir("/dev/fd"))
    outcome = command("dead", "--discard", "job-1")
    assert (outcome.code, outcome.out) == (5, "")
    assert len(os.listdir("/dev/fd")) == descriptors
    letters.open()
    assert command("verify").code == 0


def test_a_queue_runs_what_was_requeued_and_knows_no_more_what_was_discarded(
    command: Command, log: LogDirectory
) -> None:
    ran = threading.Event()

    def refuse(payload: bytes) -> None:
        raise RejectJobError("no")

    config = Config(persist_path=log.path)
    with JobQueue(config, handler=refuse) as jq:
        handles = [jq.enqueue(Job(b"x", id=name)) for name in ("again", "gone")]
        assert [handle.wait(10) for handle in handles] == [Status.FAILED] * 2
    assert command("dead", "--requeue", "again").code == 0
    assert command("dead", "--discard", "gone").code == 0
    with JobQueue(config, handler=lambda _payload: ran.set()) as jq:
        assert jq.handle("again").wait(10) is Status.COMPLETED
        with pytest.raises(UnknownJobError):
            jq.status("gone")
    assert ran.is_set()
