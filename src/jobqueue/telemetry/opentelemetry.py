"""Traces and durations of jobs, by the semantic conventions of OpenTelemetry for messaging.

An attempt is no child of what enqueued its job, but is linked to it: it may come hours later, after
a restart, and several times. The link is in the job's headers, as W3C writes it down for HTTP, so
it is in the log, and reaches whatever process runs the job.

Only the API of OpenTelemetry is used: what is recorded, and where it goes, is the program's affair.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

import re
from contextvars import ContextVar
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

try:
    from opentelemetry import context as contexts
    from opentelemetry import metrics, trace
    from opentelemetry.baggage.propagation import W3CBaggagePropagator
    from opentelemetry.context import Context
    from opentelemetry.propagators.textmap import Getter
    from opentelemetry.trace import Link, SpanContext, SpanKind, StatusCode, TraceFlags
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"jobqueue.telemetry.opentelemetry needs {error.name}, which is not installed: pip install "
        f"'jobqueue[opentelemetry]'",
        name=error.name,
    ) from None

from ..final import Middleware, Priority

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from ..final import Job, JobContext, JobHandle

    Attributes = dict[str, str | int]

__all__ = ["Tracing"]

_SCOPE = "jobqueue"
_DEFAULT = "(default)"  # the destination of jobs that name no handler
_PARENT, _STATE, _BAGGAGE = "traceparent", "tracestate", "baggage"
_OWN = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")
"""A `traceparent` as it is written here; what others may have written is the propagator's to read,
which takes twice the time."""
_PRIORITIES = tuple(each.name.lower() for each in Priority)
_NOWHERE = Context()  # cannot be changed, so that one is enough
_HANDLERS_MAX = 1024
"""For so many names of handlers, what is the same for all their jobs is kept; a name that nobody
has registered may be anything."""
_sending: ContextVar[tuple[Span, Context] | None] = ContextVar("jobqueue-sending", default=None)
"""The span of the acceptance that goes on here, and the context that it is in."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


class Tracing(Middleware):
    """Traces each job: a span for its acceptance, and one for each attempt. Thread-safe.

    `send <handler>` is a child of the caller's span; its context, and the caller's baggage, go into
    the job's headers, unless there is a `traceparent` among these already. `process <handler>` is
    the root of a trace of its own that is linked to that context; the baggage is there again. An
    attempt that fails has the exception, and is of status ERROR; the next one is another span, with
    its number in `jobqueue.job.attempt` (0 first). Payloads are never told.

    With `executor="process"` put the class, `Tracing`, or a function of a module that makes one,
    into the list of middleware: each process makes its own, and needs a provider of its own.

    Args:
        tracer_provider: `None` takes the program's, whenever that is set.
        meter_provider: likewise, for `messaging.client.operation.duration` (of acceptances) and
            `messaging.process.duration` (of attempts), both in seconds.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
    ) -> None:
        self._tracer = trace.get_tracer(_SCOPE, tracer_provider=tracer_provider)
        meter = metrics.get_meter(_SCOPE, meter_provider=meter_provider)
        self._sent = meter.create_histogram(
            "messaging.client.operation.duration",
            "s",
            "Duration of messaging operation initiated by a producer or consumer client.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._processed = meter.create_histogram(
            "messaging.process.duration",
            "s",
            "Duration of processing operation.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self._trace_context = TraceContextTextMapPropagator()
        self._baggage = W3CBaggagePropagator()

    # ── a caller's thread ────────────────────────────────────────────────────────────────────

    def enqueue(self, job: Job, call_next: Callable[[Job], JobHandle]) -> JobHandle:
        """See `Middleware`."""
        around = _callers_context()
        common = _common("send", job.handler)
        attributes: Attributes = {
            **common.attributes,
            "messaging.message.id": job.id,
            "jobqueue.job.priority": _PRIORITIES[job.priority],
        }
        span = self._tracer.start_span(common.name, around, SpanKind.PRODUCER, attributes)
        token = _sending.set((span, around))
        try:
            with _Lasting(span, around, self._sent, common.attributes):
                return call_next(self._with_context(job, span))
        finally:
            _sending.reset(token)

    def _with_context(self, job: Job, span: Span) -> Job:
        """The job, with the span and the baggage in its headers, as far as there is room."""
        if _PARENT in job.headers:  # of whoever has made the message: it stays
            return job
        bare, bags = _headers_of(span), dict[str, str]()
        self._baggage.inject(bags)
        if bags:
            try:
                return job.with_headers({**job.headers, **bare, **bags})
            except ValueError:  # they are too large with it, or it is no text for a header
                pass
        if not bare:  # nothing is recorded here
            return job
        try:
            return job.with_headers({**job.headers, **bare})
        except ValueError:  # the job's own take all the room
            return job

    # ── where the attempt runs ───────────────────────────────────────────────────────────────

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        """See `Middleware`."""
        with self._span_of(context):
            return call_next(context)

    async def aattempt(
        self, context: JobContext, call_next: Callable[[JobContext], Awaitable[object]]
    ) -> object:
        """See `Middleware`."""
        with self._span_of(context):
            return await call_next(context)

    def _span_of(self, context: JobContext) -> _Lasting:
        job, around, links = context.job, _NOWHERE, None
        headers = job.headers
        if _PARENT in headers:
            sent_in = self._sent_in(headers)
            if sent_in.is_valid:
                links = (Link(sent_in),)
        if _BAGGAGE in headers:
            around = self._baggage.extract(headers, around, _GETTER)
        common = _common("process", job.handler)
        attributes: Attributes = {
            **common.attributes,
            "messaging.message.id": job.id,
            "jobqueue.job.priority": _PRIORITIES[job.priority],
            "jobqueue.job.attempt": context.attempt,
        }
        span = self._tracer.start_span(common.name, around, SpanKind.CONSUMER, attributes, links)
        return _Lasting(span, around, self._processed, common.attributes)

    def _sent_in(self, headers: Mapping[str, str]) -> SpanContext:
        """The context that the headers lead to; an invalid one if they do not."""
        own = None if _STATE in headers else _OWN.fullmatch(headers[_PARENT])
        if own is None:
            sender = self._trace_context.extract(headers, _NOWHERE, _GETTER)
            return trace.get_current_span(sender).get_span_context()
        trace_id, span_id, flags = (int(each, 16) for each in own.groups())
        return SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))


def _callers_context() -> Context:
    """The context that a job is sent from.

    The jobs of `enqueue_many` come one within the other, and yet are all the caller's.
    """
    sending = _sending.get()
    if sending is not None and sending[0] is trace.get_current_span():
        return sending[1]
    return contexts.get_current()


def _headers_of(span: Span) -> dict[str, str]:
    """What leads to the span, as the propagator of the API would write it in twice the time."""
    context = span.get_span_context()
    if not context.is_valid:
        return {}
    trace_id, span_id = context.trace_id, context.span_id
    headers = {_PARENT: f"00-{trace_id:032x}-{span_id:016x}-{context.trace_flags:02x}"}
    if context.trace_state:
        headers[_STATE] = context.trace_state.to_header()
    return headers


class _Headers(Getter["Mapping[str, str]"]):
    """Finds a header of a job, whose names are as they were written."""

    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key)
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


_GETTER = _Headers()


class _Common(NamedTuple):
    """What all spans of one operation on one handler's jobs have in common.

    Attributes:
        name: of the spans.
        attributes: those of the durations; a span has more. Nobody may change them.
    """

    name: str
    attributes: dict[str, str]


@lru_cache(_HANDLERS_MAX)
def _common(operation: str, handler: str | None) -> _Common:
    destination = handler or _DEFAULT
    attributes = {
        "messaging.system": "jobqueue",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }
    return _Common(f"{operation} {destination}", attributes)


class _Lasting:
    """A span that is the present one while this is entered, and ends then.

    It has the error that comes out, if one does; also one that is no `Exception`: a handler that
    raises `SystemExit` has failed, too.
    """

    __slots__ = ("_attributes", "_began", "_context", "_durations", "_span", "_token")

    def __init__(
        self, span: Span, context: Context, durations: Histogram, attributes: dict[str, str]
    ) -> None:
        self._span = span
        self._context = context
        self._durations = durations
        self._attributes = attributes

    def __enter__(self) -> None:
        self._token = contexts.attach(trace.set_span_in_context(self._span, self._context))
        self._began = perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        seconds = perf_counter() - self._began
        told = self._attributes
        if error is not None:
            told = {**told, "error.type": self._note(error)}
        self._durations.record(seconds, told)
        contexts.detach(self._token)
        self._span.end()

    def _note(self, error: BaseException) -> str:
        """Tell the span of the error; returns what its class is called."""
        kind = type(error)
        name = f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")
        span = self._span
        if span.is_recording():
            span.set_attribute("error.type", name)
            span.set_status(StatusCode.ERROR, name)
            try:
                span.record_exception(error)
            except BaseException as inner:  # noqa: BLE001  # its own __str__ is broken; the job's outcome is not to change by that
                told = {"exception.type": name, "exception.message": f"<{type(inner).__name__}>"}
                span.add_event("exception", told)
        return name
