"""How findings are written."""

from __future__ import annotations

import pytest

from lab.findings import CHARACTERS_MAX, bullets, milliseconds

LONG = "so many words " * 30


def test_no_line_is_too_long() -> None:
    assert max(map(len, bullets([LONG, LONG]).splitlines())) <= CHARACTERS_MAX


def test_each_finding_is_an_item_of_a_list() -> None:
    lines = bullets([LONG, "a", "b"]).splitlines()
    assert [line for line in lines if line.startswith("- ")] == [lines[0], "- a", "- b"]
    assert all(line.startswith("  ") for line in lines[1:-2])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(12.34, "12.3 s"), (1.0, "1.0 s"), (0.1234, "123 ms"), (0.00044, "0.4 ms"), (0.0, "0.0 ms")],
)
def test_times_are_in_the_unit_that_reads_best(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text
