"""The last minutes of a queue, a point a second: what the charts and the alerts are made of.

One thread a dashboard takes the points. It knows the samples by a weak reference alone, so it keeps
neither them nor the queue alive: it ends when they are gone, when `close` is called, when the
queue is closed and has come to rest, or with the process.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from bisect import bisect_left
from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from ..final import JobQueueError, Priority
from .reporting import ABOUT_NO_JOB, logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..final import Metrics
    from ..final.ports import Queue

PERIOD = 1.0
KEPT_SECONDS = 900
TIMES = 10
"""A look at the queue takes at most one part in so many of the time: a database with a million jobs
that wait has to count them."""
COUNTS = ("completed", "failed", "retried")
_JOIN_SECONDS = 1.0  # the thread may be asking a queue whose owner is gone


class Lane(NamedTuple):
    """One lane at one moment; the counts are those since the queue's start."""

    queued: int
    oldest_wait: float
    completed: int
    failed: int
    retried: int


class Point(NamedTuple):
    """One moment.

    Attributes:
        at: monotonic time, in seconds.
        lanes: by priority, High first.
        grown: by how much each count has grown since the first point, all lanes together. It never
            falls, as counts do when the queue is another process's and that begins anew.
        number: of the first point it is 0.
    """

    at: float
    lanes: tuple[Lane, ...]
    grown: dict[str, int]
    number: int

    def queued(self) -> int:
        """Queued jobs of all lanes."""
        return sum(lane.queued for lane in self.lanes)


class Samples:
    """The points of one queue. Thread-safe.

    Args:
        now: monotonic time, in seconds.
        wall: the Unix time.
    """

    def __init__(
        self,
        queue: Queue,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.queue = queue
        self.is_warm = threading.Event()  # set when the first look at all jobs has been made
        self.now = now
        self._wall = wall
        self._lock = threading.Lock()  # guards what is below
        self._earlier: tuple[float, dict[str, int]] | None = None
        self._points: deque[Point] = deque(maxlen=int(KEPT_SECONDS / PERIOD))
        self._latest: Metrics | None = None
        self._trouble: str | None = None
        self._ended: threading.Event | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    # ── what pages ask ───────────────────────────────────────────────────────────────────────

    def latest(self) -> tuple[Metrics | None, str | None]:
        """The last snapshot, and why the queue could not be asked since, if it could not.

        Starts the thread if it does not run; the first call takes a point itself.
        """
        self.ensure()
        with self._lock:
            if self._latest is not None or self._trouble is not None:
                return self._latest, self._trouble
        self.sample()
        with self._lock:
            return self._latest, self._trouble

    def points(self, seconds: float, step: int = 1) -> list[Point]:
        """The points of the last so many seconds, oldest first.

        Args:
            step: every so many of them, always the same ones, and the last.
        """
        with self._lock:
            points = list(self._points)
        since = self.now() - seconds
        found = points[bisect_left(points, since, key=lambda point: point.at) :]
        if step == 1:
            return found
        return [each for each in found if each.number % step == 0 or each is found[-1]]

    def growth(self, seconds: float) -> tuple[dict[str, int], float]:
        """By how much each count has grown in the last so many seconds, and in how many really.

        If the queue is younger than that, what it counted before the first point is among it.
        """
        points = self.points(seconds)
        if not points:
            return dict.fromkeys(COUNTS, 0), 0.0
        first, last, began = points[0], points[-1], points[0].at
        grown = {each: last.grown[each] - first.grown[each] for each in COUNTS}
        with self._lock:
            earlier = self._earlier
        if earlier is not None and first.number == 0 and earlier[0] >= self.now() - seconds:
            began, counts = earlier
            grown = {each: grown[each] + counts[each] for each in COUNTS}
        return grown, last.at - began

    # ── points ───────────────────────────────────────────────────────────────────────────────

    def sample(self) -> None:
        """Take a point; if the queue cannot be asked, keep why."""
        try:
            metrics = self.queue.metrics()
        except Exception as error:  # noqa: BLE001  # a user's queue may raise anything; pages tell
            self._keep_trouble(error)
            return
        lanes = tuple(
            Lane(lane.queued, lane.oldest_wait, lane.completed, lane.failed, lane.retried)
            for lane in (metrics.by_priority[each] for each in Priority)
        )
        with self._lock:
            self._latest, self._trouble = metrics, None
            before = self._points[-1] if self._points else None
            grown, number = dict.fromkeys(COUNTS, 0), 0
            if before is None:
                self._earlier = self._before_first(metrics)
            else:
                number = before.number + 1
                grown = {
                    each: before.grown[each] + _growth(each, before.lanes, lanes) for each in COUNTS
                }
            self._points.append(Point(self.now(), lanes, grown, number))

    def _keep_trouble(self, error: Exception) -> None:
        """Keep why the queue could not be asked; what no queue should raise is logged, once."""
        is_known = isinstance(error, JobQueueError | OSError)
        kind = type(error).__name__
        trouble = str(error) or kind if is_known else f"{kind}; the program's log tells where"
        with self._lock:
            is_new, self._trouble = trouble != self._trouble, trouble
        if is_new and not is_known:
            _record(error)

    def _before_first(self, metrics: Metrics) -> tuple[float, dict[str, int]] | None:
        """When the counts began, in monotonic time, and how far they are; `None` if at zero.

        An engine counts for all processes together, and a log that no queue has open for all its
        jobs: there it is not known since when.
        """
        counts = {each: getattr(metrics, each) for each in COUNTS}
        if metrics.engine is not None or not metrics.workers.size or not any(counts.values()):
            return None
        return self.now() - max(0.0, self._wall() - metrics.since), counts

    def is_worked_on(self) -> bool:
        """Whether a worker ran at the last point, and the queue could be asked."""
        with self._lock:
            metrics, trouble = self._latest, self._trouble
        return metrics is not None and trouble is None and metrics.workers.count > 0

    def warm_up(self) -> None:
        """Have the queue put its jobs in order, which the first look at them does."""
        try:
            self.queue.look(limit=1, within=1)
        except (JobQueueError, OSError):
            return  # `sample` tells why, and this is tried again with the next point
        self.is_warm.set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────

    def ensure(self) -> None:
        """Start the thread, once in this process."""
        with self._lock:
            if self._ended is not None and self._pid == os.getpid():
                return
            self._ended, self._pid = threading.Event(), os.getpid()
            ended = self._ended
        weakref.finalize(self, ended.set).atexit = False
        thread = threading.Thread(
            target=_run, args=(weakref.ref(self), ended), name="jobqueue-web-samples", daemon=True
        )
        thread.start()
        self._thread = thread

    def close(self) -> None:
        """End the thread, and start none any more."""
        with self._lock:
            ended = self._ended = self._ended or threading.Event()
            self._pid = os.getpid()
            thread, self._thread = self._thread, None
        ended.set()
        if thread is not None:
            thread.join(_JOIN_SECONDS)


def _run(reference: weakref.ref[Samples], ended: threading.Event) -> None:
    """Take a point each second, or less often; this thread."""
    due, is_told = time.monotonic(), False
    while not ended.is_set():
        samples, began = reference(), time.monotonic()
        if samples is None:
            return
        is_closed = getattr(samples.queue, "closed", False)
        try:
            samples.sample()
            if not samples.is_warm.is_set():
                samples.warm_up()
        except Exception as error:  # noqa: BLE001  # a user's queue may raise anything
            if not is_told:
                _record(error)
            is_told = True
        # A queue that closes works on for a while; the last point is to tell that it has ended.
        if is_closed and not samples.is_worked_on():
            return
        del samples  # while it sleeps, nothing here keeps the queue alive
        due = next_due(due, began, time.monotonic())
        ended.wait(due - time.monotonic())


def _record(error: Exception) -> None:
    logger.error(
        "the dashboard could not ask the queue how it is", exc_info=error, extra=ABOUT_NO_JOB
    )


def next_due(due: float, began: float, ended: float) -> float:
    """When the next point is to be taken, if one that was due then took from `began` to `ended`."""
    return max(due + PERIOD, began + TIMES * (ended - began))


def _growth(field: str, before: tuple[Lane, ...], now: tuple[Lane, ...]) -> int:
    pairs = zip(before, now, strict=True)
    return sum(max(0, getattr(new, field) - getattr(old, field)) for old, new in pairs)


def rates(
    points: Iterable[Point], field: str, lane: int | None = None
) -> list[tuple[float, float]]:
    """Per second, between each point and the one before: (monotonic time, rate)."""

    def count(point: Point) -> int:
        return point.grown[field] if lane is None else getattr(point.lanes[lane], field)

    return [
        (new.at, max(0.0, (count(new) - count(old)) / (new.at - old.at)))
        for old, new in pairwise(points)
        if new.at > old.at
    ]
