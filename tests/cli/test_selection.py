"""`--since`, `--limit` and `--follow`, and what is said if there is nothing to show."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from jobqueue.cli.moments import since
from jobqueue.cli.selection import LOOK_SECONDS
from jobqueue.final.wal.format.record import Enqueued, Failed, Record, Requeued
from tests.support.logs import LogDirectory, done, job, segment

if TYPE_CHECKING:
    from tests.support.commands import Command


def at(day: int) -> float:
    return datetime(2025, 11, day, tzinfo=UTC).timestamp()


def made(number: int, day: int) -> Enqueued:
    return Enqueued(number, f"job-{number}", 1, at(day))


def failed(number: int, day: int) -> Failed:
    return Failed(number, at(day), at(day), 0, "E: x", "")


@pytest.fixture
def days(log: LogDirectory) -> LogDirectory:
    """Three jobs of three days; the first has failed last, and the third was not run."""
    records: list[Record] = [made(1, 1), made(2, 2), made(3, 3), failed(2, 10), failed(1, 20)]
    log.put(segment(1, 1, [records]))
    return log


def ids(command: Command, *arguments: str) -> list[str]:
    return [each["id"] for each in command(*arguments, "--json").objects]


# Nothing to show


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dead"], "no dead letters"),
        (["dead", "--since", "1h"], "no dead letters since then"),
        (["cat", "--status", "failed"], "no job passes the filters"),
        (["cat", "--since", "1h"], "no job passes the filters"),
    ],
)
def test_an_empty_answer_says_so(
    command: Command, log: LogDirectory, arguments: list[str], said: str
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    outcome = command(*arguments)
    assert (outcome.code, outcome.lines, outcome.err) == (0, [said], "")
    assert command(*arguments, "--json").out == ""


def test_a_log_without_jobs_has_no_jobs(command: Command, log: LogDirectory) -> None:
    log.put(segment(1, 1, []))
    assert command("cat").lines == ["no jobs"]


# Since, and how many


def test_cat_is_limited_to_the_newest(command: Command, days: LogDirectory) -> None:
    assert ids(command, "cat", "--limit", "2") == ["job-2", "job-3"]
    assert ids(command, "cat", "--limit", "9") == ["job-1", "job-2", "job-3"]
    assert ids(command, "cat", "--limit", "1", "--status", "failed") == ["job-2"]
    assert command("cat", "--limit", "0").out == ""


def test_cat_shows_what_was_enqueued_since_then(command: Command, days: LogDirectory) -> None:
    assert ids(command, "cat", "--since", "2025-11-02") == ["job-2", "job-3"]


def test_dead_shows_what_failed_last_and_since_then(command: Command, days: LogDirectory) -> None:
    assert ids(command, "dead") == ["job-2", "job-1"]
    assert ids(command, "dead", "--limit", "1") == ["job-1"]
    assert ids(command, "dead", "--since", "2025-11-15") == ["job-1"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90.0), ("15m", 900.0), ("1.5 h", 5400.0), ("3d", 259_200.0), ("1w", 604_800.0)],
)
def test_a_time_may_be_so_long_ago(text: str, seconds: float) -> None:
    assert since(text)(1e9) == 1e9 - seconds


@pytest.mark.parametrize(
    "text", ["2025-11-24", "2025-11-24 00:00:00Z", "2025-11-24T00:00", "2025-11-24T01:00+01:00"]
)
def test_a_time_may_be_a_point_in_time(text: str) -> None:
    assert since(text)(1e9) == at(24)


@pytest.mark.parametrize("text", ["", "yesterday", "5", "-1h", "5y", "0001-01-01x"])
def test_another_text_is_no_time(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is no time; write how long ago, as 90s"):
        since(text)


@pytest.mark.parametrize("option", [("--limit", "1"), ("--since", "1h"), ("--follow",)])
def test_what_chooses_from_a_list_goes_with_no_change(
    command: Command, days: LogDirectory, option: tuple[str, ...]
) -> None:
    before = days.content()
    outcome = command("dead", "--requeue", "all", *option)
    assert (outcome.code, outcome.out) == (2, "")
    assert "--since, --limit and --follow" in outcome.err
    assert days.content() == before


# Following


class Changes:
    """Stands in for the sleep between two looks: each changes the log; then comes Ctrl-C."""

    def __init__(self, log: LogDirectory, *changes: list[Record]) -> None:
        self._log = log
        self._changes = list(changes)
        self.slept: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)
        if not self._changes:
            raise KeyboardInterrupt
        self._log.append(self._log.open(), *self._changes.pop(0))


def test_who_follows_sees_each_job_that_comes_and_each_change(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.put(segment(1, 1, [[job(1), job(2)]]))
    changes = Changes(log, [done(1)], [], [job(3)])
    monkeypatch.setattr("jobqueue.cli.selection.pause", changes)

    outcome = command("cat", "--follow", "--limit", "1", "--json")

    shown = [(each["id"], each["status"]) for each in map(json.loads, outcome.lines)]
    assert shown == [("job-2", "queued"), ("job-1", "completed"), ("job-3", "queued")]
    assert outcome.code == 130
    assert len(changes.slept) == 4
    assert min(changes.slept) >= LOOK_SECONDS


def test_who_follows_sees_no_change_of_a_job_that_came_before(
    command: Command, days: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    both: list[Record] = [Requeued(1, at(29)), Requeued(2, at(29))]
    monkeypatch.setattr("jobqueue.cli.selection.pause", Changes(days, both))
    options = ("--follow", "--limit", "0", "--since", "2025-11-02", "--json")
    assert ids(command, "cat", *options) == ["job-2"]


def test_who_follows_dead_letters_sees_one_that_fails_again(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    changes = Changes(log, [failed(1, 10)], [Requeued(1, at(11))], [failed(1, 12)])
    monkeypatch.setattr("jobqueue.cli.selection.pause", changes)
    lines = command("dead", "--follow").lines
    assert lines[0] == "no dead letters"
    assert [line.partition(" ")[0] for line in lines[1:] if "failed" in line] == ["job-1"] * 2


def test_a_long_look_is_followed_by_a_longer_rest(
    command: Command, log: LogDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.put(segment(1, 1, [[job(1)]]))
    changes = Changes(log, [job(2)])
    readings = iter([0.0, 2.0, 2.0, 12.0, 12.0])
    monkeypatch.setattr("jobqueue.cli.selection.pause", changes)
    monkeypatch.setattr(
        "jobqueue.cli.selection.SystemClock.monotonic", staticmethod(lambda: next(readings))
    )
    command("cat", "--follow")
    assert changes.slept == [8.0, 40.0]
