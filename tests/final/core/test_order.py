"""The order of all jobs that are known: it grows with them, and shrinks with them."""

from __future__ import annotations

import sys

from jobqueue.final.core.order import BLOCK, Block, Order, Walk, WalkOn


def filled(count: int) -> tuple[Order, dict[str, Block]]:
    order = Order()
    return order, {str(n): order.add(str(n)) for n in range(count)}


def walked(order: Order, before: str | None = None, block: Block | None = None) -> list[str]:
    """All ids from there on, a few at a time."""
    walk, found = Walk(block or order.open, before), list[str]()
    while (some := walk.next(7)) is not None:
        found += some[1]
    return found


def test_ids_are_walked_through_newest_first() -> None:
    order, blocks = filled(3 * BLOCK)

    assert walked(order) == [str(n) for n in reversed(range(3 * BLOCK))]
    assert walked(order, "200", blocks["200"]) == [str(n) for n in reversed(range(200))]


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    order, blocks = filled(10 * BLOCK)
    for job_id, block in blocks.items():
        order.drop(block, job_id)
        order.drop(block, job_id)  # as if it had been broken off

    assert order.open.older is None
    assert walked(order) == []


def test_blocks_that_are_emptied_by_others_leave_the_chain_as_new_ones_are_begun() -> None:
    order, blocks = filled(40 * BLOCK)
    for job_id, block in blocks.items():
        if int(job_id) % (2 * BLOCK) and block is not order.open:
            block.ids.pop(job_id)
    for n in range(100 * BLOCK):
        order.add(f"new {n}")

    count, block_ = 0, order.oldest
    while block_ is not order.open:
        assert block_.ids
        assert len(block_.ids) == BLOCK or sys.getsizeof(block_.ids) < 2000
        count += 1
        assert block_.newer is not None
        block_ = block_.newer
    assert count <= 121


def test_a_few_that_stay_take_little_memory() -> None:
    order, blocks = filled(2 * BLOCK)
    full = sys.getsizeof(blocks["0"].ids)
    for n in range(1, BLOCK):
        order.drop(blocks[str(n)], str(n))

    assert sys.getsizeof(blocks["0"].ids) * 4 < full
    assert walked(order)[-1] == "0"


def test_a_walk_goes_on_although_the_block_that_it_stands_in_is_gone() -> None:
    order, blocks = filled(3 * BLOCK)
    walk = Walk(order.open)
    walk.next(1)
    for n in range(BLOCK, 3 * BLOCK):
        order.drop(blocks[str(n)], str(n))

    while (some := walk.next(BLOCK)) is not None:
        last = some[1]

    assert last[-1] == "0"


def test_a_walk_may_forget_what_it_has_looked_at() -> None:
    order, blocks = filled(3 * BLOCK)
    walk, found = WalkOn(order), list[str]()
    while (some := walk.next(7)) is not None:
        for job_id in some[1]:
            order.drop(blocks[job_id], job_id)
        found += some[1]

    assert found == [str(n) for n in range(3 * BLOCK)]
    assert order.oldest is order.open


def test_a_walk_from_the_oldest_on_does_not_run_after_what_comes() -> None:
    order, _ = filled(3 * BLOCK)
    walk, found, count = WalkOn(order), list[str](), 3 * BLOCK
    while (some := walk.next(7)) is not None:
        for _ in range(10):
            order.add(str(count))
            count += 1
        found += some[1]

    assert found == [str(n) for n in range(3 * BLOCK)]
