"""The handlers of the demonstration, and what goes wrong in them. They sleep, and do nothing else.

Whose thread: the queue's workers. What happens to a job is decided by the seed, its id and the
number of its attempt alone, so it is the same whenever it runs.
"""

from __future__ import annotations

import json
import random
import threading
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ...final import Job, Limit, Priority, RejectJobError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...final import JobContext, JobQueue

    Handler = Callable[[bytes, JobContext], object]

PAUSED = "export_report"
"""The handler that is paused."""
STUCK = "fetch_prices"
"""The handler that does not stop when it is told to."""
PAUSED_SCHEDULE = "weekly_digest"


class Shop:
    """What the handlers know of one another.

    Args:
        seed: decides what happens to which job.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._closed = threading.Event()
        # Jobs that were refused once. One job runs on one thread at a time, and an `add` is atomic.
        self._refused: set[str] = set()

    def close(self) -> None:
        """Let the attempt go that does not stop by itself. Any thread."""
        self._closed.set()

    def register(self, queue: JobQueue) -> None:
        """Give the queue its handlers and schedules."""
        queue.register("send_email", self._send_email)
        queue.register("deliver_webhook", self._deliver_webhook)
        queue.register("charge_card", self._charge_card, limit=Limit(1, per_key=True))
        queue.register("sync_crm", self._sync_crm)
        queue.register("resize_image", self._resize_image, limit=Limit(2))
        queue.register("render_invoice", self._briefly(0.3))
        queue.register("archive_invoice", self._briefly(0.1))
        queue.register("import_catalogue", self._import_catalogue, limit=Limit(1))
        queue.register(PAUSED, self._briefly(0.5))
        queue.register("print_label", self._print_label)
        queue.register(STUCK, self._fetch_prices, timeout=2.0)
        queue.register("clean_sessions", self._briefly(0.2))
        for name, cron, interval in (
            ("clean_sessions", "*/5 * * * *", timedelta(minutes=5)),
            ("daily_digest", "0 7 * * *", timedelta(days=1)),
            (PAUSED_SCHEDULE, "0 8 * * MON", timedelta(days=7)),
        ):
            schedule = cron if find_spec("cronsim") is not None else interval
            queue.periodic(name, schedule, _made_for("clean_sessions"))
        queue.periodic("renew_prices", timedelta(seconds=15), _made_for("archive_invoice"))
        queue.pause(handler=PAUSED)
        queue.pause(periodic=PAUSED_SCHEDULE)

    def _luck(self, context: JobContext) -> random.Random:
        return random.Random(f"{self._seed}:{context.job.id}:{context.attempt}")

    def _briefly(self, seconds: float) -> Handler:
        def work(payload: bytes, context: JobContext) -> object:
            context.wait(seconds * self._luck(context).uniform(0.5, 1.5))
            return {"bytes": len(payload)}

        return work

    def _send_email(self, payload: bytes, context: JobContext) -> None:
        luck = self._luck(context)
        context.wait(luck.uniform(0.05, 0.25))
        if luck.random() < 0.03:
            raise ConnectionResetError("smtp.example.com closed the connection")

    def _deliver_webhook(self, payload: bytes, context: JobContext) -> None:
        luck = self._luck(context)
        context.wait(luck.uniform(0.01, 0.06))
        if luck.random() < 0.02:
            url = json.loads(payload)["url"]
            raise TimeoutError(f"no answer from {url} within 10 s")

    def _charge_card(self, payload: bytes, context: JobContext) -> None:
        luck = self._luck(context)
        context.wait(luck.uniform(0.1, 0.3))
        if luck.random() < 0.01:
            raise RejectJobError("the bank declined the card: insufficient funds")

    def _sync_crm(self, payload: bytes, context: JobContext) -> None:
        """Fails for good, and works when it is queued again: the key was renewed meanwhile."""
        customer = json.loads(payload)["customer"]
        if context.job.id not in self._refused:
            self._refused.add(context.job.id)
            _ask_the_crm(customer)
        context.wait(self._luck(context).uniform(0.02, 0.08))

    def _resize_image(self, payload: bytes, context: JobContext) -> None:
        luck = self._luck(context)
        widths = json.loads(payload)["widths"]
        for done, width in enumerate(widths):
            context.progress(done, len(widths), f"{width} px wide")
            if context.wait(luck.uniform(0.2, 0.7)) or context.closing:
                return
            if luck.random() < 0.004:
                raise RejectJobError("not an image: the file ends after 0 bytes")

    def _import_catalogue(self, payload: bytes, context: JobContext) -> object:
        rows = json.loads(payload)["rows"]
        for done in range(0, rows, 125):
            context.progress(done, rows, "rows")
            if context.wait(0.5) or context.closing:
                break
        return {"rows": rows}

    def _print_label(self, payload: bytes, context: JobContext) -> None:
        context.wait(0.05)
        order = json.loads(payload)["order"]
        raise RejectJobError(f"order {order} has no address")

    def _fetch_prices(self, payload: bytes, context: JobContext) -> None:
        """Waits for an answer that never comes, and does not look at whether it is to stop."""
        context.progress(3, 8, "page 3 of 8")
        self._closed.wait()


def _ask_the_crm(customer: int) -> None:
    raise PermissionError(
        f"401 from crm.example for customer {customer}: the API key ending in 7f3a has expired"
    )


def _made_for(handler: str) -> Callable[[], Job]:
    return lambda: Job(b"{}", handler=handler, priority=Priority.LOW)
