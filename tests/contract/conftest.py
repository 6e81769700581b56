from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.tiers import Final, Improved, Postgres, Shared, Tier


@pytest.fixture(params=[Improved, Final, Shared, Postgres])
def tier(request: pytest.FixtureRequest) -> Iterator[Tier]:
    tier: Tier = request.param()
    if isinstance(tier, Postgres):
        tier.server = request.getfixturevalue("databases")
    yield tier
    tier.close()
