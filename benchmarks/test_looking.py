"""What is measured of looks and bulk changes is measured, in small, so that it does not rot."""

from __future__ import annotations

import pytest

from benchmarks import looking


@pytest.mark.slow
def test_each_call_is_measured() -> None:
    assert len(looking.measure(1000, 100)) == len(looking.CALLS)
