from __future__ import annotations

import base64

import pytest

from jobqueue.final.wal.files import Files
from jobqueue.final.wal.format.record import (
    Cancelled,
    Completed,
    Crashed,
    Doomed,
    Enqueued,
    Failed,
    Record,
    Requeued,
    Retried,
    Revoked,
)
from jobqueue.final.wal.names import LOCK_NAME
from tests.support.commands import Command
from tests.support.logs import Image, LogDirectory, done, job, nothing, segment

FAR = 4e9
"""A time that is not there yet."""

EVENTS: list[list[Record]] = [
    [
        Enqueued(1, "queued", 0, 100.0, "mail"),
        Enqueued(2, "scheduled", 1, 101.0, due=FAR, delay=FAR),
        Enqueued(3, "completed", 2, 102.0, payload="gone"),
        Enqueued(4, "failed", 1, 103.0, "mail", payload="kept"),
        Enqueued(5, "cancelled", 1, 104.0),
        Enqueued(6, "retrying", 1, 105.0),
        Enqueued(7, "requeued", 1, 106.0),
    ],
    [done(3), Failed(4, 110.0, 109.0, 3, "E: four", "line 1\nline 2\n"), Cancelled(5, 111.0)],
    [
        Retried(6, 112.0, 111.5, 2, FAR, 1.0, "E: six", "trace"),
        Crashed(1, 2, 1),
        Revoked(6, 112.5),
    ],
    [Failed(7, 113.0, 112.0, 1, "E: seven", ""), Requeued(7, 114.0)],
]


@pytest.fixture
def eventful(log: LogDirectory) -> LogDirectory:
    log.put(segment(1, 1, EVENTS))
    return log


def ids(command: Command, *options: str) -> list[str]:
    return [each["id"] for each in command("cat", "--json", *options).objects]


def test_all_jobs_are_shown_in_the_order_in_which_they_were_accepted(
    command: Command, eventful: LogDirectory
) -> None:
    assert ids(command) == [
        *("queued", "scheduled", "completed", "failed", "cancelled", "retrying", "requeued")
    ]


def test_each_has_its_status(command: Command, eventful: LogDirectory) -> None:
    statuses = {each["id"]: each["status"] for each in command("cat", "--json").objects}
    assert statuses == {
        "queued": "queued",
        "scheduled": "scheduled",
        "completed": "completed",
        "failed": "failed",
        "cancelled": "cancelled",
        "retrying": "scheduled",
        "requeued": "queued",
    }


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--status", "failed"], ["failed"]),
        (
            ["--status", "scheduled", "--status", "completed"],
            ["scheduled", "completed", "retrying"],
        ),
        (["--priority", "high"], ["queued"]),
        (["--priority", "high", "--priority", "low"], ["queued", "completed"]),
        (["--handler", "mail"], ["queued", "failed"]),
        (["--handler", "", "--priority", "low"], ["completed"]),
        (["--handler", "mail", "--status", "failed"], ["failed"]),
        (["--id", "failed", "--id", "queued"], ["queued", "failed"]),
        (["--id", "failed", "--priority", "high"], []),
    ],
)
def test_what_passes_all_filters_is_shown(
    command: Command, eventful: LogDirectory, options: list[str], expected: list[str]
) -> None:
    assert ids(command, *options) == expected


def test_scripts_get_all_that_is_known_of_a_job(command: Command, eventful: LogDirectory) -> None:
    assert command("cat", "--json", "--id", "failed").object == {
        "job": 4,
        "id": "failed",
        "status": "failed",
        "priority": "medium",
        "handler": "mail",
        "headers": {},
        "retries": 3,
        "max_retries": None,
        "crashes": 0,
        "created": 103.0,
        "due": None,
        "started": 109.0,
        "finished": 110.0,
        "error": "E: four",
        "traceback": "line 1\nline 2\n",
        "payload": "kept",
        "key": None,
        "unique": None,
        "until": None,
        "after": [],
        "expires": None,
        "doomed_by": None,
    }


TIED: list[list[Record]] = [
    [
        Enqueued(1, "first", 1, 100.0),
        Enqueued(2, "second", 1, 100.0, after=(1,)),
        Enqueued(3, "third", 1, 100.0, key="ann", unique="handler+key", expires=FAR, within=9.0),
        Enqueued(4, "fourth", 1, 100.0, key="bob", unique="key", until_started=True, after=(1, 2)),
        Enqueued(5, "failed", 1, 100.0),
        Enqueued(6, "sixth", 1, 100.0, after=(5,)),
        Enqueued(7, "parent", 1, 100.0),
    ],
    [Failed(5, 110.0, 109.0, 0, "E: five", "")],
    [Completed(7, 3.0, 2.0, 0, children=(Enqueued(8, "child", 1, 1.0), Enqueued(9, "x", 1, 1.0)))],
    [Doomed(9, "gone")],
]


def test_scripts_get_what_ties_a_job(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, TIED))
    names = ("status", "key", "unique", "until", "after", "expires", "doomed_by")
    told = {
        each["id"]: tuple(each[name] for name in names) for each in command("cat", "--json").objects
    }
    assert told == {
        "first": ("queued", None, None, None, [], None, None),
        "second": ("scheduled", None, None, None, ["first"], None, None),
        "third": ("queued", "ann", "handler+key", "finished", [], FAR, None),
        "fourth": ("scheduled", "bob", "key", "started", ["first", "second"], None, None),
        "failed": ("failed", None, None, None, [], None, None),
        "sixth": ("scheduled", None, None, None, [], None, "failed"),
        "parent": ("completed", None, None, None, [], None, None),
        "child": ("queued", None, None, None, [], None, None),
        "x": ("scheduled", None, None, None, [], None, "gone"),
    }


def test_people_see_what_ties_a_job(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, TIED))
    chosen = [option for name in ("third", "fourth", "sixth") for option in ("--id", name)]
    lines = [each for each in command("cat", *chosen).lines if "payload" not in each]
    assert lines == [
        "third  queued  medium  default handler  created 1970-01-01 00:01:40Z"
        "  key ann  unique by handler+key  expires 2096-10-02 07:06:40Z",
        "fourth  scheduled  medium  default handler  created 1970-01-01 00:01:40Z"
        "  key bob  unique by key until started",
        "    after first, second",
        "sixth  scheduled  medium  default handler  created 1970-01-01 00:01:40Z",
        "    doomed failed was not completed; the next start cancels this job",
    ]


def test_a_log_of_jobs_that_are_tied_is_verified_repaired_and_compacted(
    command: Command, log: LogDirectory
) -> None:
    log.put(segment(1, 1, TIED))
    before = command("cat", "--json").out
    assert command("verify").code == 0
    assert command("compact").code == 0
    assert command("verify").code == 0
    assert sorted(command("cat", "--json").out.splitlines()) == sorted(before.splitlines())
    assert command("dead", "--requeue", "failed").code == 0
    told = {each["id"]: each for each in command("cat", "--json").objects}
    assert told["failed"]["status"] == "queued"
    assert told["sixth"]["doomed_by"] == "failed"


def test_a_stored_result_is_shown_as_it_was_written(command: Command, log: LogDirectory) -> None:
    results = (Completed(1, 3.0, 2.0, 0, '{"size":2}'), Completed(2, 3.0, 2.0, 0, None, b"\xff"))
    log.put(segment(1, 1, [[job(1), job(2), *results]]))
    text, binary = command("cat", "--json").objects
    assert (text["result"], binary["result_binary"]) == ('{"size":2}', "/w==")
    lines = command("cat").lines
    assert [each.strip() for each in lines if "result" in each] == [
        'result (10 B) {"size":2}',
        "result (1 B, base64) /w==",
    ]


def test_people_get_a_line_for_each_job_and_more_below_it(
    command: Command, eventful: LogDirectory
) -> None:
    assert command("cat", "--id", "failed", "--id", "retrying", "--id", "queued").lines == [
        "queued  queued  high  mail  created 1970-01-01 00:01:40Z  crashes 2",
        "    payload (0 B)",
        "failed  failed  medium  mail  created 1970-01-01 00:01:43Z"
        "  ended 1970-01-01 00:01:50Z  retries 3",
        "    payload (4 B) kept",
        "    error E: four",
        "retrying  scheduled  medium  default handler  created 1970-01-01 00:01:45Z"
        "  due 2096-10-02 07:06:40Z  retries 2",
        "    payload (0 B)",
        "    error E: six",
    ]


def test_a_finished_job_has_no_payload(command: Command, eventful: LogDirectory) -> None:
    assert command("cat", "--json", "--id", "completed").object["payload"] is None
    assert "payload" not in command("cat", "--id", "completed").out


def test_the_traceback_is_shown_where_all_is_asked_for(
    command: Command, eventful: LogDirectory
) -> None:
    assert "        line 1\n        line 2\n" in command("cat", "--full", "--id", "failed").out


def test_any_bytes_of_a_payload_come_through_json(command: Command, log: LogDirectory) -> None:
    payload = bytes(range(256))
    log.put(segment(1, 1, [[Enqueued(1, "a", 1, 1.0, binary=payload)]]))
    fields = command("cat", "--json").object
    assert base64.b64decode(fields["binary"]) == payload
    assert "payload" not in fields


def test_nothing_in_a_log_reaches_the_terminal_as_it_is(
    command: Command, log: LogDirectory
) -> None:
    evil = "\x1b]0;x\x07[red]\u202e"
    job_ = Enqueued(1, evil, 1, 1e300, evil, None, {evil: evil}, evil)
    job_.key, job_.unique = evil, evil
    log.put(segment(1, 1, [[job_], [Failed(1, -1e300, None, 1, evil, evil)]]))
    out = command("cat", "--full").out
    assert not set(out) & set("\x1b\x07\u202e")
    assert out.count("\\x1b]0;x\\x07[red]\\u202e") == 9


def test_only_so_many_finished_jobs_are_remembered(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, [[job(1), job(2), job(3)], [done(1), done(2)]]))
    assert ids(command, "--status-retention", "1") == ["job-2", "job-3"]


def test_what_is_torn_does_not_count_and_is_told(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[:-5]))
    outcome = command("cat", "--json")
    assert outcome.code == 0
    assert [each["id"] for each in outcome.objects] == ["job-1"]
    place = f"{log.path / whole.name}, byte {whole.starts[1]}"
    assert outcome.err == (
        f"jobqueue: note: {place}: torn, a batch that was cut short; "
        "what follows there does not count\n"
    )


def test_a_log_in_use_is_being_written_and_not_torn(command: Command, log: LogDirectory) -> None:
    whole = segment(1, 1, [[job(1)], [job(2)]], nothing)
    log.put(Image(whole.name, whole.data[:-5]))
    files = Files()
    lock = files.lock(str(log.path / LOCK_NAME))
    try:
        assert command("cat", "--json").err == ""
    finally:
        files.unlock(lock)
