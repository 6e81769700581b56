"""What type checkers know of tasks: `make types` has mypy and pyright check this; nothing runs.

`assert_type` fails if a checker infers another type. Where an error is wanted, the comment that
ignores it is an error itself if there is none.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import assert_type

from jobqueue import (
    CONTEXT,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    Tasks,
    as_completed,
    gather,
)

tasks = Tasks()


@tasks.task
def thumbnail(path: str, width: int = 200) -> str:
    return f"{path}@{width}"


@tasks.task(name="mail.send", max_retries=5)
def send(to: str, *, subject: str) -> bool:
    return bool(to and subject)


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


def plain(jq: JobQueue) -> None:
    assert_type(jq.enqueue(Job(b"x")).result(), object)


def errors() -> None:
    thumbnail.enqueue(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    thumbnail.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    thumbnail.enqueue("a", height=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    send.enqueue("ann", "hello")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    with_context.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    thumbnail.using(priority="high")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
