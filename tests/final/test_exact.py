"""Values that are almost right: of subclasses, of other number types, too large, not finite."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NoReturn

import pytest

from jobqueue.final import (
    Backoff,
    Config,
    ConfigError,
    Job,
    JobContext,
    Priority,
    RetryJobError,
    Status,
)
from jobqueue.final.exact import (
    SECONDS_MAX,
    check_seconds,
    exact_bytes,
    exact_str,
    real_number,
    whole_number,
)
from jobqueue.final.testing import ManualClock
from tests.support.queues import Store, every_log, until
from tests.support.waiting import PATIENCE

FOR_EVER = (
    sys.maxsize,
    1e12,
    1e300,
    10**400,
    Fraction(10**400),
    threading.TIMEOUT_MAX * 2,
    timedelta.max,
)
TOO_MANY_DIGITS = 10**5000


def _betray(*_args: object, **_named: object) -> NoReturn:
    raise AssertionError("a method of a user's class was called")


HOSTILE: dict[str, Any] = dict.fromkeys(
    ("__str__", "__repr__", "__len__", "__eq__", "__hash__", "__format__", "__iter__", "__bytes__"),
    _betray,
) | dict.fromkeys(
    ("__float__", "__int__", "__index__", "__lt__", "__le__", "__gt__", "__ge__", "__add__"),
    _betray,
)
HOSTILE["__bool__"] = _betray

Text = type("Text", (str,), {})
HostileText = type("HostileText", (str,), HOSTILE | {"encode": _betray, "isascii": _betray})
HostileBytes = type("HostileBytes", (bytes,), HOSTILE | {"decode": _betray})
HostileInt = type("HostileInt", (int,), HOSTILE)
HostileFloat = type("HostileFloat", (float,), HOSTILE)


# ── conversions ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("convert", "value", "kind", "wanted"),
    [
        (exact_str, HostileText("a"), str, "a"),
        (exact_bytes, HostileBytes(b"a"), bytes, b"a"),
        (whole_number, HostileInt(7), int, 7),
        (whole_number, Priority.LOW, int, 2),
        (real_number, HostileFloat(1.5), float, 1.5),
        (real_number, HostileInt(3), float, 3.0),
        (real_number, Fraction(1, 4), float, 0.25),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_of_a_subclass_becomes_exact_and_none_of_its_methods_is_called(
    convert: Callable[[Any], object], value: object, kind: type, wanted: object
) -> None:
    converted = convert(value)
    assert type(converted) is kind
    assert converted == wanted


@pytest.mark.parametrize(
    "value", ["a" * 300, b"b" * 300, 10**30, 1.5], ids=lambda v: type(v).__name__
)
def test_what_is_exact_already_is_not_even_copied(value: Any) -> None:
    convert: dict[type, Callable[[Any], object]] = {
        str: exact_str,
        bytes: exact_bytes,
        int: whole_number,
        float: real_number,
    }
    assert convert[type(value)](value) is value


@pytest.mark.parametrize("value", [True, "1", b"1", None, 1.5, Decimal(1), Fraction(2, 1)])
def test_what_is_no_whole_number_is_told(value: object) -> None:
    assert whole_number(value) is None


@pytest.mark.parametrize("value", [True, "1", None, Decimal(1), 1j])
def test_what_is_no_number_is_told(value: object) -> None:
    assert real_number(value) is None
    with pytest.raises(TypeError, match="delay must be a number of seconds"):
        check_seconds("delay", value)


def test_times_may_be_timedeltas() -> None:
    assert check_seconds("delay", timedelta(minutes=2, milliseconds=5)) == 120.005
    with pytest.raises(ValueError, match="delay must be a finite number of seconds >= 0"):
        check_seconds("delay", timedelta(seconds=-1))


@pytest.mark.parametrize("value", FOR_EVER, ids=lambda v: f"{v}"[:9])
def test_a_time_that_no_thread_can_wait_is_the_longest_that_one_can(value: Any) -> None:
    assert check_seconds("delay", value) == SECONDS_MAX == threading.TIMEOUT_MAX


@pytest.mark.parametrize("kind", [float, HostileFloat], ids=["exact", "subclass"])
@pytest.mark.parametrize("text", ["nan", "inf"])
def test_what_is_not_finite_is_refused_by_name(kind: type[float], text: str) -> None:
    with pytest.raises(ValueError, match=f"delay must be a finite number .*not {text}"):
        check_seconds("delay", kind(text))


@pytest.mark.parametrize(
    "refused",
    [
        lambda: Job(max_retries=TOO_MANY_DIGITS),
        lambda: Job(priority=TOO_MANY_DIGITS),  # type: ignore[arg-type]  # what is tested
        lambda: Config(num_workers=-TOO_MANY_DIGITS),
        lambda: Config(jitter=Fraction(TOO_MANY_DIGITS)),  # type: ignore[arg-type]
        lambda: Config(max_payload_bytes=TOO_MANY_DIGITS, persist_path="log"),
        lambda: Backoff(jitter=TOO_MANY_DIGITS),
        lambda: check_seconds("delay", -TOO_MANY_DIGITS),
    ],
)
def test_a_number_that_cannot_be_shown_is_refused_by_name(refused: Callable[[], object]) -> None:
    with pytest.raises(ValueError, match=r"must be .*, not a value with too many digits"):
        refused()


# ── where values come in ─────────────────────────────────────────────────────────────────────


def test_a_job_holds_exact_values_only() -> None:
    job = Job(
        HostileBytes(b"payload"),
        id=HostileText("odd"),
        priority=HostileInt(2),
        handler=HostileText("mail"),
        max_retries=HostileInt(5),
        headers={Text("trace"): HostileText("7")},
    )
    values = [job.payload, job.id, job.handler, job.max_retries, *job.headers, job.headers["trace"]]
    assert [type(value) for value in values] == [bytes, str, str, int, str, str]
    assert values == [b"payload", "odd", "mail", 5, "trace", "7"]
    assert job.priority is Priority.LOW
    assert type(job.with_handler(HostileText("other")).handler) is str


def test_headers_whose_keys_differ_only_in_their_type_are_refused() -> None:
    class Key(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            return self is other

        def __hash__(self) -> int:
            return 1

    with pytest.raises(ValueError, match="'a' twice"):
        Job(headers={"a": "1", Key("a"): "2"})


def test_settings_are_exact_values_only() -> None:
    config = Config(
        num_workers=HostileInt(2),
        base_delay=HostileFloat(0.5),
        max_delay=timedelta(minutes=1),  # type: ignore[arg-type]  # checkers know floats only
        jitter=HostileInt(1),
        durability=HostileText("fsync"),
        persist_path=HostileText("jobs.db"),
    )
    values = (
        config.num_workers,
        config.base_delay,
        config.max_delay,
        config.jitter,
        config.durability,
        config.persist_path,
    )
    assert [type(value) for value in values] == [int, float, float, float, str, str]
    assert values == (2, 0.5, 60.0, 1.0, "fsync", "jobs.db")


class _BytesPath:
    def __fspath__(self) -> bytes:
        return b"jobs.db"


@pytest.mark.parametrize("path", [Text(""), _BytesPath()], ids=["empty", "bytes"])
def test_a_path_that_is_no_text_is_refused_by_name(path: Any) -> None:
    with pytest.raises(ConfigError, match="persist_path"):
        Config(persist_path=path)


@pytest.mark.parametrize("value", FOR_EVER, ids=lambda v: f"{v}"[:9])
@pytest.mark.parametrize(
    "field", ["base_delay", "max_delay", "fsync_interval", "shutdown_timeout", "job_timeout"]
)
def test_a_setting_of_for_ever_is_the_longest_time_that_there_is(field: str, value: Any) -> None:
    settings: dict[str, Any] = {field: value}
    assert getattr(Config(**settings), field) == SECONDS_MAX


def test_ids_of_a_subclass_are_found(memory: Store) -> None:
    jq = memory.open(len)
    odd = HostileText("odd")
    jq.enqueue(Job(id="odd")).wait(PATIENCE)
    assert jq.status(odd) is jq.info(odd).status is jq.handle(odd).status is Status.COMPLETED
    assert jq.cancel(odd) is False
    for call in (jq.requeue, jq.discard):
        with pytest.raises(ValueError, match="only failed jobs"):
            call(odd)


@pytest.mark.parametrize("id", [7, b"odd", None, ["odd"]])
def test_an_id_that_is_no_text_is_refused(memory: Store, id: Any) -> None:
    jq = memory.open(len)
    for call in (jq.status, jq.info, jq.handle, jq.cancel, jq.requeue, jq.discard):
        with pytest.raises(TypeError, match="id is text"):
            call(id)


@every_log
def test_values_of_subclasses_are_found_at_the_next_start(log_store: Store) -> None:
    """Fault 50 of docs/reliability.md."""
    mail = HostileText("mail")
    jq = log_store.open(start=False, fsync_interval=HostileFloat(0.05))
    jq.register(HostileText("other"), len)
    for id in ("before", HostileText("odd"), "after"):
        jq.enqueue(
            Job(HostileBytes(b"\xff"), id=id, handler=mail, headers={Text("a"): Text("b")}),
            timeout=HostileFloat(PATIENCE),
        )
    jq.enqueue(Job(id="later", handler=mail), delay=HostileFloat(3600))
    jq.enqueue_many([Job(id=Text("many"), handler=mail)], timeout=HostileInt(PATIENCE))
    jq.close(HostileFloat(PATIENCE))

    again = log_store.open(handlers={"mail": bytes}, start=False)
    assert again.metrics().queued == 4
    assert again.metrics().scheduled == 1
    assert again.info("odd").headers == {"a": "b"}


@pytest.mark.parametrize(
    "asked", [HostileFloat(5.0), HostileInt(5), timedelta(seconds=5)], ids=["float", "int", "delta"]
)
def test_a_retry_after_a_delay_of_a_subclass_is_recorded(
    log_store: Store, clock: ManualClock, asked: Any
) -> None:
    def busy(_payload: bytes, context: JobContext) -> int:
        if context.attempt == 0:
            error = RetryJobError("busy", delay=1)
            error.delay = asked
            raise error
        return context.attempt

    jq = log_store.open(handlers={"busy": busy, "fine": len}, clock=clock)
    handle = until(jq.enqueue(Job(handler="busy")), Status.SCHEDULED)
    assert jq.enqueue(Job(b"x", handler="fine")).result(PATIENCE) == 1
    clock.advance(4.9)
    assert handle.status is Status.SCHEDULED
    clock.advance(timedelta(milliseconds=100))
    assert handle.result(PATIENCE) == 1


@pytest.mark.parametrize("delay", [0, 0.001])
def test_a_delay_is_asked_nothing(memory: Store, delay: float) -> None:
    """Fault 50 of docs/reliability.md."""
    handle = memory.open(len).enqueue(Job(b"x"), delay=HostileFloat(delay))
    assert handle.result(PATIENCE) == 1


@pytest.mark.parametrize("value", FOR_EVER, ids=lambda v: f"{v}"[:9])
def test_every_wait_may_be_for_ever(log_store: Store, value: Any) -> None:
    """Fault 52 of docs/reliability.md."""

    def naps(_payload: bytes, context: JobContext) -> bool:
        return context.wait(value)

    settings: Mapping[str, Any] = {
        "shutdown_timeout": value,
        "fsync_interval": value,
        "job_timeout": value,
    }
    jq = log_store.open(len, handlers={"naps": naps}, **settings)
    assert jq.enqueue(Job(b"x"), timeout=value).result(value) == 1
    assert jq.enqueue_many([Job(b"xy")], timeout=value)[0].wait(value) is Status.COMPLETED
    late = jq.enqueue(Job(), delay=value)
    assert late.status is Status.SCHEDULED
    assert late.cancel()
    nap = jq.enqueue(Job(handler="naps"))
    until(nap, Status.PROCESSING)
    nap.cancel()
    assert nap.result(value) is True
    assert jq.join(value)
    assert jq.close().remaining == jq.close(value).remaining == 0


def test_a_clock_goes_no_further_than_there_is_time() -> None:
    clock = ManualClock()
    for _ in range(3):
        clock.advance(1e300)
    assert clock.monotonic() <= 3 * SECONDS_MAX
