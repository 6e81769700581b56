"""The queue of the demonstration, and the thread that enqueues into it."""

from __future__ import annotations

import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...final import Config, EnqueueTimeoutError, JobQueue
from .orders import Orders
from .shop import Shop

if TYPE_CHECKING:
    from collections.abc import Iterator

SEED = 1
_ROOM_SECONDS_MAX = 0.5


@contextmanager
def demonstration(seed: int = SEED) -> Iterator[JobQueue]:
    """A busy queue, with a log in a temporary directory; closed and removed at the end.

    Some 15 jobs a second come, and 160 of high priority at once now and then. In its first seconds
    300 jobs of `sync_crm` fail for one reason; queued again, they succeed. `export_report` is
    paused, and `fetch_prices` is stuck.

    Args:
        seed: the same one enqueues the same jobs in the same order, and the same of them fail.
    """
    shop, orders, ended = Shop(seed), Orders(seed), threading.Event()
    with tempfile.TemporaryDirectory(prefix="jobqueue-demo-") as directory:
        config = Config(
            num_workers=8,
            reserved_workers=1,
            queue_size=1000,
            base_delay=2.0,
            max_dead_letters=2000,
            status_retention=20_000,
            shutdown_timeout=2.0,
            persist_path=Path(directory) / "demo.jobs",
        )
        with JobQueue(config, start=False) as queue:
            shop.register(queue)
            producer = threading.Thread(
                target=_enqueue, args=(queue, orders, ended), name="jobqueue-demo", daemon=True
            )
            queue.start()
            producer.start()
            try:
                yield queue
            finally:
                ended.set()
                producer.join()
                shop.close()


def _enqueue(queue: JobQueue, orders: Orders, ended: threading.Event) -> None:
    """Enqueue until it is to end. On the demonstration's own thread, without a lock."""
    for order in orders.at_start():
        for job in order.jobs:
            queue.enqueue(job, delay=order.delay)
    for order in orders.in_business():
        if ended.wait(order.after):
            return
        try:
            queue.enqueue_many(order.jobs, timeout=_ROOM_SECONDS_MAX)
        except EnqueueTimeoutError:
            continue  # a lane is full, as when somebody paused it; what comes now is not taken
