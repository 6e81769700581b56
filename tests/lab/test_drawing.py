from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab import Data, drawing


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.25, "0.25"), (3.0, "3"), (3.14159, "3.1"), (20000, "20,000")]
)
def test_numbers_are_written_for_people(value: float, text: str) -> None:
    assert drawing.number(value) == text


@pytest.mark.slow
def test_the_same_data_give_the_same_picture(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name in ("a.svg", "b.svg"):
        drawing.save(_draw, {"values": [1, 10, 100]}, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


def _draw(data: Data, figure: Any) -> None:
    axes = figure.subplots()
    axes.plot(data["values"], color=drawing.BLUE)
    drawing.plain(axes.xaxis, " s")
    drawing.logarithmic(axes.yaxis)
    drawing.title(figure, "A finding that is so long that it does not fit into a line " * 2, "how")


@pytest.mark.slow
def test_names_of_lines_that_end_together_are_moved_apart(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    places: list[float] = []

    def draw(_data: Data, figure: Any) -> None:
        axes = figure.subplots()
        axes.set_ylim(0, 100)
        ends = [
            (1.0, 50.0, "one", drawing.INK),
            (1.0, 50.0, "two", drawing.INK),
            (1.0, 90.0, "three", drawing.INK),
        ]
        drawing.label_ends(axes, ends)
        places.extend(text.xyann[1] for text in axes.texts)

    drawing.save(draw, {}, tmp_path / "a.svg")
    assert places[1] - places[0] >= 12
    assert places[2] == pytest.approx(places[0])
