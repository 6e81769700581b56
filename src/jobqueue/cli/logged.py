"""Looks at a queue that takes no commands: `jobqueue log watch` reads its log, at intervals.

The log is read without a lock and never changed. What came since the look before is found by
comparing each job with what it was then. So a compaction meanwhile, or that the oldest jobs are
forgotten, makes no rate negative. On the main thread.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from ..final.model.filters import error_class
from ..final.model.job import Priority
from ..final.model.transitions import Status
from .access import read_log
from .looks import Failures, Look
from .reading import Reading, errors_of, status_of

if TYPE_CHECKING:
    from argparse import Namespace

    from .jobs import Entry

_REST = 4.0
"""It rests this many times as long as a look has taken: of a long log, a fifth of the time."""
_ENDS = {Status.COMPLETED: "completed", Status.FAILED: "failed", Status.CANCELLED: "cancelled"}


class _Seen(NamedTuple):
    """How a job was at a look; `failures` is how many of its attempts had failed."""

    status: Status
    finished: float | None
    retries: int
    failures: int


_NEW = _Seen(Status.QUEUED, None, 0, 0)


class LoggedQueue:
    """Tells what is in the log of a queue that runs, look by look. For one thread.

    Args:
        arguments: `path`, the log's directory, `allow_shared` and `status_retention`.
    """

    def __init__(self, arguments: Namespace) -> None:
        self._arguments = arguments
        self._seen: dict[int, _Seen] = {}
        self.rest_seconds = 0.0
        """How long the next look is to be put off, at least."""

    def look(self, before: Look | None) -> Look:
        """Read the log.

        Raises:
            CommandError, LogCorruptError, OSError: it cannot be read.
        """
        began = time.monotonic()
        retention = self._arguments.status_retention
        reading = read_log(self._arguments, lambda log: Reading(log, retention))
        at, clock = time.time(), time.monotonic()
        came, new = self._compare(reading.entries)
        metrics = reading.metrics(at)
        dead = {(each.handler, each.error): each.last.last_error for each in reading.dead_groups}
        failures = [
            Failures(each.name, error, count, 0 if before is None else new[kind], dead.get(kind))
            for each in reading.handlers
            for error, count in each.failures.items()
            for kind in [(each.name, error)]
        ]
        failures.sort(key=lambda each: (-each.new, -each.count))
        self.rest_seconds = _REST * (time.monotonic() - began)
        return Look(at, clock, metrics, failures, before, came)

    def _compare(
        self, entries: list[Entry]
    ) -> tuple[dict[Priority, Counter[str]], Counter[tuple[str | None, str]]]:
        """What has happened to the jobs since the look before, by lane; what failed in them."""
        before, self._seen = self._seen, {}
        came: dict[Priority, Counter[str]] = {each: Counter() for each in Priority}
        new: Counter[tuple[str | None, str]] = Counter()
        for entry in entries:
            state = entry.state
            errors = list(errors_of(entry))
            now = _Seen(status_of(entry), state.finished, state.retries, len(errors))
            self._seen[entry.number] = now
            then = before.get(entry.number)
            if then == now:
                continue
            lane = came[Priority(state.enqueued.priority)]
            if then is None:
                lane["enqueued"] += 1
                then = _NEW
            has_ended = now.status in _ENDS and now[:2] != then[:2]
            if has_ended:
                lane[_ENDS[now.status]] += 1
            retried = now.retries - then.retries
            if retried < 0:  # it was requeued, and begins anew
                retried = now.retries
            lane["retried"] += retried
            failed = retried + (has_ended and now.status is Status.FAILED)
            for error in errors[len(errors) - min(failed, len(errors)) :]:
                new[state.enqueued.handler, error_class(error)] += 1
        return came, new
