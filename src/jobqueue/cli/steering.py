"""`jobqueue log cancel`, `discard`, `pause` and `resume`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from ..final.errors import UnknownJobError
from ..final.model.job import Priority
from ..final.wal.format.record import Cancelled, Record
from ..final.wal.reading.cut import distrust_memory
from .changes import append, make_ready
from .dead import discard_letters
from .exits import CommandError, Exit
from .jobs import UNFINISHED, Jobs
from .owner import ask, change
from .screen import Screen, count_text, printable

if TYPE_CHECKING:
    from argparse import Namespace

    from ..final.sharing.operator import RemoteOperator
    from .access import Log


def cancel(arguments: Namespace) -> Exit:
    """Cancel jobs that have not ended; one that runs is asked to stop."""
    ids = list(dict.fromkeys(arguments.ids))

    def in_queue(queue: RemoteOperator) -> list[str]:
        _refuse_unknown([each for each in ids if not _is_known(queue, each)])
        return [each for each in ids if queue.cancel(each)]

    def in_log(log: Log) -> list[str]:
        distrust_memory(log.files, log.directory)
        jobs = Jobs(log, arguments.status_retention)
        by_id = {entry.id: entry for entry in jobs}
        _refuse_unknown([each for each in ids if each not in by_id])
        chosen = [by_id[each] for each in ids if by_id[each].status in UNFINISHED]
        records: list[Record] = [Cancelled(each.number, jobs.now) for each in chosen]
        if records:
            make_ready(log, jobs.reading)
            append(log, jobs.reading, records)
        return [each.id for each in chosen]

    cancelled = change(arguments, in_queue, in_log)
    finished = [each for each in ids if each not in cancelled]
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell({"cancelled": cancelled, "finished": finished})
        return Exit.OK
    screen.show(Text(f"cancelled: {count_text(len(cancelled), 'job')}"))
    if finished:
        screen.show(Text(f"had ended already: {', '.join(map(printable, finished))}"))
    return Exit.OK


def _is_known(queue: RemoteOperator, job_id: str) -> bool:
    try:
        queue.status(job_id)
    except UnknownJobError:
        return False
    return True


def _refuse_unknown(ids: list[str]) -> None:
    if ids:
        raise CommandError(
            Exit.NO_SUCH_JOB, f"no job has the id {', '.join(ids)}; nothing was changed"
        )


def discard(arguments: Namespace) -> Exit:
    """Drop failed jobs, as `dead --discard` does."""
    return discard_letters(arguments, arguments.ids)


def pause(arguments: Namespace) -> Exit:
    """Have the running queue start no more jobs, or none of a kind."""
    return _steer(arguments, "pause")


def resume(arguments: Namespace) -> Exit:
    """Undo that."""
    return _steer(arguments, "resume")


def _steer(arguments: Namespace, call: str) -> Exit:
    chosen = arguments.priority
    what = {
        "handler": arguments.handler,
        "priority": None if chosen is None else Priority[chosen.upper()],
        "periodic": arguments.periodic,
    }
    if sum(each is not None for each in what.values()) > 1:
        raise CommandError(
            Exit.USAGE, "give one of --handler, --priority and --periodic; or none: the whole queue"
        )

    if arguments.handler == "":
        raise CommandError(
            Exit.USAGE,
            "--handler needs a name: jobs of the default handler are paused with the whole queue",
        )

    def in_queue(queue: RemoteOperator) -> dict[str, object]:
        getattr(queue, call)(**what)
        paused = queue.paused()
        return {
            "all": paused.all,
            "handlers": sorted(paused.handlers),
            "priorities": [each.name.lower() for each in sorted(paused.priorities)],
            "periodics": sorted(paused.periodics),
        }

    paused = ask(arguments, in_queue)
    screen = Screen(as_json=arguments.json)
    if screen.as_json:
        screen.tell({"paused": paused})
    else:
        screen.show(Text(f"paused now: {_told(paused)}"))
    return Exit.OK


def _told(paused: dict[str, object]) -> str:
    parts = ["the whole queue"] if paused["all"] else []
    for kind in ("handlers", "priorities", "periodics"):
        names = paused[kind]
        assert isinstance(names, list)
        if names:
            parts.append(f"{kind} {', '.join(map(printable, names))}")
    return "; ".join(parts) or "nothing"
