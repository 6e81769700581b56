"""Where the traceback of a handler's error begins, whatever the handler and its error are like."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from types import FunctionType

import pytest

from jobqueue.final import Config, Job, JobContext, JobQueue, Status
from jobqueue.final.exact import check_seconds
from jobqueue.final.runtime.reporting import begun_in_handler
from tests.support.waiting import PATIENCE


def fails(payload: bytes) -> None:
    raise ValueError("boom")


def fails_with_context(payload: bytes, context: JobContext) -> None:
    raise ValueError("boom")


def waits_wrongly(payload: bytes, context: JobContext) -> None:
    context.wait(-1)


class OwnTracebackError(ValueError):
    """Has a `with_traceback` that works for nobody."""

    def with_traceback(self, _trace: object) -> OwnTracebackError:
        raise RuntimeError("not mine")


def raises_own(payload: bytes) -> None:
    raise OwnTracebackError("boom")


def in_module(name: object) -> Callable[[bytes], None]:
    """`fails`, in a module that is called so."""
    return FunctionType(fails.__code__, {"__name__": name, "ValueError": ValueError})


def frames(error: BaseException) -> list[str]:
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.parametrize("job_timeout", [None, 60.0])
@pytest.mark.parametrize(
    ("handler", "first"),
    [
        (fails, "fails"),
        (fails_with_context, "fails_with_context"),
        (waits_wrongly, "waits_wrongly"),
        (raises_own, "raises_own"),
        (in_module(None), "fails"),
        (in_module("jobqueue.finality"), "fails"),
    ],
)
def test_traceback_begins_in_the_handler_and_the_worker_lives_on(
    handler: Callable[..., object], first: str, job_timeout: float | None
) -> None:
    config = Config(num_workers=1, max_retries=0, job_timeout=job_timeout)
    with JobQueue(config) as jq:
        for _ in range(2):
            handle = jq.enqueue_with_handler(Job(), handler)
            assert handle.wait(PATIENCE) is Status.FAILED
            trace = jq.info(handle.id).last_traceback
            assert trace is not None
            assert f", in {first}\n" in "".join(trace.splitlines(keepends=True)[:2])


def test_frames_of_the_queue_that_the_handler_called_stay() -> None:
    def handler() -> None:
        check_seconds("seconds", -1)

    with pytest.raises(ValueError, match="seconds") as caught:
        handler()

    whole = frames(caught.value)
    assert begun_in_handler(caught.value) is caught.value
    assert frames(caught.value) == whole
    assert whole[-2:] == ["handler", "check_seconds"]


def test_error_that_never_got_to_a_handler_keeps_its_traceback() -> None:
    with pytest.raises(ValueError, match="seconds") as caught:
        check_seconds("seconds", -1)
    error = caught.value
    assert error.__traceback__ is not None
    own = error.__traceback__.tb_next
    error.__traceback__ = own

    assert begun_in_handler(error).__traceback__ is own


def test_error_that_was_never_raised_has_no_traceback() -> None:
    assert begun_in_handler(ValueError("boom")).__traceback__ is None
