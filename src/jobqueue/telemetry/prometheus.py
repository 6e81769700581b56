"""What a queue counts, for Prometheus: a collector of `prometheus_client`.

The queue counts all the time; the collector asks for `metrics()` at each scrape, and keeps nothing
but what a counter of Prometheus needs: that it never goes down.

Relies on: the queue's public names.
"""

from __future__ import annotations

import threading
from itertools import accumulate, repeat
from operator import add, attrgetter
from typing import TYPE_CHECKING, Generic, TypeVar

try:
    from prometheus_client.metrics_core import Metric
    from prometheus_client.registry import Collector
    from prometheus_client.samples import Sample
    from prometheus_client.utils import floatToGoString
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"jobqueue.telemetry.prometheus needs {error.name}, which is not installed: pip install "
        f"'jobqueue[prometheus]'",
        name=error.name,
    ) from None

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..final import (
        EngineMetrics,
        HandlerCounts,
        HandlerLane,
        LogMetrics,
        Metrics,
        Priority,
    )
    from ..final.ports import Queue

    Key = tuple[str, Priority]
    """A handler's label, and a priority."""
    Values = list[float]
    """Counters that belong together, one after the other."""

K = TypeVar("K")

__all__ = ["JobQueueCollector"]

_DEFAULT = "(default)"  # the label of the handler that jobs without a handler's name have
_UNREGISTERED = "(unregistered)"  # that of all that are not registered

_COUNTERS = {
    "enqueued": "Jobs accepted.",
    "completed": "Jobs whose handler returned.",
    "failed": "Jobs that failed for the last time.",
    "retried": "Attempts that failed and were scheduled again.",
    "cancelled": "Jobs cancelled, expired ones included.",
    "expired": "Jobs cancelled since they had not started in time.",
}
_counters_of = attrgetter(*_COUNTERS)
_TIMES = {
    "jobqueue_job_wait_seconds": "From entering the lane to the start of an attempt.",
    "jobqueue_job_run_seconds": "How long an attempt took.",
}
_STATES = ("queued", "scheduled", "processing", "overrunning", "limited", "dead")
_GAUGES = {
    "jobqueue_jobs": "Jobs by state; limited ones are queued too, overrunning ones processing.",
    "jobqueue_oldest_wait_seconds": "Age of the oldest queued job, 0 if none is queued.",
    "jobqueue_workers": "Workers, replacements included.",
    "jobqueue_workers_busy": "Workers that run a handler.",
    "jobqueue_log_bytes": "Size of the files of the log.",
    "jobqueue_log_lag_records": "Records that are not known to be fsynced yet.",
    "jobqueue_log_up": "1 while the log can be written, 0 if not.",
    "jobqueue_engine_connected": "1 while the database can be reached, 0 if not.",
    "jobqueue_engine_processes": "Processes that have the queue open on the database.",
}
_ENGINE_COUNTERS = {
    "reconnects": "How often the database could be reached again.",
    "late": "Outcomes that did not count, for another process had got the job meanwhile.",
}
_FSYNC = "jobqueue_log_fsync_seconds"
_FSYNC_SAYS = "How long an fsync of the log took."


class JobQueueCollector(Collector):
    """Shows queues to Prometheus. Thread-safe.

    Register it once: `prometheus_client.REGISTRY.register(JobQueueCollector(queue))`. A scrape
    calls `queue.metrics()`, and raises what that raises. If the queue is another process's, that is
    a message to it; have only one of the processes scraped.

    Counters never go down while the collector lives: not if jobs are forgotten or discarded, and
    not if another process becomes the queue's owner, and counts from zero.

    Args:
        queue: any `jobqueue.ports.Queue`.
        name: tells it from other queues: the label `queue`.

    Raises:
        TypeError: as `add`.
    """

    def __init__(self, queue: Queue, name: str = "default") -> None:
        self._shown: tuple[_Shown, ...] = ()
        self.add(queue, name)

    def add(self, queue: Queue, name: str) -> None:
        """Show one more queue: a registry takes only one collector for the same metrics.

        Raises:
            TypeError: the name is no text.
            ValueError: another one has this name.
        """
        if not isinstance(name, str):
            raise TypeError(f"the name of a queue must be text, as in 'mails', not {name!r}")
        if any(each.name == name for each in self._shown):
            raise ValueError(f"a queue is shown as {name!r} already; give each a name of its own")
        self._shown += (_Shown(queue, name),)

    def describe(self) -> Iterable[Metric]:
        """The names of all metrics, without values; does not ask the queues."""
        for name, says in _COUNTERS.items():
            yield Metric(f"jobqueue_jobs_{name}", says, "counter")
        for name, says in _ENGINE_COUNTERS.items():
            yield Metric(f"jobqueue_engine_{name}", says, "counter")
        for name, says in (*_TIMES.items(), (_FSYNC, _FSYNC_SAYS)):
            yield Metric(name, says, "histogram")
        for name, says in _GAUGES.items():
            yield Metric(name, says, "gauge")

    def collect(self) -> Iterable[Metric]:
        """What the queues count now."""
        families: dict[str, Metric] = {}
        for each in self._shown:
            for family in each.families():
                families.setdefault(family.name, family)
                if families[family.name] is not family:
                    families[family.name].samples += family.samples
        return families.values()


class _Shown:
    """One queue, as it is shown."""

    def __init__(self, queue: Queue, name: str) -> None:
        self.name = name
        self._queue = queue
        self._lock = threading.Lock()  # held from the question to the queue on; guards the rest
        self._handlers: _Growing[Key] = _Growing()
        self._fsyncs: _Growing[None] = _Growing()
        self._labels: dict[Key, _Labels] = {}

    def families(self) -> Iterator[Metric]:
        """What the queue counts now."""
        with self._lock:
            metrics = self._queue.metrics()
            log = metrics.log
            counts = self._handlers.follow(metrics.since, _bounds(metrics), _counts(metrics))
            bounds = self._handlers.bounds
            fsyncs = {}
            if log is not None:
                told = {None: [*log.fsync_time.counts, log.fsync_time.sum]}
                fsyncs = self._fsyncs.follow(metrics.since, log.fsync_time.bounds, told)
            labelled = [(self._labels_of(key), values) for key, values in counts.items()]
        yield from _of_handlers(bounds, labelled)
        yield from self._of_lanes(metrics)
        if log is not None:
            yield from self._of_log(log, fsyncs[None])
        if metrics.engine is not None:
            yield from self._of_engine(metrics.engine)

    def _labels_of(self, key: Key) -> _Labels:
        """The labels of a handler's lane, which are the same at each scrape."""
        labels = self._labels.get(key)
        if labels is None:
            handler, priority = key
            lane = _lane_label(priority)
            labels = _Labels({"handler": handler, "priority": lane, "queue": self.name})
            self._labels[key] = labels
        return labels

    def _of_lanes(self, metrics: Metrics) -> Iterator[Metric]:
        jobs, waits = _gauge("jobqueue_jobs"), _gauge("jobqueue_oldest_wait_seconds")
        for priority, lane in metrics.by_priority.items():
            labels = {"queue": self.name, "priority": _lane_label(priority)}
            for state in _STATES:
                jobs.add_sample(jobs.name, {**labels, "state": state}, getattr(lane, state))
            waits.add_sample(waits.name, labels, lane.oldest_wait)
        yield jobs
        yield waits
        yield self._single("jobqueue_workers", metrics.workers.count)
        yield self._single("jobqueue_workers_busy", metrics.workers.busy)

    def _of_log(self, log: LogMetrics, fsyncs: Values) -> Iterator[Metric]:
        yield self._single("jobqueue_log_bytes", log.bytes)
        yield self._single("jobqueue_log_lag_records", log.lag_records)
        yield self._single("jobqueue_log_up", log.error is None)
        labels = _Labels({"queue": self.name})
        times = Metric(_FSYNC, _FSYNC_SAYS, "histogram")
        times.samples = _histogram(_FSYNC, labels, log.fsync_time.bounds, fsyncs)
        yield times

    def _of_engine(self, engine: EngineMetrics) -> Iterator[Metric]:
        yield self._single("jobqueue_engine_connected", engine.connected)
        yield self._single("jobqueue_engine_processes", engine.processes)
        for name, says in _ENGINE_COUNTERS.items():
            family = Metric(f"jobqueue_engine_{name}", says, "counter")
            family.add_sample(f"{family.name}_total", {"queue": self.name}, getattr(engine, name))
            yield family

    def _single(self, name: str, value: float) -> Metric:
        gauge = _gauge(name)
        gauge.add_sample(name, {"queue": self.name}, value)
        return gauge


class _Labels:
    """The labels of some samples, and the same with each bound of a histogram, made once.

    They are in the order of their names, for the text has them so, and sorts them each time.
    """

    def __init__(self, plain: dict[str, str]) -> None:
        self.plain = plain
        self._with: dict[tuple[float, ...], list[dict[str, str]]] = {}

    def with_bounds(self, bounds: tuple[float, ...]) -> list[dict[str, str]]:
        labels = self._with.get(bounds)
        if labels is None:
            texts = [*map(floatToGoString, bounds), "+Inf"]
            labels = [dict(sorted({**self.plain, "le": each}.items())) for each in texts]
            self._with[bounds] = labels
        return labels


class _Growing(Generic[K]):
    """Counters that never go down, made of such that begin anew with each owner of the queue.

    Attributes:
        bounds: of the buckets that are among them; if an owner has others, all begin anew.
    """

    def __init__(self) -> None:
        self.bounds: tuple[float, ...] = ()
        self._since: float | None = None
        self._before: dict[K, Values] = {}  # what was counted under earlier owners
        self._last: dict[K, Values] = {}

    def follow(
        self, since: float, bounds: tuple[float, ...], counts: dict[K, Values]
    ) -> dict[K, Values]:
        """What to tell, now that these are counted since then; no `bounds` if there are none."""
        if bounds and bounds != self.bounds:  # an owner of another release
            self.bounds, self._before, self._last = bounds, {}, {}
        if since != self._since:
            self._before = self._told()
            self._since, self._last = since, {}
        for key, values in counts.items():
            last = self._last.get(key)
            # A job that the log could not take is not counted any more: of jobs, the next one is
            # not counted twice. And on PostgreSQL a name that is registered later takes what is
            # counted of it in all processes away from those that are not registered.
            if last is None or last != values:  # at most scrapes most handlers have done nothing
                self._last[key] = values if last is None else list(map(max, values, last))
        return self._told()

    def _told(self) -> dict[K, Values]:
        if not self._before:
            return self._last
        told = dict(self._before)
        for key, values in self._last.items():
            told[key] = _sum(told.get(key), values)
        return told


def _sum(some: Values | None, others: Values) -> Values:
    return others if some is None else list(map(add, some, others))


def _counts(metrics: Metrics) -> dict[Key, Values]:
    """The counters of all handlers, by their labels. Two that have the same one are added up."""
    counts: dict[Key, Values] = {}
    by_label: list[tuple[str, HandlerCounts]] = [
        (_DEFAULT if name is None else name, each) for name, each in metrics.by_handler.items()
    ]
    for label, handler in (*by_label, (_UNREGISTERED, metrics.unregistered)):
        for priority, lane in handler.by_priority.items():
            key = label, priority
            counts[key] = _sum(counts.get(key), _values(lane))
    return counts


def _values(lane: HandlerLane) -> Values:
    waits, runs = lane.queue_wait, lane.run_time
    return [*_counters_of(lane), *waits.counts, waits.sum, *runs.counts, runs.sum]


def _of_handlers(
    bounds: tuple[float, ...], counts: list[tuple[_Labels, Values]]
) -> Iterator[Metric]:
    for place, (name, says) in enumerate(_COUNTERS.items()):
        family = Metric(f"jobqueue_jobs_{name}", says, "counter")
        sample = f"{family.name}_total"
        family.samples = [Sample(sample, each.plain, values[place]) for each, values in counts]
        yield family
    begin, length = len(_COUNTERS), len(bounds) + 2
    for name, says in _TIMES.items():
        family = Metric(name, says, "histogram")
        for each, values in counts:
            family.samples += _histogram(name, each, bounds, values[begin : begin + length])
        begin += length
        yield family


def _bounds(metrics: Metrics) -> tuple[float, ...]:
    """Those of the buckets, which all handlers have in common."""
    for handler in (*metrics.by_handler.values(), metrics.unregistered):
        for lane in handler.by_priority.values():
            return lane.queue_wait.bounds
    return ()


def _histogram(
    name: str, labels: _Labels, bounds: tuple[float, ...], values: Values
) -> list[Sample]:
    """The samples of a histogram: `values` are the counts of its buckets, and the sum."""
    *counts, seconds = values
    upto = list(accumulate(counts))
    samples = list(map(Sample, repeat(f"{name}_bucket"), labels.with_bounds(bounds), upto))
    samples.append(Sample(f"{name}_count", labels.plain, upto[-1]))
    samples.append(Sample(f"{name}_sum", labels.plain, seconds))
    return samples


def _gauge(name: str) -> Metric:
    return Metric(name, _GAUGES[name], "gauge")


def _lane_label(priority: Priority) -> str:
    return priority.name.lower()
