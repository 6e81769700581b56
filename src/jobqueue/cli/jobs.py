"""What a log knows of each job, as a person asks for it."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ..final.runtime.clock import SystemClock
from ..final.wal.files import Files
from ..final.wal.format.record import payload_fields
from ..final.wal.reading.fold import CANCELLED, COMPLETED, FAILED, QUEUED, JobState, LogState
from ..final.wal.reading.replay import Replay
from ..final.wal.slots import read_slots
from .screen import payload_text, printable, time_text
from .words import PRIORITIES, Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .access import Log

__all__ = ["PRIORITIES", "UNFINISHED", "Entry", "Jobs", "Status", "as_json", "as_lines"]

UNFINISHED = (Status.QUEUED, Status.SCHEDULED, Status.PROCESSING)
_FINAL = {
    COMPLETED: Status.COMPLETED,
    FAILED: Status.FAILED,
    CANCELLED: Status.CANCELLED,
}
_STYLES = {
    Status.QUEUED: "cyan",
    Status.SCHEDULED: "blue",
    Status.PROCESSING: "yellow",
    Status.COMPLETED: "green",
    Status.FAILED: "red",
    Status.CANCELLED: "magenta",
}


@dataclass(frozen=True, slots=True)
class Entry:
    """A job in a log.

    Attributes:
        after: the ids of the jobs that it waits for.
        doomed_by: the id of one that was not completed, for which the next start cancels it.
    """

    status: Status
    state: JobState
    after: tuple[str, ...] = ()
    doomed_by: str | None = None

    @property
    def number(self) -> int:
        """Its number in the log."""
        return self.state.enqueued.job

    @property
    def id(self) -> str:
        """Its id."""
        return self.state.enqueued.id

    @property
    def priority(self) -> str:
        """Its priority's name."""
        return PRIORITIES[self.state.enqueued.priority]

    @property
    def has_payload(self) -> bool:
        """Whether the log is still to know its payload."""
        return self.status not in (Status.COMPLETED, Status.CANCELLED)


class Jobs:
    """The jobs of a log, as a queue would find them at its start.

    Args:
        status_retention: how many finished jobs are remembered, as in `Config`.

    Attributes:
        reading: how the log was read.
        state: the jobs by number.
        now: Unix time of the look.
        running: numbers of the jobs that were running when the process ended, or are, if one
            has the log open.
        in_use: whether that is so.

    Raises:
        LogCorruptError: it is damaged.
        OSError: a file cannot be read.
    """

    def __init__(self, log: Log, status_retention: int) -> None:
        self.state = LogState(status_retention)
        self.reading = Replay(log.files, log.directory)
        for records in self.reading:
            self.state.apply_all(records)
        # Not through `log.files`: the slots end in NULs that count.
        files = Files()
        files.shared = log.files.shared
        self.running = read_slots(files, log.directory).jobs
        self.in_use = log.owner is not None
        self.now = SystemClock.time()

    def __iter__(self) -> Iterator[Entry]:
        """All of them, in the order in which they were accepted."""
        jobs, doomed = self.state.jobs, self.state.doomed
        for number, state in jobs.items():
            waits_for = state.enqueued.after
            after = tuple(jobs[each].enqueued.id for each in waits_for) if waits_for else ()
            doomed_by = doomed.get(number) if state.status == QUEUED else None
            yield Entry(self._status(number, state), state, after, doomed_by)

    def _status(self, number: int, state: JobState) -> Status:
        if state.status != QUEUED:
            return _FINAL[state.status]
        if self.in_use and number in self.running:
            return Status.PROCESSING
        is_due = state.due is None or state.due <= self.now
        if state.enqueued.after or number in self.state.doomed:
            is_due = False
        return Status.QUEUED if is_due else Status.SCHEDULED


def as_json(entry: Entry) -> dict[str, Any]:
    """All that the log knows of a job; `payload` if it is text, else `binary` in base64.

    A stored result is there as it was written: `result` if it is text, else `result_binary`.
    """
    state, was = entry.state, entry.state.enqueued
    fields: dict[str, Any] = {
        "job": was.job,
        "id": was.id,
        "status": entry.status.value,
        "priority": entry.priority,
        "handler": was.handler,
        "headers": was.headers or {},
        "retries": state.retries,
        "max_retries": was.max_retries,
        "crashes": state.crashes,
        "created": was.created,
        "due": state.due,
        "started": state.started,
        "finished": state.finished,
        "error": state.error,
        "traceback": state.traceback,
        "key": was.key,
        "unique": was.unique,
        "until": None if was.unique is None else ("started" if was.until_started else "finished"),
        "after": list(entry.after),
        "expires": was.expires if entry.has_payload else None,
        "doomed_by": entry.doomed_by,
    }
    if was.binary:
        fields["binary"] = base64.b64encode(was.binary).decode()
    else:
        fields["payload"] = was.payload if entry.has_payload else None
    if state.result is not None:
        text, binary = payload_fields(state.result[0])
        if binary:
            fields["result_binary"] = base64.b64encode(binary).decode()
        else:
            fields["result"] = text
    return fields


def as_lines(entry: Entry, *, full: bool) -> Iterator[Text]:
    """Show a job: one line, and some below it that are indented."""
    state, was = entry.state, entry.state.enqueued
    head = Text.assemble((printable(was.id), "bold"), "  ", (entry.status, _STYLES[entry.status]))
    for part in _facts(entry):
        head.append(f"  {part}")
    yield head
    if entry.after:
        yield Text.assemble("    ", ("after", "dim"), " ", ", ".join(map(printable, entry.after)))
    if entry.doomed_by is not None:
        why = f"{printable(entry.doomed_by)} was not completed; the next start cancels this job"
        yield Text.assemble("    ", ("doomed", "dim"), " ", (why, "red"))
    if was.headers:
        pairs = ", ".join(f"{printable(k)}={printable(v)}" for k, v in was.headers.items())
        yield Text.assemble("    ", ("headers", "dim"), " ", pairs)
    if entry.has_payload:
        yield Text("    ") + payload_text(was.payload, was.binary, full=full)
    if state.result is not None:
        text, binary = payload_fields(state.result[0])
        yield Text("    ") + payload_text(text, binary, full=full, what="result")
    if state.error is not None:
        yield Text.assemble("    ", ("error", "dim"), " ", (printable(state.error), "red"))
    if full and state.traceback:
        for line in state.traceback.splitlines():
            yield Text(f"        {printable(line)}")


def _facts(entry: Entry) -> Iterator[str]:
    state, was = entry.state, entry.state.enqueued
    yield entry.priority
    yield "default handler" if was.handler is None else printable(was.handler)
    yield f"created {time_text(was.created)}"
    if state.due is not None and entry.status is Status.SCHEDULED:
        yield f"due {time_text(state.due)}"
    if was.key is not None:
        yield f"key {printable(was.key)}"
    if was.unique is not None:
        yield f"unique by {printable(was.unique)}{' until started' if was.until_started else ''}"
    if was.expires is not None and entry.status in UNFINISHED:
        yield f"expires {time_text(was.expires)}"
    if state.finished is not None:
        yield f"ended {time_text(state.finished)}"
    if state.retries:
        yield f"retries {state.retries}"
    if state.crashes:
        yield f"crashes {state.crashes}"
