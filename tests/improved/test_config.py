from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest

from jobqueue.improved import Config


def test_the_defaults_are_those_documented() -> None:
    assert dataclasses.asdict(Config()) == {
        "num_workers": 4,
        "queue_size": 1000,
        "max_retries": 3,
        "base_delay": 1.0,
        "shutdown_timeout": 30.0,
    }


COUNTS = [-1, 1.0, "4", None, True, math.nan]
SECONDS = [-0.001, "1", None, True, math.inf, math.nan, 10**400]
BAD = [
    *(("num_workers", value) for value in [0, *COUNTS]),
    *(("queue_size", value) for value in [0, *COUNTS]),
    *(("max_retries", value) for value in COUNTS),
    *(("base_delay", value) for value in SECONDS),
    *(("shutdown_timeout", value) for value in SECONDS),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused_by_its_field_and_value(field: str, value: Any) -> None:
    with pytest.raises(ValueError) as raised:
        Config(**{field: value})

    assert str(raised.value).startswith(f"{field} must be ")
    assert str(raised.value).endswith(f", not {value!r}")


@pytest.mark.parametrize(
    "least",
    [
        {"num_workers": 1},
        {"queue_size": 1},
        {"max_retries": 0},
        {"base_delay": 0},
        {"shutdown_timeout": 0},
    ],
)
def test_the_least_value_is_accepted(least: dict[str, Any]) -> None:
    ((field, value),) = least.items()
    assert getattr(Config(**least), field) == value


def test_a_config_cannot_be_changed() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.num_workers = 8  # type: ignore[misc] # that it is frozen is the test
