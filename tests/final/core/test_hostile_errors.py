"""What errors of users may do: hold much, grow, and answer every question with an error."""

from __future__ import annotations

import logging
import traceback
import weakref
from collections.abc import Callable
from threading import Event
from typing import Any, NoReturn

import pytest

from jobqueue.final import Job, JobHandle, RejectJobError, Status
from tests.support.queues import Store
from tests.support.waiting import PATIENCE, eventually_freed


class Held:
    """Something large, in a handler's frame."""


def frames(error: BaseException) -> list[str]:
    return [each.name for each in traceback.extract_tb(error.__traceback__)]


def test_the_traceback_does_not_grow_with_each_result(memory: Store) -> None:
    """Fault 67 of docs/reliability.md."""

    def fail(payload: bytes) -> NoReturn:
        raise ValueError("boom")

    handle = memory.open(fail, max_retries=0).enqueue(Job())
    seen = []
    for _ in range(50):
        with pytest.raises(ValueError, match="boom") as caught:
            handle.result(PATIENCE)
        seen.append(frames(caught.value))
    assert seen[0] == seen[-1]
    assert seen[0][-1] == "fail"


@pytest.mark.parametrize(
    "how", ["its own", "a closure's", "its cause's", "its context's", "a group's"]
)
def test_a_kept_handle_holds_nothing_of_the_frames_of_its_error(
    memory: Store, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 67 of docs/reliability.md."""
    monkeypatch.setattr(logging.getLogger("jobqueue"), "propagate", False)  # pytest keeps records
    held: list[weakref.ref[Held]] = []

    def deeper() -> NoReturn:
        local = Held()
        held.append(weakref.ref(local))
        if how == "a closure's":
            within(lambda: local)
        raise RejectJobError("no")

    def within(look: Callable[[], object]) -> NoReturn:
        def reject() -> NoReturn:
            raise RejectJobError(type(look()).__name__)

        reject()

    def fail(payload: bytes) -> None:
        if how in {"its own", "a closure's"}:
            deeper()
        try:
            deeper()
        except RejectJobError as error:
            if how == "a group's":
                raise ExceptionGroup("two", [error]) from None
            if how == "its cause's":
                raise RejectJobError("why") from error
            raise RejectJobError("then")  # noqa: B904  # the context is what is tested

    handle = memory.open(fail).enqueue(Job())
    assert handle.wait(PATIENCE) is Status.FAILED
    assert eventually_freed(lambda: held[0]() is None)
    with pytest.raises((RejectJobError, ExceptionGroup)):
        handle.result(PATIENCE)


def without_marks(text: str) -> list[str]:
    """The lines but for those that mark a part of the one above."""
    return [line for line in text.splitlines() if line.strip(" |~^")]


@pytest.mark.parametrize("how", ["alone", "with a cause", "in a group"])
def test_the_traceback_of_a_kept_error_prints_as_it_did(memory: Store, how: str) -> None:
    """Fault 67 of docs/reliability.md."""

    def divide(depth: int) -> int:
        return divide(depth - 1) if depth else 1 + 1 // depth

    def fail(payload: bytes) -> int:
        try:
            return divide(20)
        except ZeroDivisionError as error:
            if how == "with a cause":
                raise RejectJobError("why") from error
            if how == "in a group":
                raise ExceptionGroup("two", [error, KeyError("x")]) from None
            raise

    jq = memory.open(fail, max_retries=0)
    handle = jq.enqueue(Job())
    jq.close(PATIENCE)  # the worker has let go of what the frames held
    with pytest.raises((ArithmeticError, RejectJobError, ExceptionGroup)) as caught:
        handle.result()
    trace = caught.value.__traceback__
    for _ in range(frames(caught.value).index("fail")):  # those of the caller come first
        assert trace is not None
        trace = trace.tb_next
    printed = "".join(traceback.format_exception(caught.value.with_traceback(trace)))
    assert without_marks(printed) == without_marks(str(jq.info(handle.id).last_traceback))


def test_an_error_that_is_raised_before_it_is_told_keeps_the_frames_of_its_caller(
    memory: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised, told = Event(), Event()

    class Slow(logging.NullHandler):
        def handle(self, record: logging.LogRecord) -> bool:
            told.set()
            return raised.wait(PATIENCE)

    monkeypatch.setattr(logging.getLogger("jobqueue"), "handlers", [Slow()])

    def fail(payload: bytes) -> NoReturn:
        raise RejectJobError("no")

    def ask(handle: JobHandle) -> object:
        return handle.result(PATIENCE)

    jq = memory.open(fail)
    handle = jq.enqueue(Job())
    assert told.wait(PATIENCE)
    with pytest.raises(RejectJobError) as caught:
        ask(handle)
    raised.set()
    jq.close(PATIENCE)
    assert frames(caught.value)[1:] == ["ask", "result", "fail"]


class HostileMeta(type):
    """A metaclass that refuses all questions."""

    def __getattribute__(cls, name: str) -> Any:
        raise SystemExit(f"asked for {name}")

    def __instancecheck__(cls, instance: object) -> bool:
        raise SystemExit("asked whether")

    def __subclasscheck__(cls, other: type) -> bool:
        raise SystemExit("asked whether")


class HostileText(str):
    """Text that is no good for anything."""

    __slots__ = ()

    def __bool__(self) -> bool:
        raise SystemExit("asked for truth")

    def __format__(self, spec: str) -> str:
        raise SystemExit("asked for a format")


def hostile_errors() -> list[Any]:
    """Their classes; not in the module, which pytest asks about all that is in it."""

    class OfHostileClass(Exception, metaclass=HostileMeta):  # noqa: N818  # it is what it says
        pass

    class AllHostile(Exception):  # noqa: N818  # it is what it says
        def __getattribute__(self, name: str) -> Any:
            raise SystemExit(f"asked for {name}")

        def __setattr__(self, name: str, value: object) -> None:
            raise SystemExit(f"told {name}")

        def __str__(self) -> str:
            raise SystemExit("asked for text")

        def __repr__(self) -> str:
            raise SystemExit("asked for text")

        def with_traceback(self, trace: object) -> NoReturn:
            raise SystemExit("given a traceback")

    class OfHostileText(Exception):  # noqa: N818  # it is what it says
        def __str__(self) -> str:
            return HostileText("text")

    class HostileReject(RejectJobError):  # noqa: N818
        @property  # type: ignore[misc]  # as a proxy does it
        def __class__(self) -> Any:
            raise SystemExit("asked for its class")

    return [OfHostileClass, AllHostile, OfHostileText, HostileReject]


@pytest.mark.parametrize("number", range(4))
def test_a_hostile_error_is_a_failed_attempt_and_the_worker_lives_on(
    memory: Store, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 68 of docs/reliability.md."""
    logger = logging.getLogger("jobqueue")
    monkeypatch.setattr(logger, "propagate", False)  # pytest's handler asks the error, too
    monkeypatch.setattr(logger, "handlers", [logging.NullHandler()])

    hostile = hostile_errors()

    def fail(payload: bytes) -> int:
        if payload:
            raise hostile[number]
        return 7

    jq = memory.open(fail, num_workers=1, max_retries=1, base_delay=0)
    jq.register("a", fail, retry_on=(hostile[0], ValueError, hostile[number]))
    for name in (None, "a"):
        handle = jq.enqueue(Job(b"x", handler=name))
        assert handle.wait(PATIENCE) is Status.FAILED
        assert jq.info(handle.id).last_error is not None
        assert jq.enqueue(Job(handler=name)).result(PATIENCE) == 7
    assert jq.metrics().workers.count == 1
