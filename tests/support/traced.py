"""What a worker process needs to trace: a provider that writes each span into a file."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from jobqueue.telemetry.opentelemetry import Tracing

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = "JOBQUEUE_TEST_SPANS"
"""The environment variable that names the file."""


class ToFile(SpanExporter):
    """Appends each span to a file, which all processes share."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(os.environ[FILE], "a") as file:
            for span in spans:
                print(json.dumps(json.loads(span.to_json())), file=file, flush=True)
        return SpanExportResult.SUCCESS


def tracing() -> Tracing:
    """Called in each process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(ToFile()))
    return Tracing(provider)


def seen(payload: bytes) -> object:
    """A handler: the process, the present span's id, and the baggage."""
    span = trace.get_current_span().get_span_context()
    return os.getpid(), f"{span.span_id:016x}", dict(baggage.get_all())
