"""The e-mail example: its e-mails, its accounts, its server, its handler, and one whole run."""

from __future__ import annotations

import asyncio
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from random import Random
from smtplib import SMTPConnectError, SMTPServerDisconnected
from socketserver import StreamRequestHandler, ThreadingTCPServer
from types import SimpleNamespace
from typing import cast

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from examples.email import __main__ as command
from examples.email import sender, server
from examples.email.audit import Audit, Notes, Record, audit
from examples.email.mails import Mail, mails
from examples.email.scenario import Outcome, Scenario
from examples.lines import LineReader, LineWriter
from jobqueue.final import Config, Job, JobContext, JobQueue, RejectJobError, Status
from tests.support.example_runs import assert_refused, run_example

# -- e-mails


def test_the_same_seed_gives_the_same_e_mails_to_the_byte() -> None:
    assert list(mails(20, seed=3)) == list(mails(20, seed=3))


def test_another_seed_gives_other_e_mails() -> None:
    assert not {mail.id for mail in mails(20, seed=3)} & {mail.id for mail in mails(20, seed=4)}


def test_the_message_id_is_the_job_s_id() -> None:
    for mail in mails(20, seed=3):
        assert message_from_bytes(mail.message)["Message-ID"] == f"<{mail.id}>"
        assert sender.as_job(mail).id == mail.id


def test_e_mails_go_to_all_domains_of_the_server() -> None:
    assert {mail.to.partition("@")[2] for mail in mails(120, seed=3)} == server.DOMAINS.keys()


# -- accounts


def record(*lines: str) -> Record:
    result = Record()
    result.add(lines)
    return result


def account(
    *lines: str,
    acks: tuple[str, ...] = ("a",),
    doubts: tuple[tuple[str, str], ...] = (),
    recovered: tuple[str, ...] = (),
    dead: dict[str, str] | None = None,
    content: bytes = b"text",
) -> Audit:
    """Account for e-mail `a`, of which the server's record says `lines`."""
    notes = Notes(acks, Counter(doubts), frozenset(recovered), dead or {})
    taken = record(*lines)
    return audit({"a": b"text"}, dict.fromkeys(taken.taken, content), taken, notes)


def test_an_e_mail_that_was_taken_is_accounted_for() -> None:
    result = account("a first 250 taken")
    assert result.ok
    assert result.delivered == 1


def test_an_acknowledged_e_mail_that_never_arrived_is_lost() -> None:
    result = account("a first 450 come back later")
    assert result.lost == {"a"}
    assert not result.ok


def test_a_dead_letter_that_was_refused_is_not_lost() -> None:
    result = account("a first 550 no such mailbox", dead={"a": "550"})
    assert result.ok
    assert result.dead == Counter({"550": 1})


def test_a_dead_letter_that_was_never_refused_is_lost() -> None:
    assert account(dead={"a": "boom"}).lost == {"a"}


def test_an_e_mail_that_was_never_acknowledged_is_no_success() -> None:
    result = account("a first 250 taken", acks=())
    assert result.unaccepted == {"a"}
    assert not result.ok


def test_an_e_mail_that_is_not_what_was_written_is_no_success() -> None:
    result = account("a first 250 taken", content=b"test")
    assert result.altered == {"a"}
    assert not result.ok


TWICE = ("a first 250 taken", "a second 250 taken before")
AGAIN = ("a first 250 taken", "a first 250 taken before")


def test_a_copy_of_what_the_log_did_not_know_as_finished_comes_of_the_kill() -> None:
    result = account(*TWICE, recovered=("a",))
    assert result.ok
    assert (result.copies_by_kill, result.copies_by_doubt) == (1, 0)


def test_a_copy_of_what_the_log_knew_as_finished_has_no_explanation() -> None:
    result = account(*TWICE)
    assert result.unexplained == {"a"}
    assert not result.ok


def test_a_copy_of_what_had_no_reply_in_time_comes_of_that() -> None:
    result = account(*AGAIN, doubts=(("first", "a"),))
    assert result.ok
    assert (result.copies_by_kill, result.copies_by_doubt) == (0, 1)


@pytest.mark.parametrize("doubts", [(), (("second", "a"),)])
def test_a_copy_by_a_sender_that_had_no_doubt_has_no_explanation(
    doubts: tuple[tuple[str, str], ...],
) -> None:
    assert account(*AGAIN, doubts=doubts, recovered=("a",)).unexplained == {"a"}


@pytest.mark.parametrize(("lost", "code"), [(frozenset[str](), 0), (frozenset({"a"}), 1)])
def test_exit_code_tells_of_lost_e_mails(
    lost: frozenset[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = frozenset[str]()
    result = Audit(1, Counter(), 0, 0, nothing, nothing, nothing, lost)
    monkeypatch.setattr(Scenario, "run", lambda _: Outcome(result, 1, {"250": 1}, 1.0))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main(["--mails", "100"]) == code


# -- server


def test_a_name_that_is_nobody_s_is_refused_for_good() -> None:
    assert server.reply_to_recipient("nobody.1@inbox.example", 0, Random(1)).startswith("550")


def test_a_full_mailbox_is_a_temporary_failure_each_time() -> None:
    for attempt in range(3):
        reply = server.reply_to_recipient("ada.1@full.example", attempt, Random(1))
        assert reply.startswith("452")


def test_who_comes_back_to_a_greylist_is_served() -> None:
    replies = [server.reply_to_recipient("ada.1@greylist.example", n, Random(1)) for n in (0, 1)]
    assert [reply[:3] for reply in replies] == ["450", "250"]


@pytest.mark.parametrize(
    ("domain", "reply"),
    [(server.Domain(errors=1.0), "451"), (server.Domain(late=1.0), "250"), (None, "250")],
)
def test_a_domain_answers_to_an_e_mail_as_it_is(
    domain: server.Domain | None, reply: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(server.DOMAINS, "inbox.example", domain or server.Domain())
    assert server.reply_to_message("ada@inbox.example", "Hello", Random(1)).line.startswith(reply)


def test_a_late_reply_outlasts_the_sender_s_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(server.DOMAINS, "slow.example", server.Domain(late=1.0))
    reply = server.reply_to_message("ada@slow.example", "Hello", Random(1))
    assert reply.seconds > sender.PATIENCE_SECONDS


def test_spam_is_refused_for_good() -> None:
    reply = server.reply_to_message("ada@inbox.example", "You have won!!!", Random(1))
    assert reply.line.startswith("554")


def send_to(postmaster: server.Postmaster, mail: Mail, host: str) -> str:
    envelope = Envelope()
    envelope.mail_from = server.SENDER_PREFIX + mail.id
    envelope.content = mail.message
    session = cast("Session", SimpleNamespace(host_name=host))
    smtp = cast("SMTP", None)
    reply = asyncio.run(postmaster.handle_RCPT(smtp, session, envelope, mail.to, []))
    if envelope.rcpt_tos:
        reply = asyncio.run(postmaster.handle_DATA(smtp, session, envelope))
    return reply


@pytest.fixture
def replies(tmp_path: Path) -> LineReader:
    return LineReader(tmp_path / "replies")


@pytest.fixture
def postmaster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[server.Postmaster]:
    monkeypatch.setitem(server.DOMAINS, "inbox.example", server.Domain())
    (tmp_path / "mailboxes").mkdir()
    with LineWriter(tmp_path / "replies") as writer:
        yield server.Postmaster(1, tmp_path / "mailboxes", writer)


def mail(number: int = 1, to: str = "ada@inbox.example") -> Mail:
    example = next(mails(1, seed=3))
    text = f"Message-ID: <{number}>\r\nSubject: Hello\r\n\r\nHello\r\n"
    return Mail(f"{number}", to, example.priority, text.encode())


def test_a_second_copy_is_known_by_its_message_id_and_thrown_away(
    postmaster: server.Postmaster, replies: LineReader, tmp_path: Path
) -> None:
    for number, host in [(1, "first"), (2, "first"), (1, "second")]:
        send_to(postmaster, mail(number), host)
    assert replies.new() == [
        "1 first 250 2.0.0 taken",
        "2 first 250 2.0.0 taken",
        "1 second 250 2.0.0 taken before",
    ]
    assert sorted(file.name for file in (tmp_path / "mailboxes").iterdir()) == ["1", "2"]


def test_a_refused_recipient_is_written_down_with_the_e_mail_s_id(
    postmaster: server.Postmaster, replies: LineReader, tmp_path: Path
) -> None:
    send_to(postmaster, mail(to="nobody@inbox.example"), "first")
    assert replies.new() == ["1 first 550 5.1.1 no such mailbox"]
    assert list((tmp_path / "mailboxes").iterdir()) == []


# -- the handler


class Script(ThreadingTCPServer):
    """Speaks SMTP, replies as it is told, and keeps what it was sent."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.replies = {"greeting": "220", "MAIL": "250", "RCPT": "250", "DATA": "354", ".": "250"}
        self.commands: list[str] = []
        self.messages: list[bytes] = []
        self.sessions = 0
        self.go = threading.Event()  # is waited for before the reply to an e-mail
        self.go.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up, as one without patience does."""
        assert isinstance(sys.exception(), ConnectionError)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.server_address[:2]
        return str(host), int(port)


class _Scripted(StreamRequestHandler):
    server: Script

    def handle(self) -> None:
        self.server.sessions += 1
        self._reply("greeting")
        for line in self.rfile:
            verb = line[:4].decode().upper()
            if verb == "EHLO":
                self.wfile.write(b"250 mx.example\r\n")
                continue
            self.server.commands.append(line.decode().strip().lower())
            self._reply(verb)
            if verb == "DATA" and self.server.replies["DATA"] == "354":
                self._take()

    def _take(self) -> None:
        code = self.server.replies["."]
        lines = list(iter(self.rfile.readline, b".\r\n"))
        self.server.messages.append(b"".join(line.removeprefix(b".") for line in lines))
        self.server.go.wait(10)
        self._reply(".", code)

    def _reply(self, verb: str, code: str | None = None) -> None:
        self.wfile.write(f"{code or self.server.replies[verb]} {verb}\r\n".encode())


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as server:
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def doubts(tmp_path: Path) -> LineReader:
    return LineReader(tmp_path / "doubts")


@pytest.fixture
def mailer(script: Script, tmp_path: Path) -> Iterator[sender.Mailer]:
    with LineWriter(tmp_path / "doubts") as writer:
        yield sender.Mailer(script.address, "here.example", writer)


def send(mailer: sender.Mailer, text: bytes = b"Hello\r\n") -> None:
    job = Job(text, id="7@shop.example", headers={"to": "ada@inbox.example"})
    mailer.send(text, cast("JobContext", SimpleNamespace(job=job)))


def test_the_envelope_names_the_recipient_and_an_address_with_the_job_s_id(
    mailer: sender.Mailer, script: Script
) -> None:
    send(mailer)
    assert script.commands == [
        "mail from:<bounces+7@shop.example>",
        "rcpt to:<ada@inbox.example>",
        "data",
    ]


def test_an_e_mail_arrives_as_it_was_written_with_lines_of_one_dot(
    mailer: sender.Mailer, script: Script
) -> None:
    text = b"one\r\n.\r\n..two\r\n"
    send(mailer, text)
    assert script.messages == [text]


STAGES = ["MAIL", "RCPT", "DATA", "."]


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_refused_for_good_is_rejected_with_the_reason(
    mailer: sender.Mailer, script: Script, stage: str
) -> None:
    script.replies[stage] = "550"
    with pytest.raises(RejectJobError, match=f"^550 {re.escape(stage)}$"):
        send(mailer)


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_refused_for_now_is_retried(
    mailer: sender.Mailer, script: Script, stage: str
) -> None:
    script.replies[stage] = "451"
    with pytest.raises(sender.DeferredError, match=f"^451 {re.escape(stage)}$"):
        send(mailer)


def test_a_server_that_does_not_greet_is_tried_again_later(
    mailer: sender.Mailer, script: Script
) -> None:
    script.replies["greeting"] = "554"
    with pytest.raises(SMTPConnectError):
        send(mailer)


def test_one_connection_serves_many_e_mails(mailer: sender.Mailer, script: Script) -> None:
    for _ in range(3):
        send(mailer)
    assert (len(script.messages), script.sessions) == (3, 1)


def test_a_connection_is_left_after_a_refusal(mailer: sender.Mailer, script: Script) -> None:
    send(mailer)
    script.replies["RCPT"] = "421"
    with pytest.raises(sender.DeferredError):
        send(mailer)
    script.replies["RCPT"] = "250"
    send(mailer)
    assert script.sessions == 2


def test_a_refusal_leaves_no_doubt(
    mailer: sender.Mailer, script: Script, doubts: LineReader
) -> None:
    script.replies["."] = "451"
    with pytest.raises(sender.DeferredError):
        send(mailer)
    assert doubts.new() == []


def test_a_reply_that_does_not_come_leaves_a_doubt_and_is_not_taken_for_the_next_one(
    mailer: sender.Mailer, script: Script, doubts: LineReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 0.05)
    script.go.clear()
    script.replies["."] = "550"
    with pytest.raises(SMTPServerDisconnected):
        send(mailer)
    assert doubts.new() == ["here.example 7@shop.example"]
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 10.0)
    script.replies["."] = "250"
    script.go.set()
    send(mailer)
    assert script.sessions == 2


# -- the sender


def test_what_an_earlier_life_accepted_is_not_enqueued_again(tmp_path: Path) -> None:
    outbox = list(mails(3, seed=3))
    ids = [mail.id for mail in outbox]
    (tmp_path / "acks").write_text(f"{ids[0]}\n")
    with JobQueue(Config(), handler=bytes, start=False) as queue:
        queue.enqueue(Job(id=ids[1]))  # accepted, but killed before the ack
        sender.feed(queue, outbox, tmp_path / "acks")
        assert queue.status(ids[2]) is Status.QUEUED
        assert queue.metrics().enqueued == 2
    assert (tmp_path / "acks").read_text().split() == ids


# -- the command


@pytest.mark.parametrize(
    ("option", "value"), [("--mails", "99"), ("--mails", "many"), ("--seed", "x")]
)
def test_a_bad_option_is_refused_by_name_and_value(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command.main, option, value, capsys)


@pytest.mark.slow
def test_every_e_mail_is_accounted_for_when_the_sender_is_killed_half_way(tmp_path: Path) -> None:
    printed, cells = run_example("email", "--mails", "150", "--seed", "7", home=tmp_path)
    counts = {row[1]: int(row[2]) for row in cells if len(row) > 2 and row[2].isdecimal()}
    assert counts["lost"] == counts["altered"] == counts["never accepted"] == 0
    assert counts["sent twice for no reason"] == 0
    assert counts["in a mailbox"] + counts["dead-lettered"] >= 150
    assert counts["found in the log"] > 0
    assert "SIGKILL" in printed
