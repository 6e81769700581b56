"""The demonstration: the same jobs for one seed, in trouble from the start, gone at the end."""

from __future__ import annotations

import itertools
import json
import logging
import os
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("starlette", reason="the dashboard is made of it")

from jobqueue.final import Status
from jobqueue.web.demo import demonstration
from jobqueue.web.demo.orders import FLOOD, REFUSED, REPORTS, Order, Orders
from jobqueue.web.demo.shop import PAUSED, PAUSED_SCHEDULE, STUCK
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final import Job


def orders(seed: int) -> list[Order]:
    made = Orders(seed)
    return [*made.at_start(), *itertools.islice(made.in_business(), 400)]


def plain(order: Order) -> tuple[object, ...]:
    return order.after, order.delay, [_plain(each) for each in order.jobs]


def _plain(job: Job) -> tuple[object, ...]:
    return job.id, job.handler, job.payload, job.priority, job.key, job.after, job.expires


def test_one_seed_makes_the_same_jobs_and_another_one_makes_others() -> None:
    assert [plain(each) for each in orders(7)] == [plain(each) for each in orders(7)]
    assert [plain(each) for each in orders(7)] != [plain(each) for each in orders(8)]


def test_ids_differ_and_every_handler_has_work() -> None:
    jobs = [job for order in orders(1) for job in order.jobs]
    assert len({job.id for job in jobs}) == len(jobs)
    assert all(json.loads(job.payload) for job in jobs)
    assert max(len(order.jobs) for order in orders(1)[40:]) >= FLOOD
    assert {job.handler for job in jobs} == {
        "archive_invoice",
        "charge_card",
        "deliver_webhook",
        "export_report",
        "fetch_prices",
        "import_catalogue",
        "print_label",
        "render_invoice",
        "resize_image",
        "send_email",
        "sync_crm",
    }


@pytest.mark.slow
def test_it_is_in_trouble_and_300_dead_letters_succeed_when_they_are_requeued(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.CRITICAL, logger="jobqueue")
    with demonstration() as queue:
        directory = queue.config.persist_path
        assert directory is not None
        eventually(lambda: queue.metrics().by_handler["sync_crm"].failed == REFUSED)
        worst = queue.dead_groups().groups[0]
        assert (worst.handler, worst.error, worst.count) == ("sync_crm", "PermissionError", REFUSED)
        assert "the API key ending in 7f3a has expired" in (worst.last.last_error or "")
        assert queue.paused().handlers == {PAUSED}
        assert queue.paused().periodics == {PAUSED_SCHEDULE}
        eventually(lambda: queue.look(handler=STUCK).jobs[0].status is Status.PROCESSING)
        assert queue.look(handler=PAUSED, status="queued").matching > REPORTS // 2
        assert queue.requeue_jobs(handler="sync_crm") == REFUSED
        eventually(lambda: queue.metrics().by_handler["sync_crm"].completed >= 10)
        assert queue.metrics().by_handler["sync_crm"].failed == REFUSED
    assert not os.path.exists(directory)
