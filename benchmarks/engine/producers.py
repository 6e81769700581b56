"""What a producer process does on each of the driver's orders, with whatever queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Protocol, Self

from .notes import payload


class Producer(Protocol):
    """It enqueues; each method returns when all of it has been accepted."""

    def one_by_one(self, jobs: int) -> None:
        """Call after call, as fast as can be."""

    def bulk(self, jobs: int) -> None:
        """All in one call, or in what the queue has for that."""

    def paced(self, jobs: int, seconds: float) -> None:
        """Call after call, one each so many seconds."""

    def blocking(self) -> None:
        """One job that never ends."""


class Blocking:
    """A producer that is made of two calls of a library that blocks."""

    def __init__(
        self, send: Callable[[str], object], send_many: Callable[[Sequence[str]], object]
    ) -> None:
        self._send = send
        self._send_many = send_many

    def one_by_one(self, jobs: int) -> None:
        for _ in range(jobs):
            self._send(payload())

    def bulk(self, jobs: int) -> None:
        self._send_many([payload() for _ in range(jobs)])

    def paced(self, jobs: int, seconds: float) -> None:
        begin = time.monotonic()
        for number in range(jobs):
            time.sleep(max(0.0, begin + number * seconds - time.monotonic()))
            self._send(payload())

    def blocking(self) -> None:
        self._send(payload(block=True))


class Sender(Protocol):
    """The same two calls of a library for event loops."""

    def send(self, text: str, /) -> Awaitable[object]:
        """One job."""

    def send_many(self, texts: Sequence[str], /) -> Awaitable[object]:
        """Several."""


class OnALoop:
    """A producer whose calls are awaited: each order is carried out by one coroutine."""

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Sender]]) -> None:
        self._runner = asyncio.Runner()
        self._connect = connect

    def __enter__(self) -> Self:
        self._runner.__enter__()
        self._connection = self._connect()
        self._sender = self._runner.run(self._connection.__aenter__())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._runner.run(self._connection.__aexit__(kind, error, trace))
        self._runner.close()

    def one_by_one(self, jobs: int) -> None:
        async def run() -> None:
            for _ in range(jobs):
                await self._sender.send(payload())

        self._runner.run(run())

    def bulk(self, jobs: int) -> None:
        async def run() -> None:
            await self._sender.send_many([payload() for _ in range(jobs)])

        self._runner.run(run())

    def paced(self, jobs: int, seconds: float) -> None:
        async def run() -> None:
            begin = time.monotonic()
            for number in range(jobs):
                await asyncio.sleep(max(0.0, begin + number * seconds - time.monotonic()))
                await self._sender.send(payload())

        self._runner.run(run())

    def blocking(self) -> None:
        async def run() -> None:
            await self._sender.send(payload(block=True))

        self._runner.run(run())
