"""The order of all jobs that are known: it grows with them, and shrinks with them."""

from __future__ import annotations

from jobqueue.final.core.order import BLOCK, Block, Order, Walk, WalkOn


class Ids:
    """An order, and the ids that are known."""

    def __init__(self, count: int = 0) -> None:
        self.known: dict[str, None] = {}
        self.order = Order(self.known, {})
        self.add(*map(str, range(count)))

    def add(self, *ids: str) -> None:
        for each in ids:
            self.order.note(each)
            self.known[each] = None

    def forget(self, *ids: str) -> None:
        for each in ids:
            del self.known[each]

    def seen(self, some: tuple[Block, list[str]]) -> list[str]:
        """Those that are known."""
        block, ids = some
        return [each for each in ids if self.order.is_at(each, block)]

    def walked(self, walk: Walk) -> list[str]:
        """All that are known, a few at a time."""
        found = list[str]()
        while (some := walk.next(7)) is not None:
            found += self.seen(some)
        return found

    def before(self, job_id: str) -> list[str]:
        return self.walked(self.order.walk_before(job_id))

    def chain(self) -> list[Block]:
        """All blocks, the oldest first."""
        blocks = [self.order.oldest]
        while blocks[-1].newer is not None:
            blocks.append(blocks[-1].newer)
        return blocks


def numbers(*bounds: int) -> list[str]:
    return [str(n) for n in range(*bounds)]


def test_ids_are_walked_through_newest_first() -> None:
    ids = Ids(3 * BLOCK)

    assert ids.walked(Walk(ids.order.open)) == numbers(3 * BLOCK)[::-1]
    for n in (1, BLOCK, 3 * BLOCK - 1):
        assert ids.before(str(n)) == numbers(n)[::-1]


def test_an_id_that_is_used_again_is_at_its_last_place_alone() -> None:
    ids = Ids(2 * BLOCK)
    for each in ("1", "1", str(2 * BLOCK - 1)):  # of an older block, and of the open one
        ids.forget(each)
        ids.add(each)

    expected = [*numbers(2 * BLOCK - 1), "1", str(2 * BLOCK - 1)]
    expected.remove("1")
    assert ids.walked(WalkOn(ids.order)) == expected
    assert ids.walked(Walk(ids.order.open)) == expected[::-1]
    assert ids.before("1") == expected[-3::-1]


def test_blocks_of_what_is_forgotten_leave_the_chain_as_new_ones_are_begun() -> None:
    ids = Ids(40 * BLOCK)
    ids.forget(*(each for each in numbers(40 * BLOCK) if int(each) % (2 * BLOCK)))
    ids.add(*(f"new {n}" for n in range(50 * BLOCK)))

    chain = ids.chain()
    assert len(chain) == 20 + 50
    assert [len(block.ids) for block in chain[:20]] == [1] * 20
    ids.forget(*list(ids.known))
    ids.add(*(f"last {n}" for n in range(70 * BLOCK)))
    assert len(ids.chain()) == 70


def test_a_block_with_few_ids_left_forgets_the_others_whichever_they_are() -> None:
    for kept in range(0, BLOCK, 9):
        ids = Ids(2 * BLOCK)
        ids.forget(*(each for each in numbers(BLOCK) if int(each) != kept))
        ids.add(*(f"new {n}" for n in range(40 * BLOCK)))

        assert ids.chain()[0].ids == [str(kept)]
        assert ids.order._places.keys() == ids.known.keys()


def test_a_walk_goes_on_although_the_block_that_it_stands_in_is_gone() -> None:
    ids = Ids(3 * BLOCK)
    walk = Walk(ids.order.open)
    walk.next(1)
    ids.forget(*numbers(BLOCK, 3 * BLOCK))
    ids.add(*(f"new {n}" for n in range(9 * BLOCK)))
    assert len(ids.chain()) == 10

    assert ids.walked(walk) == numbers(BLOCK)[::-1]


def test_a_walk_may_forget_what_it_has_looked_at() -> None:
    ids = Ids(3 * BLOCK)
    walk, found = WalkOn(ids.order), list[str]()
    while (some := walk.next(7)) is not None:
        found += ids.seen(some)
        ids.forget(*some[1])

    assert found == numbers(3 * BLOCK)


def test_a_walk_from_the_oldest_on_does_not_run_after_what_comes() -> None:
    ids = Ids(3 * BLOCK)
    walk, found, count = WalkOn(ids.order), list[str](), 3 * BLOCK
    while (some := walk.next(7)) is not None:
        ids.add(*numbers(count, count + 10))
        count += 10
        found += ids.seen(some)

    assert found == numbers(3 * BLOCK)
