"""What the tests of crashes share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.records import Records


@pytest.fixture
def records() -> Iterator[Records]:
    with Records() as records:
        yield records
