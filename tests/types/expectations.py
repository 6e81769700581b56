"""What type checkers know of tasks: `make types` has mypy and pyright check this; nothing runs.

`assert_type` fails if a checker infers another type. Where an error is wanted, the comment that
ignores it is an error itself if there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta
from typing import Any, NoReturn, TypeVar, assert_type

from jobqueue import (
    CONTEXT,
    AsyncTask,
    Call,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    Limit,
    Rate,
    Task,
    Tasks,
    Unique,
    achain,
    agroup,
    as_completed,
    chain,
    gather,
    group,
)

tasks = Tasks()
T = TypeVar("T")


@tasks.task
def thumbnail(path: str, width: int = 200) -> str:
    return f"{path}@{width}"


@tasks.task(name="mail.send", max_retries=5)
def send(to: str, *, subject: str) -> bool:
    return bool(to and subject)


@tasks.task(unique=Unique(), limit=Limit(2), rate=Rate(9, per=1.0), expires=5, atomic=True)
def limited(path: str) -> str:
    return path


@tasks.task
async def fetch(url: str) -> bytes:
    return url.encode()


@tasks.task()
async def fetch_with_options(url: str) -> bytes:
    return url.encode()


@tasks.task
def with_context(context: JobContext, path: str) -> int:
    return context.attempt + len(path)


@tasks.task
async def with_context_awaited(context: JobContext, path: str) -> int:
    return context.attempt + len(path)


@tasks.task
def with_context_last(path: str, context: JobContext = CONTEXT) -> int:
    return context.attempt + len(path)


@tasks.periodic("0 4 * * *", tz="Europe/Berlin", catch_up="last", name="nightly", max_retries=5)
def nightly(day: str | None = None) -> int:
    return len(day or "")


@tasks.periodic(timedelta(minutes=5))
async def poll() -> bytes:
    return b""


@tasks.periodic("@hourly")
def hourly_with_context(context: JobContext) -> int:
    return context.attempt


# ── functions that would take a context too, or whose result passes for a coroutine ───────────────


@tasks.task
def with_object(value: object) -> int:
    return hash(value)


@tasks.task(name="with_object_and_options")
def with_object_and_options(value: object, width: int = 200) -> int:
    return hash(value) + width


@tasks.task
async def with_object_awaited(value: object) -> int:
    return hash(value)


@tasks.task
def with_any_number(*values: object) -> int:
    return len(values)


@tasks.task
def with_any(value: Any) -> int:
    return hash(value)


@tasks.task
def giving_any(path: str) -> Any:
    return path


@tasks.task
def giving_any_with_context(context: JobContext, path: str) -> Any:
    return context.attempt, path


@tasks.task
async def giving_any_awaited(path: str) -> Any:
    return path


@tasks.task
def giving_object(path: str) -> object:
    return path


@tasks.task
def giving_nothing(path: str) -> NoReturn:
    raise ValueError(path)


@tasks.task
def giving_nothing_for_nothing() -> NoReturn:
    raise ValueError


@tasks.task
def giving_nothing_with_context(context: JobContext, path: str) -> NoReturn:
    raise ValueError(context.attempt, path)


@tasks.task
def first_of(values: list[T]) -> T:
    return values[0]


@tasks.task
def same(value: T) -> T:
    return value


def wide_parameters() -> None:
    assert_type(with_object.enqueue(value=3), JobHandle[int])
    assert_type(with_object_and_options.enqueue("a", width=3), JobHandle[int])
    assert_type(with_object_awaited.enqueue(value=3), JobHandle[int])
    assert_type(with_any_number.enqueue(1, "a"), JobHandle[int])
    handle: JobHandle[int] = with_any.enqueue(value=3)
    del handle
    with_object.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with_object_awaited.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def wide_results() -> None:
    assert_type(giving_object.enqueue("a"), JobHandle[object])
    assert_type(giving_any_awaited.enqueue("a"), JobHandle[Any])
    task: Task[[str], Any] = giving_any
    with_context: Task[[str], Any] = giving_any_with_context
    awaited: AsyncTask[[str], Any] = giving_any_awaited
    nothing: Task[[str], NoReturn] = giving_nothing
    nothing_for_nothing: Task[[], NoReturn] = giving_nothing_for_nothing
    nothing_with_context: Task[[str], NoReturn] = giving_nothing_with_context
    del task, with_context, awaited, nothing, nothing_for_nothing, nothing_with_context


def generic() -> None:
    first: int = first_of.enqueue([1]).result()
    second: str = same.enqueue("a").result()
    del first, second


def calls() -> None:
    assert_type(thumbnail("cat.png"), str)
    assert_type(with_context("cat.png"), int)
    assert_type(thumbnail.enqueue("cat.png", width=3), JobHandle[str])
    assert_type(thumbnail.enqueue("cat.png").result(), str)
    assert_type(thumbnail.using(delay=3).enqueue("cat.png").result(timeout=1), str)
    assert_type(thumbnail.job("cat.png"), Job)
    assert_type(thumbnail.map(["a", "b"]), Generator[str, None, None])
    assert_type(send.enqueue("ann", subject="hello").result(), bool)
    assert_type(with_context.enqueue("cat.png").result(), int)
    assert_type(with_context_last.enqueue("cat.png").result(), int)
    assert_type(fetch.enqueue("https://example.org").result(), bytes)
    assert_type(gather([thumbnail.enqueue("a")]), list[str])
    assert_type(gather([thumbnail.enqueue("a")], return_exceptions=True), list[str | BaseException])
    for handle in as_completed([fetch.enqueue("a")]):
        assert_type(handle, JobHandle[bytes])


async def awaited() -> None:
    assert_type(await fetch("https://example.org"), bytes)
    assert_type(await fetch_with_options("https://example.org"), bytes)
    assert_type(await with_context_awaited("cat.png"), int)
    assert_type(await fetch.aenqueue("https://example.org"), JobHandle[bytes])
    assert_type(await (await fetch.aenqueue("https://example.org")), bytes)
    assert_type(await thumbnail.enqueue("cat.png"), str)
    assert_type(await with_context_awaited.enqueue("cat.png"), int)


def periodic(jq: JobQueue) -> None:
    assert_type(nightly("monday"), int)
    assert_type(nightly.enqueue(day="monday").result(), int)
    assert_type(hourly_with_context.enqueue().result(), int)
    polling: AsyncTask[[], bytes] = poll
    del polling
    jq.periodic("poll", timedelta(minutes=5), poll.job)
    for info in jq.periodics():
        assert_type(info.next, float | None)
    nightly.enqueue(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.periodic("@daily", catch_up="some")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    tasks.periodic("@daily", retries=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    jq.periodic("poll", 5, poll.job)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options(handle: JobHandle[int]) -> None:
    call = thumbnail.using(key="cat", unique=Unique(), after=[handle, "an id"], expires=5)
    assert_type(call.enqueue("cat.png"), JobHandle[str])
    thumbnail.using(unique=True)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    thumbnail.using(after=[3])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]
    assert_type(limited.using(key="cat").enqueue("cat.png"), JobHandle[str])


def together(paths: list[str]) -> None:
    call = thumbnail.using(key="cat").call("cat.png", width=3)
    assert_type(call, Call[str])
    assert_type(fetch.call("https://example.org"), Call[bytes])
    assert_type(chain(call, fetch.call("a")), tuple[JobHandle[str], JobHandle[bytes]])
    first, second, third = chain(call, with_object.call(3), fetch.call("a"))
    assert_type(first.result(), str)
    assert_type(second.result(), int)
    assert_type(third.result(), bytes)
    assert_type(chain(call, (call, call), call), tuple[JobHandle[Any], ...])
    assert_type(group(call, fetch.call("a")), tuple[JobHandle[str], JobHandle[bytes]])
    assert_type(group(thumbnail.call(path) for path in paths), tuple[JobHandle[str], ...])
    assert_type(gather(group([thumbnail.call(path) for path in paths])), list[str])
    thumbnail.call(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    chain(thumbnail, call)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def together_awaited() -> None:
    call = thumbnail.call("cat.png")
    first, second = await achain(call, fetch.call("a"))
    assert_type(await first, str)
    assert_type(await second, bytes)
    assert_type(await agroup(call, call), tuple[JobHandle[str], JobHandle[str]])


def shorten(path: str, *, context: JobContext = CONTEXT) -> str:
    return path if context.attempt else path[:1]


async def ask(context: JobContext, url: str) -> bytes:
    return url.encode() * context.attempt


def called_with_a_function() -> None:
    assert_type(tasks.task(shorten, name="short", expires=5).enqueue("a"), JobHandle[str])
    assert_type(tasks.task(fn=shorten).enqueue("a"), JobHandle[str])
    assert_type(tasks.task(ask, name="ask", timeout=3.0).enqueue("a"), JobHandle[bytes])
    tasks.task(ask, name="ask").enqueue(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def plain(jq: JobQueue) -> None:
    assert_type(jq.enqueue(Job(b"x")).result(), object)


def errors() -> None:
    thumbnail.enqueue(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    thumbnail.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    thumbnail.enqueue("a", height=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.enqueue("ann", "hello")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with_context.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    thumbnail.using(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
