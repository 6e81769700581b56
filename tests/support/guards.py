"""The guards of the final tier, each a comment beside the line that it guards.

A guard is something that the code does so that a promise holds. `tests/mutants.py` takes them out,
one at a time, and shows that the tests notice each. This is how one is written:

    files.sync(fd)  # guard: fsync of a snapshot before its rename

or, above the line, if it would get too long. Without the guard the statement is gone; of an `if`,
its condition never holds. If another line is left without the guard, it stands below the name:

    # guard: a worker that was woken wakes the next
    #   without: if handle is None and self._idle:
    if handle is not None and self._idle:

There may be several such lines; one with nothing behind `without:` takes the line away. Other
comments may follow, and then the line. Tests that notice are those that mirror the file, unless
`NOTICED_BY` names others.

Not among the guards, since another one makes up for them:

- The loop around the wait of the log's thread (`LogWriter._sleep`): `_begin` looks again at what
  comes out of it, and `_run` is a loop. What is taken out is the look before the wait.
- `LogWriter.check` of a log that has failed: in the same step the queue's state refuses.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache, lru_cache
from io import StringIO
from itertools import takewhile
from pathlib import Path
from tokenize import COMMENT, generate_tokens

FINAL = Path("src/jobqueue/final")
_ROOT = Path(__file__).resolve().parents[2]
_GUARD = re.compile(r"# guard: (?P<name>.+)")
_WITHOUT = re.compile(r"#   without: ?(?P<code>.*)")

_TIES = ("tests/final/core/test_bindings.py",)
_LANES = ("tests/final/core/test_scheduler.py",)
NOTICED_BY = {
    "a front that is swept is never empty": _LANES,
    "a producer that has looked is not on its way": _LANES,
    "a producer that is held up does not hold up the line": _LANES,
    "a sweep comes to an end, though some of those that were counted were not here": _LANES,
    "one producer at a time is woken for room": _LANES,
    "a place in the lane is taken": ("tests/final/callers/test_admission.py",),
    "a handler that enqueues never waits for room": ("tests/final/callers/test_admission.py",),
    "a replacement is told of before it is made": ("tests/final/core/test_unfinished_ties.py",),
    "jobs that are to be looked after are, though the thread was hit that left them": (
        "tests/final/core/test_unfinished_ties.py",
    ),
    "jobs whose records are on their way to the log are run too": (
        "tests/final/core/test_children.py",
    ),
    "a worker starts no thread by itself": ("tests/crash/test_outside_exceptions.py",),
    "workers are reserved for High": ("tests/final/core/test_reserved.py",),
    "a wall clock that was set back makes no delay longer": ("tests/final/core/test_expiry.py",),
    "a bucket holds no more than its tokens": ("tests/final/core/test_limits.py",),
    "a dead letter holds no identity": ("tests/final/core/test_unique.py",),
    "a job whose time to start has passed is not started": ("tests/final/core/test_expiry.py",),
    "a job of many waits for none that comes after it": ("tests/final/core/test_dependencies.py",),
    "a job that waits for one that failed is cancelled at the next start": (
        "tests/final/core/test_dependencies.py",
    ),
    "what a handler enqueued with its completion arrives with that": (
        "tests/final/core/test_children.py",
    ),
    "an attempt that `close` waits for may enqueue jobs with its completion": (
        "tests/final/core/test_children.py",
    ),
    "a job that has expired meanwhile is not run at the next start": _TIES,
    "a drain does not wait for a token that comes too late": ("tests/final/life/test_shutdown.py",),
    "what a start ends is counted": ("tests/final/core/test_expiry.py",),
    "an answer to a call that was broken off is none to this one": (
        "tests/final/core/test_children.py",
    ),
    "an error of the handler's own, as of its alarm, is not taken for another": (
        "tests/final/core/test_children.py",
    ),
    "what a start cancels takes along the jobs that wait for it": _TIES,
    "a job has one place in a line": ("tests/final/core/test_bindings.py",),
    "a queue that was at rest was so, though it is busy again": ("tests/final/aio/test_calls.py",),
    "a queue that waits for no names refuses them at once": ("tests/final/test_spelling.py",),
    "a commit that is broken off is seen through": ("tests/final/callers/test_bulk.py",),
    "a job of a paused handler that is to run alone keeps no other out": (
        "tests/final/core/test_pausing.py",
    ),
    "an id that was forgotten and used again is not told of at its old place": (
        "tests/final/callers/test_looking.py",
    ),
    "a seat is stood in for once": ("tests/final/workers/test_stand_ins.py",),
    "a stand-in that could not start is tried again": ("tests/final/workers/test_worker.py",),
    "a stand-in is not tried again if no worker is missing any more": (
        "tests/final/workers/test_worker.py",
    ),
    "those that stand in for handlers that wait are bounded": (
        "tests/final/workers/test_stand_ins.py",
    ),
    "a job that waits for itself is told": ("tests/final/workers/test_stand_ins.py",),
    "a job that runs alone lets others in when it waits for one": ("tests/final/test_races.py",),
    "attempts that hang keep no suspect out": ("tests/final/test_races.py",),
    "delayed jobs that wait then are bounded": ("tests/final/core/test_registry.py",),
    "a log knows when a schedule was registered first": ("tests/final/core/test_periodic.py",),
    "what was due while a schedule was paused is not caught up with": (
        "tests/final/core/test_periodic.py",
    ),
    "a restart does not catch up with what came while a schedule was paused": (
        "tests/final/core/test_periodic.py",
    ),
    "the ticks that are caught up with are bounded": ("tests/final/core/test_periodic.py",),
    "no tick comes after close has begun": ("tests/final/core/test_periodic.py",),
    "a tick that replaces another waits for no room": ("tests/final/callers/test_ticks.py",),
    "the user's job is left as it is": ("tests/final/core/test_periodic.py",),
    "names beyond some records a minute are gathered": ("tests/final/core/test_registry.py",),
    "names whose jobs have gone meanwhile are not told of": ("tests/final/core/test_registry.py",),
    "a worker does not wait for a log handler that is stuck": (
        "tests/final/runtime/test_reporter.py",
    ),
    "a record that was just taken out is not taken for made": (
        "tests/final/runtime/test_reporter.py",
    ),
    "a worker that was hit as it was woken leaves no wake-up under way": (
        "tests/crash/test_outside_exceptions.py",
    ),
    "a job that was taken and not begun goes back to the front": (
        "tests/crash/test_outside_exceptions.py",
    ),
    "an attempt that was hit outside of its handler has failed": (
        "tests/crash/test_outside_exceptions.py",
    ),
    "callbacks that were hit are called": ("tests/crash/test_outside_exceptions.py",),
    "a thread that cannot go on ends": ("tests/crash/test_outside_exceptions.py",),
    "the end of a job that was broken off is recorded": ("tests/crash/test_outside_exceptions.py",),
    "a thread that is hit again before it has recovered still does so": (
        "tests/final/core/test_turns.py",
    ),
    "a thread that was hit from outside of its handler goes on": (
        "tests/crash/test_outside_exceptions.py",
    ),
    "records that nobody makes are bounded": ("tests/final/runtime/test_reporter.py",),
    "records that are left at the deadline are dropped": ("tests/final/runtime/test_reporter.py",),
    "a queue that nobody can reach is closed": ("tests/final/life/test_dropped.py",),
    "what a dropped queue has scheduled does not hold up the interpreter's end": (
        "tests/final/life/test_dropped.py",
    ),
    "a log that failed has no second owner": ("tests/crash/test_taken_away.py",),
    "a file that has another name too is not filled": ("tests/final/wal/test_room.py",),
    "queues that were opened after the main thread's end": ("tests/crash/test_exit.py",),
    "the newest queue is closed first": ("tests/crash/test_exit.py",),
    "acknowledgement only after the fdatasync": ("tests/crash/test_failed_fsync.py",),
    "acknowledgement by a caller that leads only after its fdatasync": (
        "tests/crash/test_failed_fsync.py",
    ),
    "a failed fsync is remembered": ("tests/crash/test_failed_fsync.py",),
    "sequence test within batches in a row": ("tests/final/wal/reading/test_replay.py",),
    "a repetition is an exact one": ("tests/final/wal/reading/test_replay.py",),
    "a batch attests earlier ones only": ("tests/final/wal/reading/test_replay.py",),
    "a sealed segment of nothing but NULs is no reserved space": (
        "tests/final/life/test_refusals.py",
    ),
    "a segment goes only if it was never begun": ("tests/final/life/test_refusals.py",),
    "a batch's number is one that a queue gets to": ("tests/final/life/test_refusals.py",),
    "the last segments of a log that was closed are missed": (
        "tests/final/wal/reading/test_closed.py",
    ),
    "the last batches of a log that was closed are missed": (
        "tests/final/wal/reading/test_closed.py",
    ),
    "full segments that are needed are not rewritten for their number": (
        "tests/final/life/test_compaction.py",
    ),
    "what is sealed during a compaction is freed": ("tests/final/life/test_compaction.py",),
    "what ends later is not counted as freed": ("tests/final/life/test_compaction.py",),
    "a compaction that freed little is made again only when the log has doubled": (
        "tests/final/life/test_compaction.py",
    ),
    "a start that fails leaves no segment": ("tests/final/life/test_refusals.py",),
    "a later format is no damage": ("tests/final/life/test_refusals.py",),
    "a directory is refused before anything is changed": ("tests/final/life/test_refusals.py",),
    "a forked child lets go of the lock": ("tests/crash/test_fork.py",),
    "look before the wait of the log's thread": ("tests/crash/test_failed_fsync.py",),
    "loop around the wait of a second close": ("tests/final/test_races.py",),
    "loop around the wait for a job's end": ("tests/crash/test_failed_fsync.py",),
    "a handler that was given up is waited for no more": ("tests/final/test_serving.py",),
    "a forked child's signals are its own": ("tests/final/test_serving.py",),
    "look for the closing before a handler sleeps": ("tests/final/life/test_closing.py",),
    "a handler that sleeps is told of the closing": ("tests/final/life/test_closing.py",),
    "a start does not wait for a queue of its own process": ("tests/final/life/test_locking.py",),
    "look before a handler sleeps": ("tests/final/workers/test_worker.py",),
    "look before the timer's thread sleeps": ("tests/final/test_testing.py",),
    "a producer that leaves a wait for room passes its turn on": ("tests/final/test_races.py",),
    "nobody copies beside the log's thread": ("tests/final/test_races.py",),
    "a caller that led and was interrupted hands over to the log's thread": (
        "tests/final/test_races.py",
    ),
    "no caller leads beside the log's thread": ("tests/crash/test_failed_fsync.py",),
    "a signal handler above a caller that leads does not wait for it": (
        "tests/crash/test_signals.py",
    ),
    "a forked child's worker goes home": ("tests/crash/test_fork.py",),
    "a worker that finds nothing more tells who waits for that": (
        "tests/final/life/test_shutdown.py",
    ),
    "the acceptance of a group is told of before it is made": (
        "tests/final/core/test_unfinished.py",
    ),
    "that none is doomed any more is told": ("tests/final/callers/test_groups.py",),
    "setting of a job's slot": ("tests/crash/test_poison.py",),
    "clearing of a job's slot": ("tests/crash/test_poison.py",),
    "a handler that close gave up is not blamed": ("tests/crash/test_poison.py",),
    "a large offset is passed as one": ("tests/final/wal/test_files.py",),
    "a death is counted once": ("tests/crash/test_poison.py",),
    "a failed log takes nothing more": ("tests/crash/test_failed_fsync.py",),
    "a failed log shuts the queue": ("tests/crash/test_failed_fsync.py",),
    "O_NOFOLLOW": ("tests/final/wal/test_files.py",),
    "exclusive creation": ("tests/final/wal/test_files.py",),
    "files for their owner alone": ("tests/final/wal/test_files.py",),
    "flock": ("tests/final/wal/test_files.py",),
    "flock of the directory": ("tests/crash/test_taken_away.py",),
    "a log that was taken away has failed": ("tests/crash/test_taken_away.py",),
    "a lock with another name is refused": ("tests/final/life/test_trust.py",),
    "what belongs to another user is refused": ("tests/final/life/test_trust.py",),
    "what others may write to is refused": ("tests/final/life/test_trust.py",),
    "no job is written into the reserve": ("tests/crash/test_full_disk.py",),
    "many jobs are not written if there would be no room for their ends": (
        "tests/crash/test_own_room.py",
    ),
    "a snapshot for which there is no room is made smaller": ("tests/crash/test_own_room.py",),
    "close does not fail for a clock of the user's": ("tests/final/runtime/test_clock.py",),
    "what a queue in memory drops is told": ("tests/final/life/test_dropped.py",),
    "a start frees inodes if there are few": ("tests/crash/test_own_room.py",),
    "what has ended is forgotten only if there is room to gain": ("tests/crash/test_full_disk.py",),
    "what close loses is told": ("tests/crash/test_lost_at_close.py",),
    "outcomes move on from a batch that failed": ("tests/crash/test_full_disk.py",),
    "close waits for space for accepted jobs": ("tests/crash/test_full_disk.py",),
    "fencing of a late result": ("tests/final/life/test_shutdown.py",),
    "fencing of a late error": ("tests/final/life/test_shutdown.py",),
    "a change is told of before it is made": ("tests/final/core/test_unfinished.py",),
    "a running job that was cancelled is not run again": ("tests/final/callers/test_cancel.py",),
    "a repair that is broken off is taken up": ("tests/final/core/test_unfinished.py",),
    "a change that was broken off leaves no producer asleep": (
        "tests/final/core/test_unfinished.py",
    ),
    "an acceptance is told of before it is made": ("tests/final/core/test_unfinished.py",),
    "a forked child finishes no change of its parent": ("tests/crash/test_fork.py",),
    "a forked child gives none of its parent's ids away": ("tests/crash/test_fork.py",),
    "a producer gives way to who has claimed the mutex": ("tests/final/runtime/test_mutex.py",),
    "a producer takes only its own claim back": ("tests/final/runtime/test_mutex.py",),
    "a signal handler's call is refused": ("tests/crash/test_signals.py",),
    "no process is killed for an attempt that has ended": ("tests/final/processes/test_owner.py",),
    "look for a stop that came before its attempt": ("tests/final/processes/test_owner.py",),
    "a stop is for one attempt only": ("tests/final/processes/test_owner.py",),
    "no job is begun before the callbacks of the one before have been called": (
        "tests/final/core/test_endings.py",
    ),
    "an error is raised with the traceback that it had": (
        "tests/final/core/test_hostile_errors.py",
    ),
    "a kept error holds nothing of its frames": ("tests/final/core/test_hostile_errors.py",),
    "a kept traceback holds nothing of its frames": ("tests/final/core/test_hostile_errors.py",),
    "a callback is kept only if there is an end to come": ("tests/final/core/test_endings.py",),
    "busy processes are killed by close": ("tests/final/processes/test_owner.py",),
    "no process is started after close": ("tests/final/processes/test_owner.py",),
    "an idle process that has died is not used": ("tests/final/processes/test_executor.py",),
    "an idle process that sent something is not used": ("tests/final/processes/test_executor.py",),
    "a process whose main thread fails ends and says why": (
        "tests/final/processes/test_executor.py",
    ),
    "a frozen program does not start itself": ("tests/final/processes/test_imports.py",),
    "a program that was started in place of an interpreter starts no more": (
        "tests/final/processes/test_imports.py",
    ),
    "a client that is closed meanwhile runs no jobs": ("tests/final/sharing/test_handover.py",),
    "settings that differ are told, once": ("tests/final/sharing/test_handover.py",),
    "a shared queue has no clock that is moved by hand": ("tests/final/sharing/test_link.py",),
    "a call that was given up is accepted no more": ("tests/final/sharing/test_server.py",),
    "only the very same job was accepted before": ("tests/final/sharing/test_server.py",),
    "a call that was interrupted waits for room no more": ("tests/final/sharing/test_link.py",),
    "no call waits for an owner without end": ("tests/final/sharing/test_handover.py",),
    "a number that is taken is no further call's": ("tests/final/sharing/test_server.py",),
    "an owner that is only to be steered takes no jobs of others": (
        "tests/final/sharing/test_server.py",
    ),
    "a client that is closed asks nothing more": ("tests/final/sharing/test_client.py",),
    "what was sent is marked when it is sent again": ("tests/final/sharing/test_handover.py",),
    "who leaves passes the lead on": ("tests/final/sharing/test_link.py",),
    "a connection whose reader was hit is not read any further": (
        "tests/final/sharing/test_link.py",
    ),
    "what was not sent is not sent after it was given up": ("tests/final/sharing/test_link.py",),
    "an owner that drains is not waited for without end": ("tests/final/sharing/test_handover.py",),
    "a call that an owner leaves is the next one's": ("tests/final/sharing/test_handover.py",),
    "a queue that closes is not told as closed to clients": (
        "tests/final/sharing/test_handover.py",
    ),
    "what is no message ends its connection": ("tests/final/sharing/test_server.py",),
    "who reads no answers is not answered more": ("tests/final/sharing/test_server.py",),
    "the end of the queue is not taken for that of a job": (
        "tests/final/sharing/test_handover.py",
    ),
}
"""Tests that notice, if they are not those that mirror the guard's file."""

SLOW = frozenset(
    {
        "a start frees inodes if there are few",
        "a commit that is broken off is seen through",
        "an answer to a call that was broken off is none to this one",
        "an error of the handler's own, as of its alarm, is not taken for another",
        "no frame is sent within another",
        "a fork of a handler's waits for no thread that is not there",
        "an attempt that was hit outside of its handler has failed",
        "callbacks that were hit are called",
        "the end of a job that was broken off is recorded",
        "full segments that are needed are not rewritten for their number",
        "a compaction that freed little is made again only when the log has doubled",
        "a change is told of before it is made",
        "a replacement is told of before it is made",
        "jobs that are to be looked after are, though the thread was hit that left them",
        "an acceptance is told of before it is made",
        "the acceptance of a group is told of before it is made",
        "queues that were opened after the main thread's end",
        "the newest queue is closed first",
        "a forked child lets go of the lock",
        "a caller that led and was interrupted hands over to the log's thread",
        "no process is killed for an attempt that has ended",
        "look for a stop that came before its attempt",
        "a stop is for one attempt only",
        "busy processes are killed by close",
        "no process is started after close",
        "an idle process that has died is not used",
        "an idle process that sent something is not used",
        "a process whose main thread fails ends and says why",
        "a program that was started in place of an interpreter starts no more",
        "no fork while a process is started",
        "a forked child closes its copies",
        "who leaves passes the lead on",
    }
)
"""Guards that slow tests notice."""


@dataclass(frozen=True)
class Guard:
    """A guard, and what is left of its file without it.

    Attributes:
        name: what it is.
        file: where, within `src/jobqueue/final`.
        line: the line that it guards, from 1.
        text: the whole file without it.
        tests: files with some tests that notice.
        slow: whether those are among the slow ones.
    """

    name: str
    file: str
    line: int
    text: str
    tests: tuple[str, ...]
    slow: bool


class MisplacedGuardError(Exception):
    """A guard's comment stands beside nothing that it could guard, or `without` stands alone."""


def guards_in(text: str, file: str) -> list[Guard]:
    """The guards of one file.

    Raises:
        MisplacedGuardError: there is no statement at a guard's line, and no `without`; or there is
            a `without` that belongs to no guard.
    """
    lines = text.splitlines(keepends=True)
    comments = _comments(text)
    found = []
    unused = {index for index, comment in comments.items() if _WITHOUT.match(comment)}
    for index, comment in comments.items():
        match = _GUARD.match(comment)
        if match is None:
            continue
        place = f"{file}:{index + 1}: {match['name']}"
        is_above = lines[index].lstrip().startswith("#")
        where = _first_code(lines, index, place) if is_above else index
        instead = _instead([comments[each] for each in range(index + 1, where)])
        unused.difference_update(range(index + 1, index + 1 + len(instead)))
        if instead:
            mutated = _with_lines(lines, where, instead)
        else:
            mutated = _without_statement(lines, where, place)
        noticed = NOTICED_BY.get(match["name"], _mirror(file))
        found.append(Guard(match["name"], file, where + 1, mutated, noticed, match["name"] in SLOW))
    if unused:
        raise MisplacedGuardError(f"{file}:{min(unused) + 1}: `without` is not below a guard")
    return found


def _comments(text: str) -> dict[int, str]:
    """The comments of a file by the index of their line."""
    tokens = generate_tokens(StringIO(text).readline)
    return {each.start[0] - 1: each.string for each in tokens if each.type == COMMENT}


def _first_code(lines: list[str], index: int, place: str) -> int:
    """The index of the line below some comments.

    Raises:
        MisplacedGuardError: there is none, or an empty one.
    """
    while index < len(lines) and lines[index].lstrip().startswith("#"):
        index += 1
    if index == len(lines) or not lines[index].strip():
        raise MisplacedGuardError(f"{place}: no code directly below")
    return index


def _instead(comments: list[str]) -> list[str]:
    """The lines that stand behind `without:` directly below a guard's name."""
    matches = takewhile(bool, map(_WITHOUT.match, comments))
    return [match["code"].rstrip() for match in matches if match is not None]


def _with_lines(lines: list[str], where: int, code: list[str]) -> str:
    line = lines[where]
    indent = line[: len(line) - len(line.lstrip())]
    new = [f"{indent}{each}\n" for each in code if each]
    return "".join([*lines[:where], *new, *lines[where + 1 :]])


def _without_statement(lines: list[str], where: int, place: str) -> str:
    """The file without the statement that begins on a line; of an `if`, without its condition."""
    statements = [each for each in _statements("".join(lines)) if each.lineno == where + 1]
    if not statements:
        raise MisplacedGuardError(f"{place}: no statement begins there")
    (statement,) = statements
    last, new = statement.end_lineno or 0, "pass\n"
    if isinstance(statement, ast.If):
        keyword = "elif" if lines[where].lstrip().startswith("elif") else "if"
        last, new = statement.body[0].lineno - 1, f"{keyword} False:\n"
    indent = " " * statement.col_offset
    return "".join([*lines[:where], f"{indent}{new}", *lines[last:]])


@lru_cache(maxsize=1)  # the guards of a file come one after another
def _statements(text: str) -> list[ast.stmt]:
    return [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt)]


def _mirror(file: str) -> tuple[str, ...]:
    room, _, name = file.rpartition("/")
    return ("/".join(part for part in ("tests/final", room, f"test_{name}") if part),)


@cache
def all_guards() -> list[Guard]:
    """All guards there are, by file; it takes seconds to collect them."""
    found = []
    for path in sorted((_ROOT / FINAL).rglob("*.py")):
        file = path.relative_to(_ROOT / FINAL).as_posix()
        found += guards_in(path.read_text(encoding="utf-8"), file)
    return found
