"""Whose turn it is, and which attempts end together."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
from jobqueue.final import Priority
from jobqueue.postgres import lanes
from jobqueue.postgres.lanes import Slots, Tokens
from tests.support.waiting import PATIENCE


@pytest.mark.parametrize("slots", [4, 16])
def test_a_lane_is_asked_for_only_if_its_tokens_do_not_suffice_for_all_slots(slots: int) -> None:
    tokens = Tokens(fairness=10)

    assert tokens.short_of(slots) == []

    tokens.looked(None, [Priority.MEDIUM] * 7)
    assert tokens.short_of(slots) == [Priority.LOW]

    tokens.looked(Priority.LOW, ())  # nobody waits there
    assert tokens.short_of(slots) == []


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for others waits for as long as they take."""
    monkeypatch.setattr(lanes, "TOGETHER_SECONDS", 2 * PATIENCE)


async def _goes_on(task: asyncio.Task[None]) -> bool:
    """Whether it still waits after all that could be done was done."""
    for _ in range(5):
        await asyncio.sleep(0)
    return not task.done()


@pytest.mark.usefixtures("patient")
def test_what_began_together_is_waited_for_until_the_last_has_ended() -> None:
    async def run() -> None:
        slots = Slots(2)
        slots.begin([1, 2])
        waits = asyncio.create_task(slots.together())

        slots.leave(1)
        assert await _goes_on(waits)

        slots.leave(2)
        await asyncio.wait_for(waits, PATIENCE)

    asyncio.run(run())


def test_an_attempt_that_takes_longer_is_not_waited_for() -> None:
    async def run() -> None:
        slots = Slots(2)
        slots.begin([1, 2])
        slots.leave(1)

        await asyncio.wait_for(slots.together(), PATIENCE)

        assert slots.busy == 1

    asyncio.run(run())


@pytest.mark.usefixtures("patient")
def test_who_began_before_is_not_waited_for() -> None:
    async def run() -> None:
        slots = Slots(3)
        slots.begin([1, 2])
        slots.begin([3])

        slots.leave(3)

        await asyncio.wait_for(slots.together(), PATIENCE)

    asyncio.run(run())
