"""What holds for every experiment."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lab import NAMES, drawing, load_experiment

if TYPE_CHECKING:
    from tests.lab.conftest import Measured

QUICK_SECONDS_MAX = 2.0
BUSY = 5.0
"""Times as long as on a quiet machine: what is measured beside other tests."""

each = pytest.mark.parametrize("name", NAMES)


@each
def test_it_asks_a_question(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    assert experiment.question.endswith("?")


@each
@pytest.mark.slow
def test_a_quick_run_is_quick(name: str, measured: Measured) -> None:
    assert measured(name)[1].seconds < QUICK_SECONDS_MAX * BUSY


@each
@pytest.mark.slow
def test_its_data_can_be_kept_as_json(name: str, measured: Measured) -> None:
    data = measured(name)[1].data
    assert json.loads(json.dumps(data)) == data
    assert all(math.isfinite(value) for value in _numbers(data))


def _numbers(data: object) -> Iterator[float]:
    match data:
        case dict():
            for value in data.values():
                yield from _numbers(value)
        case list():
            for value in data:
                yield from _numbers(value)
        case int() | float():
            yield data


@each
@pytest.mark.slow
def test_its_report_is_a_table_and_a_few_sentences(name: str, measured: Measured) -> None:
    experiment, record = measured(name)
    lines = experiment.report(record.data).splitlines()
    assert any(re.fullmatch(r"\|(---:?\|)+", line) for line in lines)
    prose = [line for line in lines if line and not line.startswith(("|", "#"))]
    assert prose
    assert all(len(line) <= 120 for line in prose)


@each
@pytest.mark.slow
def test_its_picture_can_be_drawn(name: str, measured: Measured, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    experiment, record = measured(name)
    drawing.save(experiment.draw, record.data, tmp_path / "picture.svg")
    assert "prefers-color-scheme:dark" in (tmp_path / "picture.svg").read_text()
