"""The settings that all tiers share."""

from __future__ import annotations

import math
from typing import Any

import pytest

from tests.contract.tiers import Tier

COUNTS = [-1, 1.5, "4", None, True]
SECONDS = [-0.001, "1", None, math.inf, math.nan]
BAD = [
    *(("num_workers", value) for value in [0, *COUNTS]),
    *(("queue_size", value) for value in [0, *COUNTS]),
    *(("max_retries", value) for value in COUNTS),
    *(("base_delay", value) for value in SECONDS),
    *(("shutdown_timeout", value) for value in SECONDS),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_value_is_refused_with_field_and_value(tier: Tier, field: str, value: Any) -> None:
    if (field, value) in tier.differs:
        assert getattr(tier.config(**{field: value}), field) == value
        return
    with pytest.raises(ValueError) as raised:
        tier.config(**{field: value})

    assert str(raised.value).startswith(f"{field} must be ")
    assert str(raised.value).endswith(f"not {value!r}")


@pytest.mark.parametrize(
    ("field", "default"),
    [
        ("num_workers", 4),
        ("queue_size", 1000),
        ("max_retries", 3),
        ("base_delay", 1.0),
        ("shutdown_timeout", 30.0),
    ],
)
def test_the_default_is_the_documented_one(tier: Tier, field: str, default: float) -> None:
    others = {field: own for (field, _), own in tier.differs.items()}
    assert getattr(tier.config(), field) == others.get(field, default)


def test_a_config_cannot_be_changed(tier: Tier) -> None:
    config = tier.config()
    with pytest.raises(AttributeError):
        config.num_workers = 8
