"""What it costs to show a queue to Prometheus, and to trace it: `python -m benchmarks.telemetry`.

A scrape of a queue with 200 handlers, from the question to the queue up to the text; and the
processor time that `Tracing` adds to a job: with the SDK and its batch processor, whose thread
counts too, and with the API alone.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from benchmarks.measure import Figure, alternate, cpu_seconds
from jobqueue.final import Config, Job, JobQueue, Middleware
from jobqueue.telemetry.opentelemetry import Tracing
from jobqueue.telemetry.prometheus import JobQueueCollector

HANDLERS = 200
JOBS = 5_000
ROUNDS = 9


class Dropped(SpanExporter):
    """An exporter that takes no time."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


def scrapes() -> Iterator[Figure]:
    """Milliseconds that a scrape takes."""
    names = [f"shop.mail.send_{number}" for number in range(HANDLERS)]
    with JobQueue(Config(queue_size=20 * HANDLERS), handlers=dict.fromkeys(names, nothing)) as jq:
        jq.enqueue_many([Job(PAYLOAD, handler=name) for name in names for _ in range(20)])
        jq.join()
        collector, registry = JobQueueCollector(jq), CollectorRegistry()
        registry.register(collector)
        series = sum(len(each.samples) for each in collector.collect())
        samples = alternate(
            {
                "metrics": partial(_milliseconds, jq.metrics),
                "collector": partial(_milliseconds, lambda: list(collector.collect())),
                "text": partial(_milliseconds, lambda: generate_latest(registry)),
            },
            ROUNDS,
        )
    detail = f"{HANDLERS} handlers, {series} series"
    yield Figure("metrics()", samples.median("metrics"), None, unit="ms", detail=detail)
    collected = samples.median("collector")
    yield Figure("the collector", collected, 20.0, at_most=True, unit="ms", detail=detail)
    text = samples.median("text")
    yield Figure("the text of prometheus_client", text, None, unit="ms", detail=detail)


def _milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1e3


def traces() -> Iterator[Figure]:
    """Microseconds of processor time that tracing adds to a job."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropped()))
    meters = MeterProvider([InMemoryMetricReader()])
    ways: dict[str, list[Middleware]] = {
        "plain": [],
        "api": [Tracing()],
        "spans": [Tracing(provider)],
        "all": [Tracing(provider, meters)],
    }
    samples = alternate({name: partial(_microseconds, way) for name, way in ways.items()}, ROUNDS)
    provider.shutdown()
    meters.shutdown()
    for name, what, wanted in (
        ("api", "with the API alone", None),
        ("spans", "with spans by the batch processor", 25.0),
        ("all", "with spans and durations", None),
    ):
        detail = f"{samples.median(name):.1f} against {samples.median('plain'):.1f} µs"
        above = samples.difference(name, "plain")
        yield Figure(f"a job {what}", above, wanted, at_most=True, unit="µs", detail=detail)


def _microseconds(middleware: list[Middleware]) -> float:
    config = Config(num_workers=1, queue_size=2 * JOBS)
    with JobQueue(config, handler=nothing, middleware=middleware, start=False) as jq:
        jobs = [Job(PAYLOAD) for _ in range(JOBS)]

        def run() -> None:
            for job in jobs:
                jq.enqueue(job)
            jq.start()
            jq.join()

        return cpu_seconds(run) / JOBS * 1e6


def main() -> None:
    for figure in (*scrapes(), *traces()):
        bound = "" if figure.wanted is None else f", at most {figure.wanted:g} wanted"
        print(f"{figure.name}: {figure.measured:.1f} {figure.unit} ({figure.detail}{bound})")


if __name__ == "__main__":
    main()
