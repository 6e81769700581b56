"""A thread that runs attempts goes on after exceptions that other threads raise in it."""

from __future__ import annotations

import inspect
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from jobqueue.final.core.turns import live
from tests.support import insides

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

pytestmark = pytest.mark.usefixtures("no_tracer")


class LateError(BaseException):
    """Meant for a handler that has ended."""


class RecordedTurn:
    def __init__(self) -> None:
        self.recovered: list[str] = []

    def recover(self, error: BaseException) -> bool:
        self.recovered.append(str(error))
        return True


@contextmanager
def hit_as_it_begins_to_recover() -> Iterator[None]:
    """A second exception comes when the first was caught, and nothing was done about it yet."""
    working = insides.working_on_turns()
    lines, begin = inspect.getsourcelines(working)
    caught = next(begin + n for n, line in enumerate(lines) if "error = caught" in line)
    is_hit = False

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal is_hit
        if (event, frame.f_lineno, is_hit) == ("line", caught, False):
            is_hit = True
            raise LateError("second")
        return trace

    sys.settrace(lambda frame, *_: trace if frame.f_code is working.__code__ else None)
    try:
        yield
    finally:
        sys.settrace(None)


def test_a_thread_that_is_hit_again_before_it_has_recovered_recovers() -> None:
    """Else the job that it has begun would be in PROCESSING for ever."""
    turn: Any = RecordedTurn()
    died: list[BaseException] = []
    coming = iter([LateError("first"), None])

    def work() -> None:
        error = next(coming)
        if error is not None:
            raise error

    with hit_as_it_begins_to_recover():
        live(turn, work, died.append)

    assert (turn.recovered, died, next(coming, "all")) == (["second"], [], "all")
