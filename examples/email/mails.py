"""The e-mails of a small shop: the same ones, to the byte, for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.policy import SMTP
from random import Random

from jobqueue.final import Priority

SPAM = "You have won"  # no server takes a subject like that
_START = datetime(2026, 1, 5, 9, tzinfo=UTC)  # date of the first e-mail


@dataclass(frozen=True)
class Mail:
    """An e-mail. Its id, in angle brackets, is its Message-ID."""

    id: str
    to: str
    priority: Priority
    message: bytes  # as it goes over the wire


@dataclass(frozen=True)
class _Kind:
    share: int  # of 100 e-mails
    priority: Priority
    subject: Callable[[Random], str]
    text: Callable[[Random], str]


def mails(count: int, seed: int) -> Iterator[Mail]:
    """Yield `count` e-mails, in the order in which they were written."""
    rng = Random(seed)
    for number in range(count):
        [kind] = rng.choices(_KINDS, [kind.share for kind in _KINDS])
        yield _mail(kind, _START + timedelta(seconds=number), rng)


def _mail(kind: _Kind, written: datetime, rng: Random) -> Mail:
    mail_id = f"{rng.getrandbits(80):020x}@shop.example"
    to = _address(rng)
    message = EmailMessage()
    message["From"] = "The Shop <post@shop.example>"
    message["To"] = to
    message["Date"] = written
    message["Message-ID"] = f"<{mail_id}>"
    message["Subject"] = kind.subject(rng)
    message.set_content(kind.text(rng))
    return Mail(mail_id, to, kind.priority, message.as_bytes(policy=SMTP))


def _address(rng: Random) -> str:
    [domain] = rng.choices(list(_DOMAINS), list(_DOMAINS.values()))
    # One in thirty has left the company, or never was there.
    name = "nobody" if rng.random() < 0.033 else rng.choice(["ada", "grace", "edsger", "barbara"])
    return f"{name}.{rng.randint(1, 9999)}@{domain}"


def _code(rng: Random) -> str:
    return f"Your code is {rng.randint(0, 999_999):06}. It holds for ten minutes.\n"


def _order(rng: Random) -> str:
    lines = [
        f"{rng.randint(1, 5)} × SKU-{rng.randint(10_000, 99_999)}: {rng.randint(100, 9999) / 100} €"
        for _ in range(rng.randint(1, 40))
    ]
    return "\n".join(["Thank you! We send you:", "", *lines, "", "Viele Grüße", "The Shop", ""])


def _newsletter(rng: Random) -> str:
    offers = [f"SKU-{rng.randint(10_000, 99_999)} at half the price" for _ in range(15)]
    # A line of one dot ends an e-mail on the wire, if nobody sees to it that it does not.
    return "\n.\n".join([*offers, "Unsubscribe: https://shop.example/unsubscribe\n"])


def _newsletter_subject(rng: Random) -> str:
    return f"{SPAM} a voucher!!!" if rng.random() < 0.05 else "New this week"


_KINDS = [
    _Kind(15, Priority.HIGH, lambda _: "Your sign-in code", _code),
    _Kind(
        45, Priority.MEDIUM, lambda rng: f"Your order {rng.randint(10_000, 99_999)} — merci", _order
    ),
    _Kind(40, Priority.LOW, _newsletter_subject, _newsletter),
]
_DOMAINS: Mapping[str, int] = {  # how they fail is told in server.py
    "inbox.example": 55,
    "greylist.example": 15,
    "busy.example": 14,
    "slow.example": 14,
    "full.example": 2,
}
