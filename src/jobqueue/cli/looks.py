"""What `jobqueue log watch` has seen of a queue, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from ..final.model.job import Priority
from .screen import age_text, printable, size_text, time_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..final.model.metrics import LaneMetrics, Metrics
    from ..final.sharing.operator import RemoteOperator

RATES = ("enqueued", "completed", "failed", "retried", "cancelled")
"""The counts that are also shown as so many a second."""
_STATES = ("queued", "scheduled", "processing", "overrunning", "limited")
_COUNTS = (*_STATES, *RATES, "expired")
_NOT_IN_A_LOG = ("overrunning", "limited")
READ_FROM_THE_LOG = (
    "read from the log, since its queue takes no commands; Config(control=True) tells more"
)
_GROUPS_MAX = 100
_SHOWN_MAX = 8
"""How many kinds of failures are shown to people: those that came last, then the most frequent."""


@dataclass(frozen=True, slots=True)
class Failures:
    """The attempts of one handler that failed with one class of error.

    Attributes:
        count: since the queue was started; by a log, of the jobs that it knows.
        new: those of them that came since the look before.
        last: what one of the jobs says that failed for good with it; `None` if there is none.
    """

    handler: str | None
    error: str
    count: int
    new: int
    last: str | None


@dataclass(slots=True)
class Look:
    """A queue at one moment.

    Attributes:
        at: Unix time.
        clock: monotonic time, in seconds.
        before: the look before this one; it forgets the one before it.
        came: what has happened since that, by lane, if a log was read; `None` if a queue was asked,
            whose counts only grow.
    """

    at: float
    clock: float
    metrics: Metrics
    failures: list[Failures]
    before: Look | None
    came: Mapping[Priority, Mapping[str, int]] | None = None

    def __post_init__(self) -> None:
        if self.before is not None:
            self.before.before = None

    def rates(self, priority: Priority | None = None) -> dict[str, float] | None:
        """So many a second since the look before; `None` in the first one.

        Another process may have taken the queue over: its counts begin anew.
        """
        if self.before is None:
            return None
        seconds = max(self.clock - self.before.clock, 1e-9)
        if self.came is not None:
            lanes = self.came.values() if priority is None else (self.came[priority],)
            return {
                name: round(sum(lane.get(name, 0) for lane in lanes) / seconds, 2) for name in RATES
            }
        now, then = _counts(self.metrics, priority), _counts(self.before.metrics, priority)
        is_new = _is_another(self.metrics, self.before.metrics)
        return {
            name: round((getattr(now, name) - (0 if is_new else getattr(then, name))) / seconds, 2)
            for name in RATES
        }


def _counts(metrics: Metrics, priority: Priority | None) -> Metrics | LaneMetrics:
    return metrics if priority is None else metrics.by_priority[priority]


def _is_another(now: Metrics, then: Metrics) -> bool:
    return any(getattr(now, name) < getattr(then, name) for name in RATES)


def failures_of(queue: RemoteOperator, metrics: Metrics, before: Look | None) -> list[Failures]:
    """What has failed, what has more failed of late first; the queue is asked if that is new."""
    known: Mapping[tuple[str | None, str], Failures] = {}
    if before is not None and not _is_another(metrics, before.metrics):
        known = {(each.handler, each.error): each for each in before.failures}
    counts = {
        (handler, error): count
        for handler, counts in metrics.by_handler.items()
        for error, count in counts.failures.items()
    }
    if counts == {kind: each.count for kind, each in known.items()}:
        last = {kind: each.last for kind, each in known.items()}
    else:
        groups = queue.dead_groups(_GROUPS_MAX).groups
        last = {(each.handler, each.error): each.last.last_error for each in groups}
    found = []
    for kind, count in counts.items():
        then = known.get(kind)
        new = 0 if before is None else count - (0 if then is None else then.count)
        found.append(Failures(*kind, count, new, last.get(kind)))
    return sorted(found, key=lambda each: (-each.new, -each.count))


# For scripts


def as_json(look: Look) -> dict[str, Any]:
    """One object for a look; what a log cannot tell is null."""
    metrics, log = look.metrics, look.metrics.log
    is_logged = look.came is not None
    return {
        "time": round(look.at, 3),
        **_counts_as_json(metrics, is_logged=is_logged),
        "per_second": look.rates(),
        "lanes": {
            each.name.lower(): {
                **_counts_as_json(metrics.by_priority[each], is_logged=is_logged),
                "per_second": look.rates(each),
            }
            for each in Priority
        },
        "workers": None
        if is_logged
        else {
            "count": metrics.workers.count,
            "busy": metrics.workers.busy,
            "utilization": round(metrics.workers.utilization, 3),
        },
        "log": None
        if log is None
        else {
            "bytes": log.bytes,
            "lag_records": None if is_logged else log.lag_records,
            "last_fsync_seconds": None if is_logged else round(log.last_fsync_seconds, 6),
            "error": log.error,
        },
        "failures": [
            {
                "handler": each.handler,
                "error": each.error,
                "count": each.count,
                "new": each.new,
                "last": each.last,
            }
            for each in look.failures
        ],
    }


def _counts_as_json(counts: Metrics | LaneMetrics, *, is_logged: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {name: getattr(counts, name) for name in _COUNTS}
    if is_logged:
        shown.update(dict.fromkeys(_NOT_IN_A_LOG))
    return {**shown, "oldest_wait": round(counts.oldest_wait, 3)}


# For people


def as_line(look: Look) -> Text:
    """One line for a look, if it is not a terminal that is written to."""
    metrics, rates = look.metrics, look.rates()
    parts = [
        time_text(look.at),
        f"{metrics.queued:,} queued (oldest {age_text(metrics.oldest_wait)})",
        f"{metrics.scheduled:,} scheduled",
        f"{metrics.processing:,} processing",
    ]
    for name in ("completed", "failed"):
        rate = "" if rates is None else f" ({rates[name]:,.1f}/s)"
        parts.append(f"{getattr(metrics, name):,} {name}{rate}")
    return Text("  ".join(parts))


def as_tables(look: Look) -> Group:
    """All of it."""
    return Group(_lanes(look), _state(look), *([_failures(look)] if look.failures else []))


def _lanes(look: Look) -> Table:
    table = Table(box=box.SIMPLE)
    table.add_column(time_text(look.at))
    titles = ("queued", "oldest", "scheduled", "running", "enqueued/s", "completed/s", "failed/s")
    for title in (*titles, "retried/s"):
        table.add_column(title, justify="right")
    for each in (*Priority, None):
        counts, rates = _counts(look.metrics, each), look.rates(each)
        table.add_row(
            "all" if each is None else each.name.lower(),
            f"{counts.queued:,}",
            age_text(counts.oldest_wait) if counts.queued else "",
            f"{counts.scheduled:,}",
            f"{counts.processing:,}",
            *(_rate(rates, name) for name in ("enqueued", "completed", "failed", "retried")),
            style="bold" if each is None else "",
        )
    return table


def _rate(rates: Mapping[str, float] | None, name: str) -> Text:
    if rates is None:
        return Text("…", "dim")
    is_bad = name in ("failed", "retried") and rates[name] > 0
    return Text(f"{rates[name]:,.1f}", "red" if is_bad else "")


def _state(look: Look) -> Text:
    metrics, log = look.metrics, look.metrics.log
    if look.came is not None:
        size = "" if log is None else f"log: {size_text(log.bytes)}; "
        return Text(f"{size}{READ_FROM_THE_LOG}")
    text = Text(f"workers: {metrics.workers.busy} of {metrics.workers.count} busy")
    if metrics.overrunning:
        text.append(f", {metrics.overrunning} past the time of their jobs", "red")
    if log is not None:
        text.append(f"; log: {size_text(log.bytes)}, {log.lag_records:,} records not fsynced yet")
        if log.error is not None:
            text.append(f"; {printable(log.error)}", "red")
    return text


def _failures(look: Look) -> Table:
    table = Table(box=box.SIMPLE)
    for title in ("failing handler", "error"):
        table.add_column(title)
    for title in ("attempts", "new"):
        table.add_column(title, justify="right")
    table.add_column("what a dead letter says", overflow="fold")
    for each in look.failures[:_SHOWN_MAX]:
        table.add_row(
            Text("default handler" if each.handler is None else printable(each.handler)),
            Text(printable(each.error)),
            f"{each.count:,}",
            Text(f"+{each.new:,}", "red") if each.new else "",
            Text("" if each.last is None else printable(each.last)),
        )
    return table
