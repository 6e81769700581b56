"""The story: an SMTP server, a sender that is killed half-way, and the same sender again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from jobqueue.final import Priority

from ..children import STALL_SECONDS, Child, StoryError, child
from ..lines import LineReader
from ..screen import LaneProgress, Screen
from . import sender, server
from .audit import Audit, Notes, Record, audit
from .mails import mails


@dataclass(frozen=True)
class Outcome:
    """What there is to tell at the end."""

    audit: Audit
    recovered: int  # e-mails that the log still had to send after the kill
    replies: Mapping[str, int]  # the server's
    seconds: float


class Scenario:
    """One run, which keeps its files in the directory `home`."""

    def __init__(self, count: int, seed: int, home: Path, screen: Screen) -> None:
        self._seed = seed
        self._home = home
        self._screen = screen
        self._mails = {mail.id: mail for mail in mails(count, seed)}
        self._replies = LineReader(home / "replies")
        self._record = Record()

    def run(self) -> Outcome:
        mailboxes, replies = self._home / "mailboxes", self._home / "replies"
        with child("SMTP server", server.main, self._seed, mailboxes, replies) as smtp:
            settings = sender.Settings(
                mails=len(self._mails),
                seed=self._seed,
                address=smtp.receive(tuple),
                host_name="first.shop.example",
                log=self._home / "mail.db",
                acks=self._home / "acks",
                doubts=self._home / "doubts",
            )
            return self._send(settings, smtp)

    def _send(self, settings: sender.Settings, smtp: Child) -> Outcome:
        start = time.monotonic()
        with child("sender", sender.main, settings) as life:
            self._screen.say(f"Sender {life.process.pid} starts.")
            for report in self._reports(life, smtp):
                if len(self._record.taken) >= len(self._mails) / 2 or report.finished:
                    break
        self._screen.say(f"Sender {life.process.pid} got a SIGKILL. The next one takes over.")
        settings = replace(settings, host_name="second.shop.example")
        with child("sender", sender.main, settings) as life:
            last = next(report for report in self._reports(life, smtp) if report.finished)
        seconds = time.monotonic() - start
        return Outcome(
            self._audit(settings, last), len(last.recovered), self._record.replies, seconds
        )

    def _audit(self, settings: sender.Settings, last: sender.Report) -> Audit:
        doubts = (line.split(" ") for line in LineReader(settings.doubts).new())
        notes = Notes(
            acks=LineReader(settings.acks).new(),
            doubts=Counter((host, mail_id) for host, mail_id in doubts),
            recovered=last.recovered,
            dead=last.dead,
        )
        written = {mail.id: mail.message for mail in self._mails.values()}
        files = (self._home / "mailboxes").iterdir()
        return audit(written, {file.name: file.read_bytes() for file in files}, self._record, notes)

    def _reports(self, life: Child, smtp: Child) -> Iterator[sender.Report]:
        """Yield the sender's reports, with the record read and the progress shown up to each."""
        answered, since = 0, time.monotonic()
        while True:
            report = life.receive(sender.Report)
            smtp.check()
            self._record.add(self._replies.new())
            self._screen.show(self._progress(report))
            yield report
            if answered < self._record.replies.total():
                answered, since = self._record.replies.total(), time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise StoryError(f"nothing was sent for {STALL_SECONDS:g} s")

    def _progress(self, report: sender.Report) -> dict[Priority, LaneProgress]:
        total = Counter(mail.priority for mail in self._mails.values())
        taken = Counter(self._mails[mail_id].priority for mail_id in self._record.taken)
        dead = Counter(self._mails[mail_id].priority for mail_id in report.dead)
        return {
            lane: LaneProgress(total[lane], taken[lane], report.retrying[lane], dead[lane])
            for lane in Priority
        }
