"""The events of a small shop, from 200 bytes to 20 kB: the same ones for the same seed."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from random import Random

from jobqueue.final import Priority

_START = 1_760_000_000  # Unix time of the first event


@dataclass(frozen=True)
class Event:
    """One thing that happened, and the endpoint that has subscribed to it."""

    id: str
    endpoint: str
    priority: Priority
    body: bytes


@dataclass(frozen=True)
class _Kind:
    share: int  # of 100 events
    priority: Priority
    endpoints: Mapping[str, int]  # names and weights
    data: Callable[[Random], dict[str, object]]


def events(count: int, seed: int) -> Iterator[Event]:
    """Yield `count` events, in the order in which they happened."""
    rng = Random(seed)
    names = list(_KINDS)
    shares = [kind.share for kind in _KINDS.values()]
    for number in range(count):
        name = rng.choices(names, shares)[0]
        yield _event(name, _KINDS[name], _START + number, rng)


def _event(name: str, kind: _Kind, created: int, rng: Random) -> Event:
    event_id = f"evt_{rng.getrandbits(80):020x}"
    [endpoint] = rng.choices(list(kind.endpoints), list(kind.endpoints.values()))
    body = {
        "id": event_id,
        "type": name,
        "api_version": "2025-10-01",
        "created": created,
        "data": kind.data(rng),
    }
    return Event(event_id, endpoint, kind.priority, json.dumps(body).encode())


def _payment(rng: Random) -> dict[str, object]:
    return {
        "payment": f"pay_{rng.getrandbits(48):012x}",
        "amount": rng.randint(100, 90_000),
        "currency": rng.choice(["EUR", "USD", "GBP"]),
        "failure": rng.choice(["card_declined", "expired_card", "insufficient_funds"]),
    }


def _order(rng: Random) -> dict[str, object]:
    return {
        "order": f"ord_{rng.getrandbits(48):012x}",
        "lines": [
            {
                "sku": f"SKU-{rng.randint(10_000, 99_999)}",
                "quantity": rng.randint(1, 5),
                "unit_price": rng.randint(100, 20_000),
            }
            for _ in range(min(60, int(rng.paretovariate(1.0))))  # mostly short, a few long
        ],
    }


def _signup(rng: Random) -> dict[str, object]:
    user = f"{rng.getrandbits(32):08x}"
    # One in fifty comes from a form without an address: the receiver will not have it.
    email = None if rng.random() < 0.02 else f"{user}@example.com"
    return {
        "user": user,
        "email": email,
        "plan": rng.choice(["free", "team", "enterprise"]),
        "locale": rng.choice(["de-DE", "en-GB", "en-US"]),
    }


def _invoice(rng: Random) -> dict[str, object]:
    pdf = b"%PDF-1.7\n" + rng.randbytes(rng.randint(4_000, 15_000))
    return {
        "invoice": f"inv_{rng.getrandbits(48):012x}",
        "pages": rng.randint(1, 4),
        "pdf": base64.b64encode(pdf).decode(),
    }


def _page_views(rng: Random) -> dict[str, object]:
    views = [
        {"path": f"/products/{rng.randint(1, 500)}", "milliseconds": rng.randint(20, 60_000)}
        for _ in range(rng.randint(5, 50))
    ]
    return {"session": f"{rng.getrandbits(64):016x}", "views": views}


_KINDS = {
    "payment.failed": _Kind(15, Priority.HIGH, {"ledger": 1}, _payment),
    "order.created": _Kind(40, Priority.MEDIUM, {"shop": 60, "warehouse": 38, "closed": 2}, _order),
    "user.signup": _Kind(12, Priority.MEDIUM, {"crm": 1}, _signup),
    "invoice.pdf.ready": _Kind(8, Priority.MEDIUM, {"archive": 1}, _invoice),
    "page.viewed": _Kind(25, Priority.LOW, {"analytics": 98, "broken": 2}, _page_views),
}
