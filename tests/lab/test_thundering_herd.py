"""The experiment that has a service come back. Its time is moved by hand, so it is exact."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace

import pytest

from jobqueue.final.testing import ManualClock
from lab import thundering_herd as herd
from lab.thundering_herd import DOWN_SECONDS, POLICIES, Outage, Service, ServiceDownError

FIXED, EXPONENTIAL, LITTLE, FULL = POLICIES
OUTAGE = Outage(jobs=20, spread=0.0, rate=4, seconds_max=600.0)


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with herd._quiet_log():
        yield


def taken(service: Service, requests: int) -> int:
    """How many of so many requests in one moment are taken."""
    count = 0
    for _ in range(requests):
        try:
            service.request(b"")
        except ServiceDownError:
            continue
        count += 1
    return count


def test_service_that_is_down_takes_nothing() -> None:
    service = Service(ManualClock(), rate=5, up_at=1.0)
    assert taken(service, 3) == 0
    assert service.arrived == {0: 3}


def test_service_takes_what_it_has_room_for_and_later_what_it_has_served() -> None:
    clock = ManualClock()
    service = Service(clock, rate=10, up_at=0.0)
    assert taken(service, 100) == 10
    assert taken(service, 1) == 0
    clock.advance(0.5)
    assert taken(service, 100) == 5


def test_service_that_has_idled_has_no_more_room_for_that() -> None:
    clock = ManualClock()
    service = Service(clock, rate=10, up_at=0.0)
    clock.advance(60.0)
    assert taken(service, 100) == 10


@pytest.mark.slow
def test_with_a_fixed_delay_all_jobs_come_each_second() -> None:
    service = herd._watch(FIXED, OUTAGE, seed=1)
    arrived = herd._summary(FIXED, OUTAGE, service)["per_second"]
    assert arrived[: int(DOWN_SECONDS)] == [OUTAGE.jobs] * int(DOWN_SECONDS)


def test_exponential_delays_without_jitter_keep_the_herd_together() -> None:
    service = herd._watch(EXPONENTIAL, replace(OUTAGE, seconds_max=130.0), seed=1)
    moments = [step / herd.STEPS_PER_SECOND for step in sorted(service.arrived)]
    assert moments == [0, 1, 3, 7, 15, 31, 63, 123]
    assert service.arrived[630] == OUTAGE.jobs
    assert len(service.served) == 2 * OUTAGE.rate


def test_jitter_spreads_the_herd_and_gets_all_done_sooner() -> None:
    plain, little = (
        herd._summary(policy, OUTAGE, herd._watch(policy, OUTAGE, seed=1))
        for policy in (EXPONENTIAL, LITTLE)
    )
    assert little["peak_after"] < plain["peak_after"] == OUTAGE.jobs
    assert little["all_after"] < plain["all_after"]


def test_the_same_seed_gives_the_same_retries() -> None:
    first, second = (herd._watch(FULL, OUTAGE, seed=5) for _ in range(2))
    assert first.arrived == second.arrived
    assert first.served == second.served


def test_another_seed_gives_others() -> None:
    first, second = (herd._watch(FULL, OUTAGE, seed=seed) for seed in (5, 6))
    assert first.arrived != second.arrived


def test_jobs_that_are_not_done_when_the_watch_ends_have_no_time() -> None:
    outage = replace(OUTAGE, seconds_max=64.0)
    summary = herd._summary(EXPONENTIAL, outage, herd._watch(EXPONENTIAL, outage, seed=1))
    assert (summary["served"], summary["half_after"], summary["all_after"]) == (4, None, None)
    assert herd._seconds(None) == "not within the time watched"


def test_jobs_that_come_one_by_one_are_spread_over_the_outage() -> None:
    outage = replace(OUTAGE, spread=DOWN_SECONDS)
    service = herd._watch(EXPONENTIAL, outage, seed=1)
    assert max(service.arrived.values()) < OUTAGE.jobs / 2


def test_the_log_is_heard_again_afterwards() -> None:
    logger = logging.getLogger("jobqueue")
    logger.disabled = False
    with herd._quiet_log():
        assert logger.disabled
    assert not logger.disabled
