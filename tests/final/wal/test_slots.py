from __future__ import annotations

import errno
import random
import sys
from pathlib import Path

import pytest

from jobqueue.final.wal.slots import (
    NOBODY,
    SLOTS_NAME,
    Interrupted,
    Slots,
    decode_slots,
    encode_slots,
    read_slots,
)
from tests.support.faulty_files import FaultyFiles

both_ways = pytest.mark.parametrize("maps", [False, True], ids=["written", "mapped"])


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


def made(files: FaultyFiles, tmp_path: Path, maps: bool, *, run: int = 7, count: int = 4) -> Slots:
    files.maps = maps
    return Slots(files, str(tmp_path), run, count)


def found(tmp_path: Path) -> Interrupted:
    return read_slots(FaultyFiles(), str(tmp_path))


@both_ways
def test_what_is_set_and_not_cleared_is_found(
    files: FaultyFiles, tmp_path: Path, maps: bool
) -> None:
    slots = made(files, tmp_path, maps)
    assert found(tmp_path) == Interrupted(7, frozenset())
    slots.set(0, 11)
    slots.set(3, 12)
    slots.set(2, 1)
    slots.clear(2)
    slots.set(0, 13)
    assert found(tmp_path) == Interrupted(7, frozenset({13, 12}))
    slots.clear_all()
    slots.close()
    assert found(tmp_path) == Interrupted(7, frozenset())


@both_ways
def test_any_number_that_a_log_holds_can_be_set(
    files: FaultyFiles, tmp_path: Path, maps: bool
) -> None:
    slots = made(files, tmp_path, maps)
    slots.set(0, (1 << 48) - 1)
    assert found(tmp_path).jobs == {(1 << 48) - 1}
    slots.set(1, 10**19 - 1)  # too large for its checksum: blames nobody, or a job that is not
    assert len(found(tmp_path).jobs) <= 2
    slots.clear_all()
    slots.close()


@both_ways
def test_an_attempt_that_follows_another_on_its_slot_is_one_store(
    files: FaultyFiles, tmp_path: Path, maps: bool
) -> None:
    slots = made(files, tmp_path, maps)
    files.calls.clear()
    slots.set(1, 5)
    slots.set(1, 6)
    assert files.calls == ([] if maps else ["write", "write"])
    slots.clear_all()
    slots.close()


def test_a_slot_that_could_not_be_stored_is_stored_with_the_next_one(
    files: FaultyFiles, tmp_path: Path
) -> None:
    slots = made(files, tmp_path, maps=False)
    slots.set(0, 11)
    files.fail("write", errno.ENOSPC, for_ever=True)
    slots.clear(0)
    slots.set(1, 12)
    assert found(tmp_path).jobs == {11}
    files.heal()
    slots.set(2, 13)
    assert found(tmp_path).jobs == {12, 13}
    slots.set(3, 14)
    assert found(tmp_path).jobs == {12, 13, 14}
    slots.clear_all()
    slots.close()


def test_a_part_of_a_store_is_made_up_for(files: FaultyFiles, tmp_path: Path) -> None:
    slots = made(files, tmp_path, maps=False)
    files.fail("write", errno.EIO, partial=3)
    slots.set(0, 300_000)
    files.heal()
    slots.clear(3)
    assert found(tmp_path) == Interrupted(7, frozenset({300_000}))
    slots.clear_all()
    slots.close()


@both_ways
def test_what_comes_after_the_end_is_stored_nowhere(
    files: FaultyFiles, tmp_path: Path, maps: bool
) -> None:
    slots = made(files, tmp_path, maps)
    slots.set(0, 11)
    slots.clear_all()
    slots.set(1, 12)
    slots.close()
    slots.close()
    slots.set(1, 12)
    assert found(tmp_path).jobs == frozenset()
    assert files.calls.count("close") == 1


@both_ways
@pytest.mark.parametrize("method", ["write", "sync", "map", "sync_directory"])
def test_slots_that_cannot_be_made_leave_those_of_the_last_run(
    files: FaultyFiles, tmp_path: Path, maps: bool, method: str
) -> None:
    (tmp_path / SLOTS_NAME).write_bytes(encode_slots(3, [1, 2]))
    files.fail("map_words" if method == "map" else method, errno.ENOSPC)
    if method == "map" and not maps:
        made(files, tmp_path, maps).close()
        return
    with pytest.raises(OSError, match="No space"):
        made(files, tmp_path, maps)
    assert files.calls.count("close") == 1
    if method != "sync_directory":
        assert found(tmp_path) == Interrupted(3, frozenset({1, 2}))


def test_with_no_inode_free_slots_take_the_place_of_those_of_the_last_run(
    files: FaultyFiles, tmp_path: Path
) -> None:
    (tmp_path / SLOTS_NAME).write_bytes(encode_slots(3, [1, 2]))
    files.fail("create", errno.ENOSPC)

    made(files, tmp_path, maps=True, run=7).close()

    assert found(tmp_path) == Interrupted(7, frozenset())


@pytest.mark.parametrize("map_log", [True, False])
def test_a_wish_decides_whether_slots_are_mapped(
    files: FaultyFiles, tmp_path: Path, map_log: bool
) -> None:
    files.maps = not map_log
    slots = Slots(files, str(tmp_path), 1, 2, map_log)
    files.calls.clear()
    slots.set(0, 1)
    assert (files.calls == []) == map_log
    slots.clear_all()
    slots.close()


# Damage


def test_without_a_file_there_is_nobody(tmp_path: Path) -> None:
    assert found(tmp_path) == NOBODY


def test_any_one_wrong_byte_is_noticed_and_blames_nobody_else() -> None:
    """Fault 30 of docs/reliability.md."""
    rng = random.Random(1)
    jobs = [rng.randrange(1, 1 << 40) for _ in range(3)]
    content = encode_slots(9, [*jobs, 0])
    for offset in range(len(content)):
        for wrong in {rng.randrange(256) for _ in range(20)} - {content[offset]}:
            data = bytearray(content)
            data[offset] = wrong
            left = decode_slots(bytes(data))
            assert left.damaged == 1, (offset, wrong)
            assert left.jobs <= set(jobs)
            assert left.run == (0 if offset < 8 else 9)
            assert len(left.jobs) == (0 if offset < 8 else 3 if offset >= 32 else 2)


@pytest.mark.parametrize("bits", range(1, 16))
def test_wrong_bits_in_a_row_are_noticed(bits: int) -> None:
    word = int.from_bytes(encode_slots(1, [123_456_789])[8:], sys.byteorder)
    for start in range(64 - bits):
        wrong = word ^ ((1 << bits) - 1) << start
        data = encode_slots(1, []) + wrong.to_bytes(8, sys.byteorder)
        assert decode_slots(data) == Interrupted(1, frozenset(), 1)


def test_a_file_of_nuls_names_nobody() -> None:
    assert decode_slots(bytes(72)) == NOBODY


def test_a_torn_end_is_passed_over() -> None:
    assert decode_slots(encode_slots(1, [2])[:13]) == Interrupted(1, frozenset())
    assert decode_slots(b"abc") == NOBODY


def test_the_words_of_an_older_version_are_damage() -> None:
    words = b"".join(n.to_bytes(8, sys.byteorder) for n in (1, 5))
    assert decode_slots(words) == Interrupted(0, frozenset(), 2)
