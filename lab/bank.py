"""The world outside of the queue, where what a job does cannot be undone: here, charging a card.

Also the handlers that charge for an order. They differ in what they note down, and when.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .ledger import Ledger, read_ledger


class Bank:
    """Charges cards, and has its own record of it, which no death of the queue's process touches.

    A request takes half of `seconds` to get there, and the answer as long to come back.
    """

    def __init__(self, home: Path, ledger: Ledger, seconds: float) -> None:
        self._keys = home / "keys"
        self._keys.mkdir(exist_ok=True)
        self._ledger = ledger
        self._half = seconds / 2

    def charge(self, order: str) -> None:
        """Charge for an order, as often as it is asked to."""
        time.sleep(self._half)
        self._ledger.note("asked", order)  # the charge is this line
        time.sleep(self._half)

    def charge_once(self, order: str) -> None:
        """The same, but the order's id is a key: under a key that it knows it charges nothing."""
        time.sleep(self._half)
        self._ledger.note("asked", order)
        claim(self._keys / order)  # the charge is this file
        time.sleep(self._half)


def claim(path: Path) -> bool:
    """Create a file; whether it was not there before. The kernel lets only one caller win."""
    try:
        path.open("x").close()
    except FileExistsError:
        return False
    return True


def charges(home: Path, manner: str) -> Counter[str]:
    """How often each order was charged for."""
    if manner == "key":
        return Counter(path.name for path in (home / "keys").iterdir())
    return Counter(read_ledger(home / "ledger")["asked"])


def handler(manner: str, home: Path, ledger: Ledger, seconds: float) -> Callable[[str], None]:
    """A handler for orders.

    Args:
        manner: "plain" just charges. "mark first" notes down that the order is finished, and
            charges then. "key" has the bank look at the order's id. "record after" charges, and
            notes down then that the order is finished.
        home: where marks and keys are kept.
        ledger: where the bank writes its charges.
        seconds: how long a charge takes.
    """
    bank = Bank(home, ledger, seconds)
    marks = home / "marks"
    marks.mkdir(exist_ok=True)

    def mark_first(order: str) -> None:
        if claim(marks / order):
            bank.charge(order)

    def record_after(order: str) -> None:
        bank.charge(order)
        ledger.note("recorded", order)

    return {
        "plain": bank.charge,
        "mark first": mark_first,
        "key": bank.charge_once,
        "record after": record_after,
    }[manner]
