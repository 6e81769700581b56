"""An SMTP server that refuses, defers and dawdles as real ones do, and keeps what it takes.

It stands for the servers of several domains. Its faults are drawn from the seed, the e-mail's id
and the attempt, not from the clock: the same e-mails meet the same faults in every run.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from email import message_from_bytes
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

from aiosmtpd.smtp import SMTP, Envelope, Session

from ..lines import LineWriter
from .mails import SPAM


@dataclass(frozen=True)
class Domain:
    """What one domain's server is like; the shares are of its attempts."""

    errors: float = 0.0  # 451 after the e-mail: something is wrong over there
    greylists: bool = False  # 450 to the first attempt: a client that comes back is no spammer
    busy: float = 0.0  # 421: try later
    late: float = 0.0  # takes the e-mail, but says so after the sender has lost patience
    full: bool = False  # 452, always: nobody reads what is in there


DOMAINS = {
    "inbox.example": Domain(errors=0.03),
    "greylist.example": Domain(greylists=True),
    "busy.example": Domain(busy=0.15),
    "slow.example": Domain(late=0.05),
    "full.example": Domain(full=True),
}

SENDER_PREFIX = "bounces+"
"""What comes before the e-mail's id in the address that the envelope names as the sender's."""

_OK = "250 OK"
_WORK_SECONDS = (0.01, 0.05)  # what a server takes to look at an e-mail
_LATE_SECONDS = 2.0


@dataclass(frozen=True)
class Reply:
    """A line of SMTP, sent after `seconds`."""

    line: str
    seconds: float = 0.0


def reply_to_recipient(address: str, attempt: int, rng: Random) -> str:
    """Decide, before the e-mail has come, whether its recipient is served; attempts from 0."""
    name, _, domain_name = address.partition("@")
    domain = DOMAINS[domain_name]
    if name.startswith("nobody"):
        return "550 5.1.1 no such mailbox"
    if domain.full:
        return "452 4.2.2 mailbox full"
    if domain.greylists and attempt == 0:
        return "450 4.7.1 greylisted, come back later"
    if rng.random() < domain.busy:
        return "421 4.3.2 too busy, closing the connection"
    return _OK


def reply_to_message(address: str, subject: str, rng: Random) -> Reply:
    """Decide what becomes of an e-mail whose recipient is served."""
    domain = DOMAINS[address.partition("@")[2]]
    work_seconds = rng.uniform(*_WORK_SECONDS)
    chance = rng.random()
    if subject.startswith(SPAM):
        return Reply("554 5.7.1 looks like spam", work_seconds)
    if chance < domain.errors:
        return Reply("451 4.3.0 local error", work_seconds)
    late = chance < domain.late
    return Reply("250 2.0.0 taken", _LATE_SECONDS if late else work_seconds)


class Postmaster:
    """Answers senders for aiosmtpd, and writes each answer about an e-mail down before sending it.

    A line of the record: `<e-mail's id> <name of the sending host> <reply>`. What is taken goes
    into a file named by the Message-ID; a second copy is thanked for and thrown away.
    """

    def __init__(self, seed: int, mailboxes: Path, record: LineWriter) -> None:
        self._seed = seed
        self._mailboxes = mailboxes
        self._record = record
        self._attempts: Counter[str] = Counter()

    async def handle_RCPT(  # noqa: N802  # the name that aiosmtpd looks for
        self, _server: SMTP, session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        mail_id = self._mail_id(envelope)
        reply = reply_to_recipient(address, self._attempts[mail_id], self._rng(mail_id))
        self._attempts[mail_id] += 1
        if reply == _OK:
            envelope.rcpt_tos.append(address)
        else:
            self._record.add(f"{mail_id} {session.host_name} {reply}")
        return reply

    async def handle_DATA(  # noqa: N802  # and this one
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        content = envelope.content
        assert isinstance(content, bytes)  # as decode_data is not set
        message = message_from_bytes(content)
        mail_id = message["Message-ID"].strip("<>")
        file = self._mailboxes / mail_id
        if file.exists():
            reply = Reply("250 2.0.0 taken before")
        else:
            rng = self._rng(mail_id)
            reply = reply_to_message(envelope.rcpt_tos[0], message["Subject"], rng)
            if reply.line.startswith("250"):
                file.write_bytes(content)
        self._record.add(f"{mail_id} {session.host_name} {reply.line}")
        await asyncio.sleep(reply.seconds)
        return reply.line

    def _mail_id(self, envelope: Envelope) -> str:
        return (envelope.mail_from or "").removeprefix(SENDER_PREFIX)

    def _rng(self, mail_id: str) -> Random:
        return Random(f"{self._seed} {mail_id} {self._attempts[mail_id]}")


def main(seed: int, mailboxes: Path, record: Path, parent: Connection) -> None:
    """Serve until the parent goes away; tell it the address first."""
    mailboxes.mkdir()
    with LineWriter(record) as writer:
        asyncio.run(_serve(Postmaster(seed, mailboxes, writer), parent))


async def _serve(postmaster: Postmaster, parent: Connection) -> None:
    loop = asyncio.get_running_loop()

    def session() -> SMTP:
        return SMTP(postmaster, hostname="mx.example", loop=loop)  # else it asks the resolver

    server = await loop.create_server(session, "127.0.0.1", 0)
    parent.send(server.sockets[0].getsockname())
    await asyncio.to_thread(_wait_for_end, parent)


def _wait_for_end(parent: Connection) -> None:
    try:
        parent.recv()  # nothing is ever sent: returns when the other end closes
    except EOFError:
        pass
