"""What the tests of crashes share."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

import pytest

from tests.support.records import Records

if TYPE_CHECKING:
    from _typeshed import TraceFunction


@pytest.fixture
def records() -> Iterator[Records]:
    with Records() as records:
        yield records


@pytest.fixture
def no_tracer() -> Iterator[None]:
    """Take the tracer, as that of a coverage run, off this thread and those that a test starts.

    It has locks of its own: a signal handler that meets one taken, by its own thread, waits for
    ever. And on CPython 3.11 a traced thread that enters a function while a signal waits for
    the main thread looks for what to do again and again: with a lock that the main thread waits
    for, neither gets on.
    """
    tracer, threads_tracer = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(cast("TraceFunction", None))
    yield
    sys.settrace(tracer)
    threading.settrace(cast("TraceFunction", threads_tracer))
