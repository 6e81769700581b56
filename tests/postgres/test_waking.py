"""Of many idle processes one looks for a new job; the others do if it cannot take it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
from jobqueue.postgres import waking
from jobqueue.postgres.waking import HELP, LATE_SECONDS_MAX, NEW, Waking


class Process:
    """One process: counts its looks, and has as many free slots as it is told."""

    def __init__(self) -> None:
        self.looks = 0
        self.calls = 0
        self.listeners: dict[str, Callable[[str], object]] = {}
        self.core = SimpleNamespace(
            manager=SimpleNamespace(entrypoint_registry={"1:mail": None, "1:pack": None}),
            slots=SimpleNamespace(free=2),
            is_told=False,
            link=SimpleNamespace(add_listener=self._add),
            wake=self._wake,
            spawn_here=self._spawn,
        )
        self.waking = Waking(cast("Any", self.core))

    async def _add(self, channel: str, callback: Callable[[str], object]) -> None:
        self.listeners[channel] = callback

    def _wake(self) -> None:
        self.looks += 1

    def _spawn(self, work: Any) -> None:
        work.close()
        self.calls += 1

    async def tell(self, *names: str) -> None:
        """There are new jobs of these."""
        await self.waking.listen()
        self.listeners[NEW](json.dumps(names))

    def look(self, *found: str) -> None:
        """The look that was asked for finds jobs of these."""
        self.waking.looks()
        self.waking.looked(found)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The monotonic time that counts."""
    time = SimpleNamespace(now=100.0)
    monkeypatch.setattr(waking, "SystemClock", SimpleNamespace(monotonic=lambda: time.now))
    return time


def on_loop(story: Callable[[Process], Awaitable[None]]) -> None:
    async def run() -> None:
        await story(Process())

    asyncio.run(run())


def test_who_looked_in_vain_looks_later_and_who_found_something_at_once(
    clock: SimpleNamespace,
) -> None:
    async def story(process: Process) -> None:
        await process.tell("1:mail")
        assert process.looks == 1
        process.look()  # somebody else got it
        await process.tell("1:mail")
        assert process.looks == 1
        for _ in range(10):
            process.waking.look()
            process.look()
            await process.tell("1:mail")
        assert process.waking.delay("1:mail") == LATE_SECONDS_MAX
        process.look("1:mail")
        await process.tell("1:mail")
        assert process.looks == 12

    on_loop(story)


def test_it_is_late_for_that_handler_alone_and_deaf_to_those_it_has_not(
    clock: SimpleNamespace,
) -> None:
    async def story(process: Process) -> None:
        await process.tell("1:mail")
        process.look()
        await process.tell("1:pack")
        await process.tell("1:other")
        assert process.looks == 2

    on_loop(story)


def test_a_notice_of_a_job_that_was_found_already_makes_nobody_late(
    clock: SimpleNamespace,
) -> None:
    async def story(process: Process) -> None:
        process.look("1:mail")
        clock.now += 0.01
        await process.tell("1:mail")
        process.look()
        await process.tell("1:mail")
        assert process.looks == 2

    on_loop(story)


def test_who_is_full_calls_and_who_is_called_looks_at_once(clock: SimpleNamespace) -> None:
    async def story(process: Process) -> None:
        process.core.slots.free = 0
        process.look("1:mail")
        assert process.calls == 1
        await process.tell("1:mail")
        assert process.calls == 1  # a moment ago
        clock.now += 1.0
        await process.tell("1:mail")
        assert process.calls == 2
        process.listeners[HELP]("")
        assert process.looks == 0  # it has no slot itself
        process.core.slots.free = 1
        process.listeners[HELP]("")
        assert process.looks == 1

    on_loop(story)


def test_a_notice_that_comes_during_a_look_is_for_the_next_one(clock: SimpleNamespace) -> None:
    async def story(process: Process) -> None:
        process.waking.looks()
        await process.tell("1:mail")
        process.waking.looked(())
        assert process.waking.delay("1:mail") == 0

    on_loop(story)
