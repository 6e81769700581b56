"""Traces and durations of jobs, by the semantic conventions of OpenTelemetry for messaging.

An attempt is no child of what enqueued its job, but is linked to it: it may come hours later, after
a restart, and several times. The link is in the job's headers, as W3C writes it down for HTTP, so
it is in the log, and reaches whatever process runs the job.

Only the API of OpenTelemetry is used: what is recorded, and where it goes, is the program's affair.

https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/
https://www.w3.org/TR/trace-context/ and https://www.w3.org/TR/baggage/
"""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import metrics, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from ..final import Middleware

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.metrics import Histogram, MeterProvider
    from opentelemetry.trace import Span, TracerProvider

    from ..final import Job, JobContext, JobHandle

    Attributes = dict[str, str | int]

__all__ = ["Tracing"]

_SCOPE = "jobqueue"
_DEFAULT = "(default)"  # the destination of jobs that name no handler
_PARENT = "traceparent"
_SENDING = contexts.create_key("jobqueue-sending")
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
        span = self._tracer.start_span(
            f"send {job.handler or _DEFAULT}",
            around,
            SpanKind.PRODUCER,
            _attributes("send", job),
        )
        within = contexts.set_value(_SENDING, (span, around), around)
        with _Lasting(span, within, self._sent, "send", job):
            return call_next(self._with_context(job))

    def _with_context(self, job: Job) -> Job:
        """The job, with the present context in its headers, as far as there is room for it."""
        if _PARENT in job.headers:  # of whoever has made the message: it stays
            return job
        context: dict[str, str] = {}
        self._trace_context.inject(context)
        bare = dict(context)
        self._baggage.inject(context)
        if not context:  # nothing is recorded here
            return job
        try:
            return job.with_headers({**job.headers, **context})
        except ValueError:  # the baggage makes them too large, or is no text for a header
            pass
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
        job, around, links = context.job, Context(), []
        if _PARENT in job.headers:
            sender = self._trace_context.extract(job.headers, around)
            sent_in = trace.get_current_span(sender).get_span_context()
            if sent_in.is_valid:
                links.append(Link(sent_in))
        if "baggage" in job.headers:
            around = self._baggage.extract(job.headers, around)
        attributes = _attributes("process", job)
        attributes["jobqueue.job.attempt"] = context.attempt
        span = self._tracer.start_span(
            f"process {job.handler or _DEFAULT}", around, SpanKind.CONSUMER, attributes, links
        )
        return _Lasting(span, around, self._processed, "process", job)


def _callers_context() -> Context:
    """The context that a job is sent from.

    The jobs of `enqueue_many` come one within the other, and yet are all the caller's.
    """
    match contexts.get_value(_SENDING):
        case (span, Context() as around) if span is trace.get_current_span():
            return around
        case _:
            return contexts.get_current()


def _attributes(operation: str, job: Job) -> Attributes:
    return {
        "messaging.system": "jobqueue",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": job.handler or _DEFAULT,
        "messaging.message.id": job.id,
        "jobqueue.job.priority": job.priority.name.lower(),
    }


class _Lasting:
    """A span that is the present one while this is entered, and ends then.

    It has the error that comes out, if one does; also one that is no `Exception`: a handler that
    raises `SystemExit` has failed, too.
    """

    __slots__ = ("_began", "_context", "_durations", "_job", "_operation", "_span", "_token")

    def __init__(
        self, span: Span, context: Context, durations: Histogram, operation: str, job: Job
    ) -> None:
        self._span = span
        self._context = context
        self._durations = durations
        self._operation = operation
        self._job = job

    def __enter__(self) -> None:
        self._token = contexts.attach(trace.set_span_in_context(self._span, self._context))
        self._began = perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        seconds = perf_counter() - self._began
        told = {
            "messaging.system": "jobqueue",
            "messaging.operation.name": self._operation,
            "messaging.operation.type": self._operation,
            "messaging.destination.name": self._job.handler or _DEFAULT,
        }
        if error is not None:
            told["error.type"] = self._note(error)
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
