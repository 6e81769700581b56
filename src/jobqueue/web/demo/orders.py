"""What the shop of the demonstration enqueues: the same jobs in the same order for one seed.

No thread, no time: whoever takes the orders waits for as long as each one says.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...final import Job, Priority

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HIGH, MEDIUM, LOW = Priority
REFUSED = 300
"""Jobs of one handler that fail for good, soon after the beginning."""
FLOOD = 400
"""Jobs of high priority that come at once."""
FLOOD_SECONDS = 25.0
"""How often that happens."""
REPORTS = 42
"""Jobs that wait for a handler that is paused."""
REMINDERS = 24
"""Jobs that are due later."""

_NAMES = ("ada", "barbara", "chen", "dara", "emeka", "fatima", "grace", "hedy", "ines", "jun")
_SUBJECTS = ("Your order is on its way", "Your receipt", "Confirm your address", "Welcome")
_STEP_SECONDS = 0.25
_REFUSED_STEPS = range(4, 14)
_MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Order:
    """Jobs that are enqueued together.

    Attributes:
        after: seconds since the order before it.
        delay: seconds until they are due.
    """

    after: float
    jobs: tuple[Job, ...]
    delay: float = 0.0


class Orders:
    """Makes the jobs; for one thread.

    Args:
        seed: the same one makes the same jobs.
    """

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._count = 0

    def at_start(self) -> Iterator[Order]:
        """What is there when somebody first looks."""
        yield Order(0.0, tuple(self._report(number) for number in range(REPORTS)))
        yield Order(0.0, (self._job("fetch_prices", {"supplier": "north"}, LOW),))
        yield Order(0.0, tuple(self._thumbnail() for _ in range(30)))
        yield Order(0.0, tuple(self._offer() for _ in range(9)))
        for _ in range(REMINDERS):
            delay = round(self._random.uniform(5 * _MINUTE, 72 * 60 * _MINUTE), 1)
            yield Order(0.0, (self._reminder(),), delay)

    def in_business(self) -> Iterator[Order]:
        """What comes from then on, for ever."""
        step = 0
        every = round(FLOOD_SECONDS / _STEP_SECONDS)
        while True:
            jobs = [self._mail() for _ in range(self._random.choice((1, 1, 2, 3)))]
            jobs += [self._webhook() for _ in range(self._random.choice((0, 1, 2)))]
            if step in _REFUSED_STEPS:
                jobs += [self._sync() for _ in range(REFUSED // len(_REFUSED_STEPS))]
            if step % 3 == 0:
                jobs.append(self._thumbnail())
            if step % 4 == 1:
                jobs.append(self._charge())
            if step % 10 == 5:
                jobs += self._invoice()
            if step % 200 == 2:
                jobs.append(self._import())
            if step % every == every // 2:
                jobs += [self._webhook() for _ in range(FLOOD)]
            yield Order(_STEP_SECONDS, tuple(jobs))
            step += 1

    def _sync(self) -> Job:
        customer = self._random.randrange(1000, 9999)
        content = {"customer": customer, "fields": ["address", "consent"]}
        return self._job("sync_crm", content, key=f"customer-{customer}", max_retries=0)

    def _report(self, number: int) -> Job:
        # Some of them are wanted by a time that passes while their handler is paused.
        expires = 20.0 if number % 14 == 0 else None
        content = {"month": f"2026-{number % 12 + 1:02}", "format": "pdf"}
        return self._job("export_report", content, LOW, expires=expires)

    def _thumbnail(self) -> Job:
        name = f"photo-{self._random.randrange(10_000):04}.jpg"
        content = {"file": name, "widths": [160, 480, 1280]}
        return self._job("resize_image", content, LOW, key=name)

    def _offer(self) -> Job:
        return self._job("print_label", {"order": self._random.randrange(10_000, 99_999)})

    def _reminder(self) -> Job:
        return self._job("send_email", {"to": self._person(), "subject": "You left something"})

    def _mail(self) -> Job:
        content = {"to": self._person(), "subject": self._random.choice(_SUBJECTS)}
        return self._job("send_email", content)

    def _webhook(self) -> Job:
        partner = self._random.choice(("north", "south", "east"))
        content = {"url": f"https://{partner}.example/hooks", "event": "order.paid"}
        return self._job("deliver_webhook", content, HIGH, key=partner)

    def _charge(self) -> Job:
        customer = self._random.randrange(1, 40)
        content = {"customer": customer, "cents": self._random.randrange(500, 25_000)}
        return self._job("charge_card", content, HIGH, key=f"customer-{customer}")

    def _invoice(self) -> list[Job]:
        """Three jobs, each after the one before it."""
        order = self._random.randrange(10_000, 99_999)
        render = self._job("render_invoice", {"order": order}, key=f"order-{order}")
        archive = self._job("archive_invoice", {"order": order}, LOW, after=[render.id])
        mail = self._job("send_email", {"to": self._person(), "order": order}, after=[archive.id])
        return [render, archive, mail]

    def _import(self) -> Job:
        rows = self._random.randrange(8_000, 12_000)
        return self._job("import_catalogue", {"rows": rows, "supplier": "south"}, LOW)

    def _person(self) -> str:
        return f"{self._random.choice(_NAMES)}@example.com"

    def _job(
        self,
        handler: str,
        content: Mapping[str, object],
        priority: Priority = MEDIUM,
        **options: object,
    ) -> Job:
        self._count += 1
        return Job(
            json.dumps(content).encode(),
            id=f"{handler.replace('_', '-')}-{self._count:05}",
            handler=handler,
            priority=priority,
            headers={"content-type": "application/json"},
            **options,  # type: ignore[arg-type]  # each is checked by `Job`
        )
