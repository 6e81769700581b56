from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.tiers import Final, Improved, Shared, Tier


@pytest.fixture(params=[Improved, Final, Shared])
def tier(request: pytest.FixtureRequest) -> Iterator[Tier]:
    tier: Tier = request.param()
    yield tier
    tier.close()
