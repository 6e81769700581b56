"""Tracing: spans of acceptances and attempts, how they are linked, and what is measured."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk", reason="needs the SDK of OpenTelemetry")

from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobqueue import Config, EnqueueTimeoutError, Job, JobContext, JobQueue, Priority, Status
from jobqueue.telemetry.opentelemetry import Tracing
from tests.support import traced
from tests.support.waiting import PATIENCE, eventually


class Recorder:
    """Providers that keep what they are told, and the queues of a test."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self._reader = InMemoryMetricReader()
        self.meters = MeterProvider([self._reader])
        self.queues: list[JobQueue] = []

    def open(self, *, middleware: list[Any] | None = None, **options: Any) -> JobQueue:
        settings = {"base_delay": 0.0} | options.pop("settings", {})
        middleware = [Tracing(self.provider, self.meters)] if middleware is None else middleware
        queue = JobQueue(Config(**settings), middleware=middleware, **options)
        self.queues.append(queue)
        return queue

    def spans(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """The spans of this name that have ended, once there are so many."""

        def found() -> list[ReadableSpan]:
            return [each for each in self._exporter.get_finished_spans() if each.name == name]

        eventually(lambda: len(found()) >= count)
        assert len(found()) == count
        return found()

    def span(self, name: str) -> ReadableSpan:
        (only,) = self.spans(name)
        return only

    def durations(self, name: str) -> dict[tuple[object, ...], int]:
        """How many were measured, by type of operation, destination and error."""
        told = self._reader.get_metrics_data()
        points = [
            point
            for resource in (told.resource_metrics if told else [])
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name and metric.unit == "s"
            for point in metric.data.data_points
        ]
        return {
            (
                (point.attributes or {})["messaging.operation.type"],
                (point.attributes or {})["messaging.destination.name"],
                (point.attributes or {}).get("error.type"),
            ): point.count
            for point in points
            if isinstance(point, HistogramDataPoint)
        }


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    for queue in recorder.queues:
        queue.close(PATIENCE)


def linked(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(each.context.trace_id, each.context.span_id) for each in span.links]


def ids(span: ReadableSpan) -> tuple[int, int]:
    assert span.context is not None
    return span.context.trace_id, span.context.span_id


def test_a_job_has_a_span_for_its_acceptance_and_one_for_its_attempt(recorder: Recorder) -> None:
    jq = recorder.open(handlers={"mail": len})
    with recorder.provider.get_tracer("test").start_as_current_span("request") as request:
        jq.enqueue(Job(b"x", id="a", handler="mail", priority=Priority.HIGH)).wait(PATIENCE)

    send, process = recorder.span("send mail"), recorder.span("process mail")
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert send.parent is not None
    assert send.parent.span_id == request.get_span_context().span_id
    assert process.parent is None
    assert linked(process) == [ids(send)]
    common = {
        "messaging.system": "jobqueue",
        "messaging.destination.name": "mail",
        "messaging.message.id": "a",
        "jobqueue.job.priority": "high",
    }
    names = ("messaging.operation.type", "messaging.operation.name")
    assert send.attributes == common | dict.fromkeys(names, "send")
    assert process.attributes == common | dict.fromkeys(names, "process") | {
        "jobqueue.job.attempt": 0
    }


def test_each_attempt_is_a_span_with_its_number_and_error(recorder: Recorder) -> None:
    def fails_twice(payload: bytes, context: JobContext) -> None:
        if context.attempt < 2:
            raise ValueError(f"boom {context.attempt}")

    jq = recorder.open(handler=fails_twice)
    jq.enqueue(Job()).wait(PATIENCE)

    spans = recorder.spans("process (default)", 3)
    assert [(each.attributes or {})["jobqueue.job.attempt"] for each in spans] == [0, 1, 2]
    assert len({linked(each)[0] for each in spans}) == 1
    statuses = [each.status.status_code for each in spans]
    assert statuses == [StatusCode.ERROR, StatusCode.ERROR, StatusCode.UNSET]
    for number, span in enumerate(spans[:2]):
        (event,) = span.events
        told = event.attributes or {}
        assert (event.name, told["exception.type"]) == ("exception", "ValueError")
        assert told["exception.message"] == f"boom {number}"
        assert "fails_twice" in str(told["exception.stacktrace"])
        assert (span.attributes or {})["error.type"] == "ValueError"
    assert spans[2].events == ()


class UntellableError(Exception):
    def __str__(self) -> str:
        raise SystemExit("no words")


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), UntellableError()], ids=repr)
def test_any_error_is_noted_and_changes_nothing(recorder: Recorder, error: BaseException) -> None:
    def fails(payload: bytes) -> None:
        raise error

    jq = recorder.open(handler=fails, settings={"max_retries": 0})
    handle = jq.enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED

    with pytest.raises(type(error)):
        handle.result()
    span = recorder.span("process (default)")
    assert span.status.status_code is StatusCode.ERROR
    assert [each.name for each in span.events] == ["exception"]


def test_a_job_that_is_not_accepted_has_a_span_with_the_error(recorder: Recorder) -> None:
    jq = recorder.open(handler=len, settings={"queue_size": 1}, start=False)
    jq.enqueue(Job())
    with pytest.raises(EnqueueTimeoutError):
        jq.enqueue(Job(), timeout=0)

    failed = recorder.spans("send (default)", 2)[1]
    assert failed.status.status_code is StatusCode.ERROR
    assert (failed.attributes or {})["error.type"] == "jobqueue.final.errors.EnqueueTimeoutError"


def test_a_handlers_spans_and_jobs_belong_to_its_attempt(recorder: Recorder) -> None:
    tracer = recorder.provider.get_tracer("test")

    def outer(payload: bytes) -> None:
        with tracer.start_as_current_span("work"):
            jq.enqueue(Job(handler="inner"))

    jq = recorder.open(handlers={"outer": outer, "inner": len})
    jq.enqueue(Job(handler="outer"))
    inner = recorder.span("process inner")

    outer_span, work = recorder.span("process outer"), recorder.span("work")
    send = recorder.span("send inner")
    assert (work.parent and work.parent.span_id) == ids(outer_span)[1]
    assert (send.parent and send.parent.span_id) == ids(work)[1]
    assert linked(inner) == [ids(send)]


def test_nothing_of_an_attempt_is_left_on_its_thread(recorder: Recorder) -> None:
    seen: list[bool] = []

    def looks(payload: bytes) -> None:
        seen.append(trace.get_current_span().get_span_context().is_valid)

    jq = recorder.open(handler=looks, settings={"num_workers": 1})
    token = context.attach(baggage.set_baggage("tenant", "a"))
    for _ in range(3):
        jq.enqueue(Job())
    context.detach(token)
    jq.join()

    spans = recorder.spans("process (default)", 3)
    assert seen == [True] * 3
    assert len({ids(each)[0] for each in spans}) == 3
    assert all(each.parent is None for each in spans)
    assert not trace.get_current_span().get_span_context().is_valid


def test_baggage_travels_with_the_job(recorder: Recorder) -> None:
    jq = recorder.open(handler=lambda payload: dict(baggage.get_all()))
    token = context.attach(baggage.set_baggage("tenant", "ä b"))
    handle = jq.enqueue(Job())
    context.detach(token)

    assert handle.result(PATIENCE) == {"tenant": "ä b"}
    assert jq.enqueue(Job()).result(PATIENCE) == {}


def test_baggage_that_a_job_has_no_room_for_is_left_behind(recorder: Recorder) -> None:
    jq = recorder.open(handler=lambda payload: dict(baggage.get_all()))
    token = context.attach(baggage.set_baggage("tenant", "a" * 4000))
    some = jq.enqueue(Job(headers={"mine": "x" * 8000}))
    none = jq.enqueue(Job(headers={"mine": "x" * 8180}))
    context.detach(token)

    assert some.result(PATIENCE) == none.result(PATIENCE) == {}
    assert sorted(map(len, map(linked, recorder.spans("process (default)", 2)))) == [0, 1]


def test_a_context_that_the_message_was_made_in_stays(recorder: Recorder) -> None:
    trace_id, span_id = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    jq = recorder.open(handler=len)
    job = Job(headers={"traceparent": f"00-{trace_id}-{span_id}-01", "tracestate": "a=b"})
    handle = jq.enqueue(job)
    handle.wait(PATIENCE)

    assert handle.job.headers == job.headers
    span = recorder.span("process (default)")
    assert linked(span) == [(int(trace_id, 16), int(span_id, 16))]
    assert span.links[0].context.trace_state.to_header() == "a=b"


@pytest.mark.parametrize("form", ["00-{}-01", " 00-{}-01 ", "01-{}-03-new", "cc-{}-00"])
def test_a_context_in_any_form_that_the_standard_allows_is_linked(
    recorder: Recorder, form: str
) -> None:
    header = form.format(f"{7:032x}-{5:016x}")
    recorder.open(handler=len).enqueue(Job(headers={"traceparent": header}))
    assert linked(recorder.span("process (default)")) == [(7, 5)]


def test_headers_are_those_of_the_standard_propagator(recorder: Recorder) -> None:
    incoming = {"traceparent": f"00-{7:032x}-{5:016x}-01", "tracestate": "a=b,c=d"}
    token = context.attach(TraceContextTextMapPropagator().extract(incoming))
    headers = recorder.open(handler=len).enqueue(Job(headers={"mine": "1"})).job.headers
    context.detach(token)

    sent_in = recorder.span("send (default)").context
    assert sent_in is not None
    expected: dict[str, str] = {}
    within = trace.set_span_in_context(trace.NonRecordingSpan(sent_in))
    TraceContextTextMapPropagator().inject(expected, within)
    assert headers == {"mine": "1", **expected}
    assert headers["tracestate"] == "a=b,c=d"


@pytest.mark.parametrize("header", ["", "x", "00-0-0-01", f"00-{'0' * 32}-{'0' * 16}-01", "\ud7ff"])
def test_headers_that_are_no_context_do_no_harm(recorder: Recorder, header: str) -> None:
    headers = {"traceparent": header, "tracestate": header, "baggage": header}
    handle = recorder.open(handler=len).enqueue(Job(b"abc", headers=headers))

    assert handle.result(PATIENCE) == 3
    assert linked(recorder.span("process (default)")) == []


def test_coroutines_have_spans_of_their_own_at_the_same_time(recorder: Recorder) -> None:
    together = asyncio.Barrier(3)

    async def waits(payload: bytes) -> str:
        before = trace.get_current_span().get_span_context().span_id
        await together.wait()
        assert trace.get_current_span().get_span_context().span_id == before
        return f"{before:x}"

    async def main() -> list[object]:
        settings = Config(executor="asyncio", num_workers=3)
        tracing = Tracing(recorder.provider, recorder.meters)
        async with JobQueue(settings, handler=waits, middleware=[tracing]) as jq:
            with recorder.provider.get_tracer("test").start_as_current_span("request"):
                handles = [await jq.aenqueue(Job()) for _ in range(3)]
            return [await each for each in handles]

    results = asyncio.run(main())
    spans, sends = recorder.spans("process (default)", 3), recorder.spans("send (default)", 3)
    assert {f"{ids(each)[1]:x}" for each in spans} == set(results)
    assert {linked(each)[0] for each in spans} == {ids(each) for each in sends}
    request = recorder.span("request")
    assert {each.parent.span_id for each in sends if each.parent} == {ids(request)[1]}


def test_a_job_is_linked_over_a_restart(recorder: Recorder, tmp_path: Path) -> None:
    settings = {"persist_path": tmp_path / "jobs.db"}
    before = recorder.open(handler=len, settings=settings, start=False)
    before.enqueue(Job())
    before.close()
    recorder.open(handler=len, settings=settings).join()

    assert linked(recorder.span("process (default)")) == [ids(recorder.span("send (default)"))]


def test_in_processes_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "spans"
    monkeypatch.setenv(traced.FILE, os.fspath(file))
    config = Config(executor="process", num_workers=1)
    token = context.attach(baggage.set_baggage("tenant", "a"))
    with JobQueue(config, handler=traced.seen, middleware=[traced.tracing]) as jq:
        found: Any = jq.enqueue(Job()).result(PATIENCE)
    context.detach(token)

    spans = {each["name"]: each for each in map(json.loads, file.read_text().splitlines())}
    send, process = spans["send (default)"], spans["process (default)"]
    pid, span_id, bags = found
    assert pid != os.getpid()
    assert process["context"]["span_id"] == f"0x{span_id}"
    assert bags == {"tenant": "a"}
    assert process["parent_id"] is None
    assert [each["context"]["span_id"] for each in process["links"]] == [send["context"]["span_id"]]


def test_durations_are_measured(recorder: Recorder) -> None:
    def fails(payload: bytes) -> None:
        raise ValueError("boom")

    jq = recorder.open(handlers={"mail": len, "bad": fails}, settings={"max_retries": 1})
    for name in ("mail", "mail", "bad"):
        jq.enqueue(Job(handler=name))
    jq.join()

    assert recorder.durations("messaging.client.operation.duration") == {
        ("send", "mail", None): 2,
        ("send", "bad", None): 1,
    }
    assert recorder.durations("messaging.process.duration") == {
        ("process", "mail", None): 2,
        ("process", "bad", "ValueError"): 2,
    }


def test_no_span_holds_a_payload(recorder: Recorder) -> None:
    def fails(payload: bytes) -> None:
        raise ValueError("boom")

    jq = recorder.open(handler=fails, settings={"max_retries": 0})
    jq.enqueue(Job(b"4111-1111")).wait(PATIENCE)

    for name in ("send (default)", "process (default)"):
        assert "4111" not in str(recorder.span(name).to_json())


def test_without_a_provider_nothing_is_recorded_and_jobs_run() -> None:
    with JobQueue(handler=len, middleware=[Tracing()]) as jq:
        handle = jq.enqueue(Job(b"abc"))
        assert handle.result(PATIENCE) == 3
        assert handle.job.headers == {}


def test_jobs_of_one_call_each_have_their_spans(recorder: Recorder) -> None:
    jq = recorder.open(handler=len)
    with recorder.provider.get_tracer("test").start_as_current_span("request") as request:
        jq.enqueue_many([Job(id=str(number)) for number in range(3)])
    jq.join()

    def by_id(spans: list[ReadableSpan], of: Callable[[ReadableSpan], object]) -> dict[Any, object]:
        return {(each.attributes or {})["messaging.message.id"]: of(each) for each in spans}

    sends = by_id(recorder.spans("send (default)", 3), ids)
    assert by_id(recorder.spans("process (default)", 3), lambda each: linked(each)[0]) == sends
    parents = [each.parent.span_id for each in recorder.spans("send (default)", 3) if each.parent]
    assert parents == [request.get_span_context().span_id] * 3  # and not one the other's
