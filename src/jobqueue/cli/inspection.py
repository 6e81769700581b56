"""`jobqueue log inspect`: what is in a log, in numbers."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from ..final.errors import LogCorruptError
from ..final.wal.files import path_in
from ..final.wal.format.codec import encode_header
from ..final.wal.maintenance.snapshot import encode_snapshot
from ..final.wal.names import list_present
from ..final.wal.reading.damage_scan import DamageScan, FileSummary
from .access import owner_name, read_log, torn_note
from .exits import Exit
from .jobs import PRIORITIES, UNFINISHED, Entry, Jobs, Status
from .live import LiveFiles
from .screen import Screen, age_text, complain, printable, size_text, time_text

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Iterator

    from .access import Log


@dataclass(frozen=True, slots=True)
class _Counts:
    """The jobs of a log in numbers.

    Attributes:
        by_status: how many there are of a status and a priority.
        oldest: of those that are not finished.
        interrupted: how many were running when the process died.
        needed: size in bytes of all that is still needed.
        now: Unix time of the look.
    """

    by_status: Counter[tuple[Status, str]]
    oldest: Entry | None
    interrupted: int
    needed: int
    now: float


@dataclass(frozen=True, slots=True)
class _Report:
    """What is known of a log.

    Attributes:
        bytes: size of its files, with those that a compaction or a start would remove.
        reserved: how many of them are space that the queue which has it open writes into next.
        kept_aside: what was cut off after crashes: names and sizes.
        counts: `None` if the log is damaged.
        torn: where it is torn, in words.
        damage: where it is damaged.
    """

    log: Log
    files: list[FileSummary]
    bytes: int
    reserved: int
    kept_aside: dict[str, int]
    counts: _Counts | None
    torn: str | None
    damage: LogCorruptError | None

    @property
    def wasted(self) -> int | None:
        """What a compaction would free; `None` if the log is corrupt."""
        counts = self.counts
        return None if counts is None else max(0, self.bytes - self.reserved - counts.needed)


def inspect(arguments: Namespace) -> Exit:
    """Show what is in a log."""
    report = read_log(arguments, lambda log: _look_into(log, arguments.status_retention))
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell(_as_json(report))
    else:
        _show(screen, report)
    if report.damage is None:
        return Exit.OK
    complain(str(report.damage))
    return Exit.DAMAGED


def _look_into(log: Log, status_retention: int) -> _Report:
    scan = DamageScan(log.files, log.directory, growing=log.owner is not None)
    for _ in scan:
        pass
    counts: _Counts | None = None
    torn: str | None = None
    damage: LogCorruptError | None = None
    try:
        jobs = Jobs(log, status_retention)
        counts = _count(jobs)
        torn = torn_note(log, jobs.reading)
    except LogCorruptError as error:
        damage = error
    stale = list_present(log.files, log.directory).stale
    size = sum(file.bytes for file in scan.files) + sum(map(log.files.size_of, stale))
    reserved = _reserved(log, scan.files)
    return _Report(log, scan.files, size, reserved, _kept_aside(log), counts, torn, damage)


def _reserved(log: Log, files: list[FileSummary]) -> int:
    """The space at the end of the segment that a queue is writing to; it is given back at close."""
    if not isinstance(log.files, LiveFiles) or not files:
        return 0
    last = files[-1]
    # The file may have got smaller or larger since its size was taken.
    return min(last.bytes, log.files.reserved(last.file.path))


def _kept_aside(log: Log) -> dict[str, int]:
    names = sorted(n for n in log.files.list_directory(log.directory) if ".jsonl.torn" in n)
    return {name: log.files.size_of(path_in(log.directory, name)) for name in names}


def _count(jobs: Jobs) -> _Counts:
    by_status: Counter[tuple[Status, str]] = Counter()
    oldest: Entry | None = None
    interrupted = 0
    for entry in jobs:
        by_status[entry.status, entry.priority] += 1
        if entry.status in UNFINISHED:
            interrupted += not jobs.in_use and entry.number in jobs.running
            oldest = _older(oldest, entry)
    return _Counts(by_status, oldest, interrupted, _needed(jobs), jobs.now)


def _older(oldest: Entry | None, entry: Entry) -> Entry:
    if oldest is None or entry.state.enqueued.created < oldest.state.enqueued.created:
        return entry
    return oldest


def _needed(jobs: Jobs) -> int:
    """Return the size that the log has after a compaction: a snapshot and an empty segment."""
    through, following = jobs.reading.next_segment - 1, jobs.reading.last + 1
    header = encode_header(through, 1, following)
    snapshot = sum(map(len, encode_snapshot(header, jobs.state.records())))
    return snapshot + len(encode_header(through + 1, following))


# For scripts


def _as_json(report: _Report) -> dict[str, Any]:
    owner, counts, damage = report.log.owner, report.counts, report.damage
    return {
        "log": report.log.directory,
        "in_use": owner is not None,
        "pid": None if owner is None else owner.pid,
        "files": [_file_as_json(file) for file in report.files],
        "bytes": report.bytes,
        "reserved_bytes": report.reserved,
        "wasted_bytes": report.wasted,
        "jobs": None if counts is None else _jobs_as_json(counts),
        "interrupted": None if counts is None else counts.interrupted,
        "oldest": None if counts is None else _oldest_as_json(counts),
        "kept_aside": report.kept_aside,
        "torn": report.torn,
        "damage": None if damage is None else _damage_as_json(damage),
    }


def _file_as_json(summary: FileSummary) -> dict[str, Any]:
    return {
        "name": summary.file.name,
        "kind": _kind(summary),
        "bytes": summary.bytes,
        "batches": summary.batches,
        "records": summary.records,
        "last_batch": summary.last,
    }


def _kind(summary: FileSummary) -> str:
    return "snapshot" if summary.file.snapshot else "segment"


def _jobs_as_json(counts: _Counts) -> dict[str, dict[str, int]]:
    return {
        status.value: {priority: counts.by_status[status, priority] for priority in PRIORITIES}
        for status in Status
    }


def _oldest_as_json(counts: _Counts) -> dict[str, Any] | None:
    if counts.oldest is None:
        return None
    created = counts.oldest.state.enqueued.created
    return {
        "id": counts.oldest.id,
        "status": counts.oldest.status.value,
        "priority": counts.oldest.priority,
        "created": created,
        "age": counts.now - created,
    }


def _damage_as_json(damage: LogCorruptError) -> dict[str, Any]:
    return {"file": damage.segment, "offset": damage.offset, "problem": damage.problem}


# For people


def _show(screen: Screen, report: _Report) -> None:
    owner = report.log.owner
    use = "not in use" if owner is None else f"in use by {owner_name(owner.pid)}"
    screen.show(Text(f"{printable(report.log.directory)}  {use}"), _files_table(report))
    if report.counts is not None:
        screen.show(_jobs_table(report.counts), *_remarks(report.counts))
    if report.wasted is not None:
        share = f"{size_text(report.wasted)} of {size_text(report.bytes)}"
        screen.show(Text(f"wasted: {share} (a compaction frees it)"))
    if report.reserved:
        reserved = f"reserved for what the queue writes next: {size_text(report.reserved)}"
        screen.show(Text(f"{reserved} (it gives that back when it closes)"))
    if report.torn is not None:
        screen.show(Text(f"{printable(report.torn)}; the next start cuts it off", "yellow"))
    for name, size in report.kept_aside.items():
        screen.show(Text(f"kept aside: {printable(name)}, {size_text(size)}"))


def _files_table(report: _Report) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("file")
    for title in ("size", "batches", "records", "last batch"):
        table.add_column(title, justify="right")
    for summary in report.files:
        numbers = (summary.batches, summary.records, summary.last)
        table.add_row(
            summary.file.name, size_text(summary.bytes), *(f"{number:,}" for number in numbers)
        )
    return table


def _jobs_table(counts: _Counts) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column("jobs")
    for title in (*PRIORITIES, "all"):
        table.add_column(title, justify="right")
    for status in Status:
        row = [counts.by_status[status, priority] for priority in PRIORITIES]
        table.add_row(status.value, *(f"{number:,}" for number in (*row, sum(row))))
    return table


def _remarks(counts: _Counts) -> Iterator[Text]:
    oldest = counts.oldest
    if oldest is not None:
        created = oldest.state.enqueued.created
        yield Text(
            f"oldest unfinished job: {printable(oldest.id)} ({oldest.priority}, {oldest.status}), "
            f"created {time_text(created)}, {age_text(counts.now - created)} ago"
        )
    if counts.interrupted:
        yield Text(f"running when the process died: {counts.interrupted:,}")
