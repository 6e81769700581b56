"""`jobqueue log verify`: all that is wrong with a log, each thing by its place."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ..final.errors import LogCorruptError
from ..final.wal.files import name_of, path_in
from ..final.wal.names import list_present
from ..final.wal.reading.cut import refuse_directories
from ..final.wal.reading.damage_scan import DamageScan
from ..final.wal.reading.replay import replay
from ..final.wal.reading.scan import blames_the_file
from ..final.wal.reading.walk import Finding
from ..final.wal.slots import read_slots
from .access import Log, read_log
from .exits import Exit
from .screen import Screen, count_text, printable

if TYPE_CHECKING:
    from argparse import Namespace


class Verdict(StrEnum):
    """What a start makes of a log."""

    SOUND = "sound"
    TORN = "torn"
    CORRUPT = "corrupt"


_MEANING = {
    Verdict.SOUND: "sound: all batches are whole and follow one another",
    Verdict.TORN: "torn, as after a power cut: the next start cuts it off and keeps a copy",
    Verdict.CORRUPT: "corrupt: no queue starts with it; 'jobqueue log repair' salvages the rest",
}
_STYLES = {Verdict.SOUND: "green", Verdict.TORN: "yellow", Verdict.CORRUPT: "bold red"}


@dataclass(frozen=True, slots=True)
class Examination:
    """What was found in a log."""

    log: Log
    verdict: Verdict
    findings: list[Finding]
    files: int
    batches: int


def verify(arguments: Namespace) -> Exit:
    """Walk through all of a log and name whatever is wrong."""
    result = read_log(arguments, _examine)
    if result.findings:
        # Once more: a queue may have started, or compacted, under the first look.
        result = read_log(arguments, _examine)
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell(_as_json(result))
    else:
        _show(screen, result)
    return Exit.OK if result.verdict is Verdict.SOUND else Exit.DAMAGED


def _examine(log: Log) -> Examination:
    scan = DamageScan(log.files, log.directory, growing=log.owner is not None)
    for _ in scan:
        pass
    findings = scan.findings
    verdict = Verdict.TORN if findings else Verdict.SOUND
    refusal = _refusal(log)
    if refusal is not None:
        verdict = Verdict.CORRUPT
        if all(refusal.file != each.file for each in findings):
            findings.append(refusal)
    return Examination(log, verdict, findings, len(scan.files), scan.batches)


def _refusal(log: Log) -> Finding | None:
    """Read the log as a start does; return why that would refuse it, if it would."""
    try:
        for _ in replay(log.files, log.directory):
            pass
        read_slots(log.files, log.directory)
        refuse_directories(log.files, list_present(log.files, log.directory))
    except LogCorruptError as error:
        return Finding(error.segment, error.offset, error.offset, error.problem)
    except OSError as error:
        if not blames_the_file(error):
            raise
        return Finding(
            name_of(error.filename or log.directory), 0, 0, error.strerror or "it cannot be read"
        )
    return None


def _as_json(result: Examination) -> dict[str, Any]:
    return {
        "log": result.log.directory,
        "in_use": result.log.owner is not None,
        "verdict": result.verdict.value,
        "files": result.files,
        "batches": result.batches,
        "damages": [finding_as_json(each) for each in result.findings],
    }


def finding_as_json(finding: Finding) -> dict[str, Any]:
    """One damage, for scripts."""
    return {
        "file": finding.file,
        "offset": finding.offset,
        "end": finding.end,
        "problem": finding.problem,
    }


def finding_as_line(log: Log, finding: Finding) -> Text:
    """One damage, for people."""
    path = path_in(log.directory, finding.file)
    where = f"byte {finding.offset}"
    if finding.end > finding.offset:
        where = f"bytes {finding.offset} to {finding.end - 1}"
    return Text.assemble((printable(f"{path}, {where}"), "bold"), f": {printable(finding.problem)}")


def _show(screen: Screen, result: Examination) -> None:
    screen.show(*(finding_as_line(result.log, each) for each in result.findings))
    read = f"{count_text(result.files, 'file')}, {count_text(result.batches, 'whole batch', 'es')}"
    if result.findings:
        read += f", {count_text(len(result.findings), 'damage')}"
    screen.show(Text(read), Text(_MEANING[result.verdict], _STYLES[result.verdict]))
