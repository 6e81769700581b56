"""`jobqueue log repair`: what is whole in a damaged log, in a new log beside it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.text import Text

from ..final.wal.maintenance.repair import Salvage
from ..final.wal.maintenance.repair import repair as salvage
from .access import Log, owned_log
from .examination import finding_as_json, finding_as_line
from .exits import CommandError, Exit
from .screen import Screen, count_text, printable, size_text

if TYPE_CHECKING:
    from argparse import Namespace

    from ..final.wal.reading.damage_scan import Lost


def repair(arguments: Namespace) -> Exit:
    """Salvage a log; the old one stays as it is."""
    screen = Screen(as_json=arguments.json)
    with owned_log(arguments) as log:
        new = os.path.abspath(arguments.output or f"{log.directory}.repaired")
        _refuse_inside(log.directory, new)
        try:
            result = salvage(log.files, log.directory, new)
        except FileExistsError as error:
            raise CommandError(Exit.USAGE, f"{error.filename}: {error.strerror}") from error
    if screen.as_json:
        screen.tell(_as_json(log, new, result))
    else:
        _show(screen, log, new, result)
    return Exit.DAMAGED if result.findings else Exit.OK


def _refuse_inside(old: str, new: str) -> None:
    """A new log within the old one would change that, and could not take its place."""
    place = os.path.realpath(old)
    if os.path.commonpath([place, os.path.realpath(new)]) == place != os.path.realpath(new):
        raise CommandError(
            Exit.USAGE, f"{new} is inside the old log, which stays as it is; name a place beside it"
        )


def _as_json(log: Log, new: str, result: Salvage) -> dict[str, Any]:
    return {
        "log": log.directory,
        "new_log": new,
        "salvaged": {"batches": result.batches, "records": result.records},
        "lost": {
            "batches": [_lost_as_json(each) for each in result.lost],
            "bytes": result.bytes_lost,
        },
        "damages": [finding_as_json(each) for each in result.findings],
    }


def _lost_as_json(lost: Lost) -> dict[str, Any]:
    return {"first": lost.first, "last": lost.last, "in_snapshot": lost.in_snapshot}


def _show(screen: Screen, log: Log, new: str, result: Salvage) -> None:
    screen.show(*(finding_as_line(log, each) for each in result.findings))
    salvaged = (
        f"salvaged: {count_text(result.batches, 'batch', 'es')}, "
        f"{count_text(result.records, 'record')}"
    )
    screen.show(Text(salvaged, "green"), Text(f"lost: {_loss(result)}", "red"))
    if result.lost:
        screen.show(Text("jobs whose end was in what is lost are unfinished again and will run"))
    screen.show(
        Text(f"new log: {printable(new)}"),
        Text(f"{printable(log.directory)} is as it was; to use the new log, put it in its place"),
    )


def _loss(result: Salvage) -> str:
    if not result.findings:
        return "nothing"
    parts = [_lost_text(each) for each in result.lost] or ["no batch number is missing"]
    return f"{', '.join(parts)}; {size_text(result.bytes_lost)} that are no batch"


def _lost_text(lost: Lost) -> str:
    where = " of the snapshot" if lost.in_snapshot else ""
    if lost.first == lost.last:
        return f"batch {lost.first}{where}"
    return f"batches {lost.first} to {lost.last}{where}"
