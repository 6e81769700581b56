from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import logging
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from jobqueue.final import Job, JobContext, JobHandle, Priority, Status, UnknownHandlerError
from jobqueue.final.testing import ManualClock
from tests.support.handlers import in_thread
from tests.support.process_handlers import return_generator
from tests.support.queues import Store, every_store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually_freed

# ── forms ────────────────────────────────────────────────────────────────────────────────────


class Methods:
    """Handlers that are methods; each tells what it got."""

    def plain(self, payload: bytes) -> tuple[object, ...]:
        return (payload,)

    def equipped(self, payload: bytes, context: JobContext) -> tuple[object, ...]:
        return payload, context.attempt

    @classmethod
    def of_the_class(cls, payload: bytes) -> tuple[object, ...]:
        return (payload,)

    @staticmethod
    def static(payload: bytes, ctx: JobContext) -> tuple[object, ...]:
        return payload, ctx.attempt


class Called:
    """A handler that is an object."""

    def __call__(self, payload: bytes, context: JobContext) -> tuple[object, ...]:
        return payload, context.attempt


def three(payload: bytes, context: JobContext, extra: str) -> tuple[object, ...]:
    return payload, context.attempt, extra


WITH_PAYLOAD: dict[str, Callable[..., object]] = {
    "one parameter": lambda payload: (payload,),
    "one parameter of any name": lambda data: (data,),
    "one parameter that is called context": lambda context: (context,),
    "positional-only": eval("lambda payload, /: (payload,)"),
    "a second one that has a default": lambda payload, extra="x": (payload,),
    "any number": lambda *args: args,
    "any number by name too": lambda payload, **kwargs: (payload, *kwargs),
    "keywords that have defaults": lambda payload, *, extra="x": (payload,),
    "bound method": Methods().plain,
    "class method": Methods.of_the_class,
    "partial": functools.partial(lambda extra, payload: (payload,), "x"),
}
WITH_CONTEXT: dict[str, Callable[..., object]] = {
    "two parameters": lambda payload, anything: (payload, anything.attempt),
    "positional-only": eval("lambda payload, anything, /: (payload, anything.attempt)"),
    "two and one with a default": lambda payload, ctx, extra=1: (payload, ctx.attempt),
    "one that is called context": lambda payload, context=None: (payload, context.attempt),
    "context by keyword only": lambda payload, *, context: (payload, context.attempt),
    "optional context by keyword": lambda payload, *, context=None: (payload, context.attempt),
    "context behind another": lambda payload, extra=1, context=None: (payload, context.attempt),
    "positional-only context": eval("lambda payload, context=None, /: (payload, context.attempt)"),
    "context behind any number": lambda *args, context: (*args, context.attempt),
    "bound method": Methods().equipped,
    "static method": Methods.static,
    "object": Called(),
    "partial": functools.partial(three, extra="x"),
}
WRONG: dict[str, Callable[..., object]] = {
    "none": lambda: None,
    "three": three,
    "a keyword that is required": lambda payload, *, key: None,
    "context and a keyword that is required": lambda payload, *, context, key: None,
    "two and a keyword that is required": lambda payload, context, *, key: None,
    "context by name but three others": lambda a, b, c, context=None: None,
    "only keywords": lambda **kwargs: None,
    "only a keyword context": lambda *, context: None,
    "context far off and positional-only": eval("lambda payload, extra=1, context=None, /: None"),
}


@pytest.mark.parametrize("form", WITH_PAYLOAD)
def test_handler_of_one_parameter_gets_the_payload(memory: Store, form: str) -> None:
    jq = memory.open(WITH_PAYLOAD[form])
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == (b"abc",)


@pytest.mark.parametrize("form", WITH_CONTEXT)
def test_handler_of_two_or_of_one_named_context_gets_the_context(memory: Store, form: str) -> None:
    jq = memory.open(WITH_CONTEXT[form])
    result = jq.enqueue(Job(b"abc")).result(PATIENCE)
    assert result in {(b"abc", 0), (b"abc", 0, "x")}


def test_handler_whose_signature_cannot_be_read_gets_the_payload(memory: Store) -> None:
    with pytest.raises(ValueError, match="signature"):
        inspect.signature(max)
    jq = memory.open(max)
    assert jq.enqueue(Job(b"abc")).result(PATIENCE) == ord("c")


@pytest.mark.parametrize("form", WRONG)
def test_handler_of_any_other_form_is_refused_at_registration(memory: Store, form: str) -> None:
    jq = memory.open()
    with pytest.raises(TypeError, match=r"fn\(payload\) or fn\(payload, context\)"):
        jq.register("name", WRONG[form])
    with pytest.raises(UnknownHandlerError):
        jq.enqueue(Job())


@pytest.mark.parametrize("form", WRONG)
def test_handler_of_any_other_form_is_refused_by_the_constructor(memory: Store, form: str) -> None:
    with pytest.raises(TypeError):
        memory.open(WRONG[form])
    with pytest.raises(TypeError):
        memory.open(handlers={"name": WRONG[form]})
    with pytest.raises(TypeError):
        memory.open().enqueue_with_handler(Job(), WRONG[form])


# ── functions whose call does nothing ────────────────────────────────────────────────────────


async def fetch(payload: bytes) -> None:
    raise AssertionError("it is never run")


def steps(payload: bytes) -> Iterator[None]:
    raise AssertionError("it is never run")
    yield


async def astream(payload: bytes) -> AsyncIterator[None]:
    raise AssertionError("it is never run")
    yield


class Fetcher:
    async def __call__(self, payload: bytes) -> None:
        raise AssertionError("it is never run")

    async def fetch(self, payload: bytes) -> None:
        raise AssertionError("it is never run")

    def plain(self, payload: bytes) -> str:
        return "done"


@functools.wraps(fetch)
def traced(payload: bytes) -> object:
    return fetch(payload)


@contextlib.contextmanager
def managed(payload: bytes) -> Iterator[None]:
    raise AssertionError("it is never run")
    yield


class Counted:
    """A decorator that is a class, as those of many libraries are."""

    def __init__(self, function: Callable[..., object]) -> None:
        functools.update_wrapper(self, function)
        self.function = function

    def __call__(self, payload: bytes) -> object:
        return self.function(payload)


class Awaited(Counted):
    def __call__(self, payload: bytes) -> object:
        return asyncio.run(self.function(payload))  # type: ignore[arg-type]  # of a coroutine


UNDONE: dict[str, Callable[..., object]] = {
    "coroutine function": fetch,
    "generator function": steps,
    "async generator function": astream,
    "object": Fetcher(),
    "bound method": Fetcher().fetch,
    "partial": functools.partial(fetch),
    "partial of an object": functools.partial(functools.partial(Fetcher())),
    "decorated": traced,
    "context manager": managed,
    "cached": functools.lru_cache(fetch),
    "static method": staticmethod(steps),
    "decorated by an object": Counted(fetch),
}


@pytest.mark.parametrize("form", UNDONE)
def test_a_function_whose_call_does_nothing_is_refused(memory: Store, form: str) -> None:
    """Fault 66 of docs/reliability.md."""
    jq = memory.open()
    with pytest.raises(TypeError, match=r"is a (coroutine|generator) function"):
        jq.register("name", UNDONE[form])
    with pytest.raises(TypeError):
        memory.open(UNDONE[form])


def test_a_plain_function_around_a_coroutine_function_that_runs_it_is_right(
    memory: Store,
) -> None:
    async def answer(payload: bytes) -> str:
        return payload.decode()

    @functools.wraps(answer)
    def run(payload: bytes) -> str:
        return asyncio.run(answer(payload))

    for handler in (run, Awaited(answer)):
        assert memory.open(handler).enqueue(Job(b"abc")).result(PATIENCE) == "abc"


@pytest.mark.filterwarnings("error")  # a coroutine that was never awaited
@pytest.mark.parametrize("call", [fetch, steps, astream], ids=lambda call: call.__name__)
def test_a_handler_that_returns_what_would_do_the_work_has_failed(
    memory: Store, call: Callable[[bytes], object]
) -> None:
    """Fault 66 of docs/reliability.md."""
    jq = memory.open(lambda payload: call(payload + b"y"), max_retries=0)
    handle = jq.enqueue(Job(b"x"))
    with pytest.raises(TypeError, match=r"returned a \w+, so its work was not done"):
        handle.result(PATIENCE)
    gc.collect()


def test_a_handler_that_returns_any_other_awaitable_has_failed(memory: Store) -> None:
    class Later:
        def __await__(self) -> Iterator[None]:
            yield

    jq = memory.open(lambda payload: Later(), max_retries=0)
    with pytest.raises(TypeError, match="Later"):
        jq.enqueue(Job()).result(PATIENCE)


def test_a_handler_may_return_the_handle_of_another_job(memory: Store) -> None:
    jq = memory.open(handlers={"a": lambda payload: jq.enqueue(Job(handler="b")), "b": len})
    other = jq.enqueue(Job(handler="a")).result(PATIENCE)
    assert isinstance(other, JobHandle)
    assert other.result(PATIENCE) == 0


@pytest.mark.slow
def test_a_handler_in_a_process_that_returns_a_generator_has_failed(memory: Store) -> None:
    jq = memory.open(return_generator, executor="process", num_workers=1, max_retries=0)
    with pytest.raises(TypeError, match="returned a generator"):
        jq.enqueue(Job()).result(PATIENCE)


def test_a_method_in_the_body_of_a_class_is_refused_with_what_to_write(memory: Store) -> None:
    jq = memory.open()
    with pytest.raises(TypeError, match=r"Fetcher\(\)\.plain"):
        jq.register("name", Fetcher.plain)
    jq.register("name", Fetcher().plain)
    assert jq.enqueue(Job(handler="name")).result(PATIENCE) == "done"


def passes_on(function: Callable[..., object]) -> Callable[..., object]:
    @functools.wraps(function)
    def call(*args: object) -> object:
        return function(*args)

    return call


class Decorated:
    """Methods as decorators leave them."""

    @passes_on
    def traced(self, payload: bytes) -> bytes:
        return payload

    @functools.lru_cache  # noqa: B019  # it is what is tested
    def cached(self, payload: bytes) -> bytes:
        return payload

    def plain(self, payload: bytes) -> bytes:
        return payload


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (Decorated.traced, "traced"),
        (passes_on(Decorated.traced), "traced"),
        (Decorated.cached, "cached"),
        (functools.partial(Decorated.plain), "plain"),
        (functools.partial(Decorated.traced, extra=1), "traced"),
        (passes_on(functools.partial(Decorated.plain)), "plain"),
    ],
)
def test_a_method_within_something_else_is_refused_with_what_to_write(
    memory: Store, function: Callable[..., object], name: str
) -> None:
    with pytest.raises(TypeError, match=rf"method in a class.*Decorated\(\)\.{name}, or"):
        memory.open().register("name", function)


@pytest.mark.parametrize(
    "function",
    [
        Decorated().traced,
        passes_on(Decorated().plain),
        functools.partial(Decorated.traced, Decorated()),
        functools.partial(Decorated().traced),
        passes_on(functools.partial(Decorated.plain, Decorated())),
    ],
)
def test_a_method_that_has_its_object_is_right(
    memory: Store, function: Callable[..., object]
) -> None:
    assert memory.open(function).enqueue(Job(b"abc")).result(PATIENCE) == b"abc"


@pytest.mark.parametrize("what", ["send", 3, b"", ()])
def test_what_cannot_be_called_is_refused(memory: Store, what: Any) -> None:
    jq = memory.open()
    with pytest.raises(TypeError, match="callable"):
        jq.register("name", what)


# ── names ────────────────────────────────────────────────────────────────────────────────────


def test_jobs_go_to_the_handler_that_they_name(store: Store) -> None:
    jq = store.open(lambda p: "default", handlers={"a": lambda p: "a"})
    jq.register("b", lambda p: "b")

    @jq.handler("c")
    def handle(payload: bytes) -> str:
        return "c"

    jobs = [Job(), Job(handler="a"), Job(handler="b"), Job(handler="c")]
    handles = jq.enqueue_many(jobs)
    assert [handle.result(PATIENCE) for handle in handles] == ["default", "a", "b", "c"]
    assert handle(b"") == "c"  # the decorator gives the function back


def test_another_function_under_a_taken_name_is_refused_and_changes_nothing(memory: Store) -> None:
    jq = memory.open(handlers={"a": lambda p: "first"})
    with pytest.raises(ValueError, match="'a' is taken"):
        jq.register("a", lambda p: "second")
    assert jq.enqueue(Job(handler="a")).result(PATIENCE) == "first"


def test_same_function_may_be_registered_again(memory: Store) -> None:
    jq = memory.open(handlers={"a": len})
    jq.register("a", len)
    methods = Methods()
    jq.register("b", methods.plain)
    jq.register("b", methods.plain)
    assert jq.enqueue(Job(b"abc", handler="a")).result(PATIENCE) == 3


@pytest.mark.parametrize(("name", "error"), [("", ValueError), ("x" * 256, ValueError)])
def test_name_that_no_job_could_have_is_refused(
    memory: Store, name: str, error: type[Exception]
) -> None:
    with pytest.raises(error, match="handler name"):
        memory.open().register(name, len)
    with pytest.raises(error, match="handler name"):
        memory.open(handlers={name: len})


def test_name_that_is_no_text_is_refused(memory: Store) -> None:
    with pytest.raises(TypeError, match="handler name"):
        memory.open().register(None, len)  # type: ignore[arg-type]  # the mistake that is tested


def test_job_without_name_is_refused_where_there_is_no_default_handler(store: Store) -> None:
    jq = store.open(handlers={"a": len})
    with pytest.raises(UnknownHandlerError, match="no default handler") as caught:
        jq.enqueue(Job(id="x"))
    assert isinstance(caught.value, LookupError)
    assert jq.enqueue(Job(b"abc", id="x", handler="a")).result(PATIENCE) == 3  # its id is free


# ── handlers that come later ─────────────────────────────────────────────────────────────────


@every_store
def test_job_of_an_unregistered_handler_waits_as_queued_and_runs_once_it_is_there(
    store: Store,
) -> None:
    jq = store.open(len)
    waiting = [jq.enqueue(Job(b"abc", handler="late")) for _ in range(3)]
    assert jq.enqueue(Job(b"ab")).result(PATIENCE) == 2  # others pass it
    assert [handle.status for handle in waiting] == [Status.QUEUED] * 3
    jq.register("late", lambda payload: payload.upper())
    assert [handle.result(PATIENCE) for handle in waiting] == [b"ABC"] * 3


def test_missing_handlers_are_warned_of_once_each_by_name(store: Store, records: Records) -> None:
    jq = store.open(len)
    jq.enqueue(Job(handler="mail"))
    first = records.next()
    jq.enqueue(Job(handler="mail"))
    jq.enqueue_many([Job(handler="mail"), Job(handler="print")])
    second = records.next()
    assert first.levelno == second.levelno == logging.WARNING
    assert "mail" in first.getMessage()
    assert "print" in second.getMessage()
    assert records.rest() == []


def test_start_warns_once_of_all_handlers_that_the_log_needs(
    log_store: Store, records: Records
) -> None:
    jq = log_store.open(len, handlers={"mail": len, "print": len}, start=False)
    jq.enqueue_many([Job(), Job(handler="mail"), Job(handler="print"), Job(handler="mail")])
    jq.close()
    again = log_store.open()
    record = records.next()
    assert record.levelno == logging.WARNING
    assert all(name in record.getMessage() for name in ("mail", "print", "(default)"))
    assert records.rest() == []
    assert again.metrics().queued == 4


@every_store
def test_parked_job_can_be_cancelled_and_stays_so(store: Store) -> None:
    jq = store.open()
    first, second = (jq.enqueue(Job(handler="late")) for _ in range(2))
    assert first.cancel()
    jq.register("late", len)
    assert second.result(PATIENCE) == 0
    assert first.status is Status.CANCELLED


def test_parked_job_takes_no_place_in_its_lane_when_its_handler_comes_either(store: Store) -> None:
    jq = store.open(len, queue_size=1, start=False)
    parked = jq.enqueue(Job(handler="late"))
    jq.register("late", len)
    waiting = jq.enqueue(Job(), timeout=0)
    with pytest.raises(TimeoutError):
        jq.enqueue(Job(), timeout=0)
    jq.start()
    assert parked.wait(PATIENCE) is waiting.wait(PATIENCE) is Status.COMPLETED
    assert jq.enqueue(Job(), timeout=PATIENCE).result(PATIENCE) == 0


def test_join_does_not_wait_for_jobs_whose_handler_is_missing(store: Store) -> None:
    jq = store.open(len)
    jq.enqueue_many([Job(handler="late"), Job()])
    assert jq.join(PATIENCE)
    assert jq.metrics().queued == 1


def test_job_that_comes_due_waits_for_its_handler_too(store: Store) -> None:
    jq = store.open(len)
    handle = jq.enqueue(Job(handler="late"), delay=0.001)
    assert jq.join(PATIENCE)
    assert handle.status is Status.QUEUED
    jq.register("late", len)
    assert handle.result(PATIENCE) == 0


def test_oldest_wait_counts_jobs_that_wait_for_a_handler(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(clock=clock)
    jq.enqueue(Job(handler="late", priority=Priority.LOW))
    clock.advance(7)
    assert jq.metrics().by_priority[Priority.LOW].oldest_wait == 7
    jq.pause()
    jq.register("there", len)
    jq.enqueue(Job(handler="there", priority=Priority.LOW))
    jq.enqueue(Job(handler="later", priority=Priority.LOW))
    clock.advance(1)
    assert jq.metrics().by_priority[Priority.LOW].oldest_wait == 8  # the oldest of them all


# ── enqueue_with_handler ─────────────────────────────────────────────────────────────────────


def upper(payload: bytes) -> bytes:
    return payload.upper()


def lower(payload: bytes, context: JobContext) -> bytes:
    return context.job.payload.lower()


def test_in_memory_the_job_carries_the_function_itself(memory: Store) -> None:
    jq = memory.open()
    handles = [
        jq.enqueue_with_handler(Job(b"a"), lambda payload, n=n: payload * n) for n in range(3)
    ]
    assert [handle.result(PATIENCE) for handle in handles] == [b"", b"a", b"aa"]
    assert jq.enqueue_with_handler(Job(b"A"), lower).result(PATIENCE) == b"a"


def test_function_goes_before_the_handler_that_the_job_names(memory: Store) -> None:
    jq = memory.open(len, handlers={"a": len})
    assert jq.enqueue_with_handler(Job(b"x", handler="a"), upper).result(PATIENCE) == b"X"


def test_with_a_log_the_function_is_registered_by_module_and_name(log_store: Store) -> None:
    jq = log_store.open()
    handle = jq.enqueue_with_handler(Job(b"x"), upper)
    assert handle.result(PATIENCE) == b"X"
    assert jq.info(handle.id).handler == f"{__name__}.upper"
    again = jq.enqueue(Job(b"y", handler=f"{__name__}.upper"))
    assert again.result(PATIENCE) == b"Y"


def test_with_a_log_the_job_runs_after_a_restart_once_the_function_is_registered(
    log_store: Store,
) -> None:
    jq = log_store.open(start=False)
    id = jq.enqueue_with_handler(Job(b"x"), upper).id
    jq.close()
    again = log_store.open(handlers={f"{__name__}.upper": upper}, start=False)
    handle = again.handle(id)
    again.start()
    assert handle.result(PATIENCE) == b"X"


def local_function() -> Callable[..., object]:
    def handle(payload: bytes) -> None: ...

    return handle


@pytest.mark.parametrize(
    "function",
    [lambda payload: None, local_function(), functools.partial(upper), Called()],
    ids=["lambda", "local function", "partial", "object"],
)
def test_with_a_log_what_could_not_be_found_again_is_refused(
    log_store: Store, function: Callable[..., object]
) -> None:
    jq = log_store.open(len)
    with pytest.raises(ValueError, match="could not find"):
        jq.enqueue_with_handler(Job(id="x"), function)
    assert jq.enqueue(Job(id="x")).result(PATIENCE) == 0  # its id is free


def test_requeued_dead_letter_still_carries_its_function(memory: Store) -> None:
    jq = memory.open(max_retries=0)
    outcomes = iter([ConnectionError("down"), None])

    def flaky(payload: bytes) -> bytes:
        error = next(outcomes)
        if error is not None:
            raise error
        return payload

    handle = jq.enqueue_with_handler(Job(b"x"), flaky)
    assert handle.wait(PATIENCE) is Status.FAILED
    assert jq.requeue(handle.id).result(PATIENCE) == b"x"


def test_what_is_no_job_is_refused_with_a_handler_too(store: Store) -> None:
    jq = store.open()
    with pytest.raises(TypeError, match="only a Job"):
        jq.enqueue_with_handler("job", upper)  # type: ignore[arg-type]  # the mistake that is tested


def test_enqueue_with_handler_waits_for_room_no_longer_than_its_timeout(store: Store) -> None:
    jq = store.open(queue_size=1, start=False)
    jq.enqueue_with_handler(Job(), upper)
    with pytest.raises(TimeoutError):
        jq.enqueue_with_handler(Job(), upper, timeout=0)
    blocked = in_thread(jq.enqueue_with_handler, Job(b"x"), upper, timeout=PATIENCE)
    jq.start()
    assert blocked.result(PATIENCE).result(PATIENCE) == b"X"


def test_a_function_whose_code_was_replaced_is_looked_into_again(memory: Store) -> None:
    """As a notebook's automatic reload does it."""

    def before(payload: bytes) -> int:
        return len(payload)

    def after(payload: bytes, context: JobContext) -> tuple[int, int]:
        return len(payload), context.attempt

    with memory.open() as jq:
        assert jq.enqueue_with_handler(Job(b"abc"), before).result(PATIENCE) == 3
        before.__code__ = after.__code__
        assert jq.enqueue_with_handler(Job(b"abc"), before).result(PATIENCE) == (3, 0)


def test_what_is_found_of_a_function_goes_with_it(memory: Store) -> None:
    def local(payload: bytes, context: JobContext) -> int:
        return len(payload) + context.attempt

    function = weakref.ref(local)
    with memory.open(result_retention=0) as jq:
        for _ in range(2):
            assert jq.enqueue_with_handler(Job(b"abc"), local).result(PATIENCE) == 3

    del local, jq
    memory.queues.clear()
    assert eventually_freed(lambda: function() is None)
