"""The process that is killed: takes orders, and charges for them, until it is gone.

`python -m lab.victim SETTINGS`, with those of `Shop` for each of its queues, as JSON.
"""

from __future__ import annotations

import itertools
import json
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .bank import handler
from .ledger import Ledger
from .tiers import Door, Kind, open_queue

PRODUCERS = 4
BURST = 100
"""Orders that a producer takes in a row, as fast as they are accepted."""
BURST_SECONDS = 0.16
"""How often it does. All in all more orders come than are charged for: the queues grow."""


@dataclass(frozen=True, slots=True)
class Shop:
    """A queue of orders, and how each is charged for.

    Attributes:
        home: a directory for its log and its ledger.
        kind: which queue.
        manner: see `bank.handler`.
        workers: how many orders are charged for at a time.
        seconds: how long that takes for one.
    """

    home: Path
    kind: Kind
    manner: str = "plain"
    workers: int = 4
    seconds: float = 0.002

    def open(self, ledger: Ledger) -> Door:
        """Open it, or open it again, in which case it goes on with what is in its log."""
        handle = handler(self.manner, self.home, ledger, self.seconds)
        return open_queue(self.kind, handle, workers=self.workers, log=self.home / "log")

    def as_settings(self) -> dict[str, Any]:
        """It as JSON can hold it."""
        return {**asdict(self), "home": str(self.home)}

    @classmethod
    def of(cls, settings: dict[str, Any]) -> Shop:
        """What `as_settings` has told of."""
        return cls(**{**settings, "home": Path(settings["home"]), "kind": Kind(**settings["kind"])})


class Till:
    """Takes orders for a shop, and notes down which were accepted."""

    def __init__(self, shop: Shop) -> None:
        self._ledger = Ledger(shop.home / "ledger")
        self._door = shop.open(self._ledger)

    def order(self, order: str) -> None:
        """Put an order into the queue; once that has returned, a customer has been told so."""
        self._door.enqueue(order)
        self._ledger.note("accepted", order)

    def close(self) -> None:
        """Close the shop's queue, and its ledger."""
        self._door.queue.close()
        self._ledger.close()


def main(settings: Sequence[dict[str, Any]]) -> None:
    """Take orders for all shops, each order for each shop, in bursts."""
    tills = [Till(Shop.of(each)) for each in settings]
    for producer in range(PRODUCERS):
        threading.Thread(target=_take_orders, args=(tills, producer), daemon=True).start()
    print("open", flush=True)
    threading.Event().wait()  # for SIGKILL


def _take_orders(tills: Sequence[Till], producer: int) -> None:
    start = time.monotonic()
    for burst in itertools.count():
        for number in range(burst * BURST, (burst + 1) * BURST):
            for till in tills:
                till.order(f"{producer}-{number}")
        time.sleep(max(0.0, start + (burst + 1) * BURST_SECONDS - time.monotonic()))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
