"""What it costs to show a queue to Prometheus, and to trace it: `python -m benchmarks.telemetry`.

A scrape of a queue with 200 handlers, from the question to the queue up to the text, and what of it
`prometheus_client` takes to write the text; and the processor time that `Tracing` adds to a job:
with the SDK and its batch processor, whose thread counts too, and with the API alone. Beside that
stands what the SDK's two spans take without `Tracing`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, SpanContext, SpanKind
from prometheus_client import CollectorRegistry, Metric, generate_latest, make_wsgi_app
from prometheus_client.registry import Collector

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from benchmarks.measure import Figure, alternate, cpu_seconds
from jobqueue.final import Config, Job, JobContext, JobHandle, JobQueue, Middleware
from jobqueue.telemetry.opentelemetry import Tracing
from jobqueue.telemetry.prometheus import JobQueueCollector

HANDLERS = 200
JOBS = 5_000
ROUNDS = 9
ASKS = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/metrics",
    "HTTP_ACCEPT": "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6",
    "HTTP_ACCEPT_ENCODING": "gzip",
}
"""How Prometheus 3 asks for a scrape."""


class Dropped(SpanExporter):
    """An exporter that takes no time."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        return SpanExportResult.SUCCESS


class Collected(Collector):
    """What was collected before: what is left of a scrape is the text."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[Metric]:
        return self._families


class TwoSpans(Middleware):
    """The spans that `Tracing` makes, with the same attributes, and nothing else: no headers, no
    baggage, no context in which the handler runs.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._tracer = provider.get_tracer("jobqueue")
        self._sent: dict[str, SpanContext] = {}

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        attributes = _attributes("send", job)
        span = self._tracer.start_span("send (default)", None, SpanKind.PRODUCER, attributes)
        self._sent[job.id] = span.get_span_context()
        try:
            return call_next(job)
        finally:
            span.end()

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        job = context.job
        attributes = {**_attributes("process", job), "jobqueue.job.attempt": context.attempt}
        links = [Link(self._sent.pop(job.id))]
        span = self._tracer.start_span(
            "process (default)", None, SpanKind.CONSUMER, attributes, links
        )
        try:
            return call_next(context)
        finally:
            span.end()


def _attributes(operation: str, job: Job) -> dict[str, str | int]:
    return {
        "messaging.system": "jobqueue",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": "(default)",
        "messaging.message.id": job.id,
        "jobqueue.job.priority": "medium",
    }


def scrapes() -> Iterator[Figure]:
    """Milliseconds that a scrape takes."""
    names = [f"shop.mail.send_{number}" for number in range(HANDLERS)]
    with JobQueue(Config(queue_size=20 * HANDLERS), handlers=dict.fromkeys(names, nothing)) as jq:
        jq.enqueue_many([Job(PAYLOAD, handler=name) for name in names for _ in range(20)])
        jq.join()
        collector, registry = JobQueueCollector(jq), CollectorRegistry()
        registry.register(collector)
        collected = Collected(collector.collect())
        series = sum(len(each.samples) for each in collected.collect())
        app = make_wsgi_app(registry)
        samples = alternate(
            {
                "metrics": partial(_milliseconds, jq.metrics),
                "collector": partial(_milliseconds, lambda: list(collector.collect())),
                "text": partial(_milliseconds, lambda: generate_latest(collected)),
                "scrape": partial(_milliseconds, lambda: generate_latest(registry)),
                "served": partial(_milliseconds, lambda: app(ASKS, lambda *_: None)),
            },
            ROUNDS,
        )
    detail = f"{HANDLERS} handlers, {series} series"
    for name, what, wanted in (
        ("metrics", "metrics()", None),
        ("collector", "the collector, metrics() included", None),
        ("text", "prometheus_client's text of what was collected before", None),
        ("scrape", "a scrape: the collector and the text", 20.0),
        ("served", "a scrape as a server gives it to Prometheus: OpenMetrics, gzip", None),
    ):
        yield Figure(what, samples.median(name), wanted, at_most=True, unit="ms", detail=detail)
    share = samples.ratio("text", "scrape")
    yield Figure("the text's share of a scrape", share, None, detail=detail)


def _milliseconds(call: Callable[[], object]) -> float:
    """By this thread's processor time: a scrape waits for nothing."""
    started = time.thread_time()
    call()
    return (time.thread_time() - started) * 1e3


def traces() -> Iterator[Figure]:
    """Microseconds of processor time that tracing adds to a job."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Dropped()))
    meters = MeterProvider([InMemoryMetricReader()])
    ways: dict[str, list[Middleware]] = {
        "plain": [],
        "api": [Tracing()],
        "sdk": [TwoSpans(provider)],
        "spans": [Tracing(provider)],
        "all": [Tracing(provider, meters)],
    }
    samples = alternate({name: partial(_microseconds, way) for name, way in ways.items()}, ROUNDS)
    provider.shutdown()
    meters.shutdown()
    for name, what, wanted in (
        ("api", "with the API alone", None),
        ("sdk", "with the SDK's two spans and no Tracing", None),
        ("spans", "with spans by the batch processor", 25.0),
        ("all", "with spans and durations", None),
    ):
        detail = f"{samples.median(name):.1f} against {samples.median('plain'):.1f} µs"
        above = samples.difference(name, "plain")
        yield Figure(f"a job {what}", above, wanted, at_most=True, unit="µs", detail=detail)
    plain, sdk, spans = (samples.median(name) for name in ("plain", "sdk", "spans"))
    detail = f"{spans - plain:.1f} against {sdk - plain:.1f} µs"
    own = samples.difference("spans", "sdk")
    yield Figure(
        "what Tracing adds to these spans", own, 25.0, at_most=True, unit="µs", detail=detail
    )
    ratio = (spans - plain) / (sdk - plain)
    yield Figure("Tracing with spans ÷ the SDK's two spans", ratio, None, detail=detail)


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
