"""What the tests of crashes share."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.records import Records


@pytest.fixture
def records() -> Iterator[Records]:
    with Records() as records:
        yield records


@pytest.fixture
def no_tracer() -> Iterator[None]:
    """Take the main thread's tracer away, as that of a coverage run, while signals hit it.

    It has locks of its own: a handler that meets one taken, by its own thread, waits for ever.
    """
    tracer = sys.gettrace()
    sys.settrace(None)
    yield
    sys.settrace(tracer)
