"""An e-mail sender on a durable queue: the part to copy.

A server answers 4xx to what may go better later: this is retried with backoff. It answers 5xx to
what never will: this becomes a dead letter at once.

Delivery is at least once. Between the last byte of an e-mail and the server's 250 nobody can know
whether it was taken (RFC 1047). A sender that is cut off there, by a timeout or a kill, sends
again. The job's id is the Message-ID, so that a server, or the reader's program, can tell a second
copy.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from smtplib import SMTP, SMTPException, SMTPResponseException, SMTPServerDisconnected

from jobqueue.final import (
    Config,
    DuplicateJobError,
    Job,
    JobContext,
    JobQueue,
    Priority,
    RejectJobError,
    Status,
    UnknownJobError,
)

from ..lines import LineReader, LineWriter
from .mails import Mail, mails
from .server import SENDER_PREFIX

PATIENCE_SECONDS = 1.0  # for the connection, and for each reply
_REPORT_SECONDS = 0.1
_UNFINISHED = {Status.QUEUED, Status.SCHEDULED, Status.PROCESSING}


class DeferredError(Exception):
    """The server did not take the e-mail this time."""


class _Connection(SMTP):
    """Kept open from one e-mail to the next; closed when the thread that has it is gone."""

    def __del__(self) -> None:
        self.close()


class _Worker(threading.local):
    """What each worker thread has for itself: an SMTP session is one conversation."""

    def __init__(self) -> None:
        self.smtp: _Connection | None = None


class Mailer:
    """Hands e-mails over to a server. Safe from any thread.

    Args:
        address: of the server, host and port.
        host_name: what this host calls itself.
        doubts: gets `<host_name> <id>` of each e-mail whose reply was waited for in vain.
    """

    def __init__(self, address: tuple[str, int], host_name: str, doubts: LineWriter) -> None:
        self._address = address
        self._host_name = host_name
        self._doubts = doubts
        self._worker = _Worker()

    def send(self, payload: bytes, context: JobContext) -> None:
        """The queue's handler: hand over one e-mail.

        Raises:
            RejectJobError: the server will never take it; the job is dead-lettered at once.
            DeferredError, OSError, SMTPException: anything else; retried with backoff.
        """
        job = context.job
        with self._session() as smtp:
            _expect(smtp.mail(SENDER_PREFIX + job.id))
            _expect(smtp.rcpt(job.headers["to"]))
            try:
                reply = smtp.data(payload)
            except SMTPServerDisconnected:  # what smtplib makes of a timeout, too
                self._doubts.add(f"{self._host_name} {job.id}")
                raise
            _expect(reply)

    @contextmanager
    def _session(self) -> Iterator[SMTP]:
        """This thread's connection; after anything but success the next e-mail gets a new one,
        so that no late reply is read as the next one's.
        """
        smtp = self._worker.smtp or self._connect()
        self._worker.smtp = None
        try:
            yield smtp
        except SMTPResponseException as error:  # if smtplib itself reads the reply
            smtp.close()
            raise _failure(error.smtp_code, error.smtp_error) from error
        except BaseException:
            smtp.close()
            raise
        self._worker.smtp = smtp

    def _connect(self) -> _Connection:
        host, port = self._address
        smtp = _Connection(host, port, self._host_name, timeout=PATIENCE_SECONDS)
        smtp.ehlo_or_helo_if_needed()
        return smtp


def _expect(reply: tuple[int, bytes]) -> None:
    """Raise what the server's reply means for the job, unless it is a success."""
    code, text = reply
    if code == -1:  # smtplib's way to say that no code could be read
        raise SMTPException(f"not a reply: {text!r}")
    if code >= 400:
        raise _failure(code, text)


def _failure(code: int, text: bytes | str) -> Exception:
    words = text.decode(errors="replace") if isinstance(text, bytes) else text
    problem = f"{code} {words}"
    return RejectJobError(problem) if 500 <= code < 600 else DeferredError(problem)


@dataclass(frozen=True)
class Settings:
    """What the sender is to do. Its second life differs in the host's name alone."""

    mails: int
    seed: int
    address: tuple[str, int]  # of the SMTP server
    host_name: str
    log: Path  # the queue's directory
    acks: Path  # ids of the e-mails that the queue has accepted, one a line
    doubts: Path  # lines `<host name> <id>`: replies that were waited for in vain


def open_queue(settings: Settings, mailer: Mailer) -> JobQueue:
    """Open the queue with all that its log still holds. It sends nothing before its `start()`."""
    config = Config(
        num_workers=10,
        queue_size=100,
        max_retries=4,
        base_delay=0.2,  # minutes, if the servers are not all of this machine
        max_delay=1.0,
        persist_path=settings.log,
        status_retention=settings.mails,  # ids that are still refused as duplicates
    )
    return JobQueue(config, handler=mailer.send, start=False)


def as_job(mail: Mail) -> Job:
    """Make a job of an e-mail. What is known twice is accepted once: the id sees to it."""
    return Job(mail.message, id=mail.id, priority=mail.priority, headers={"to": mail.to})


def feed(queue: JobQueue, outbox: Iterable[Mail], acks_file: Path) -> None:
    """Enqueue, in order, all e-mails that have not been accepted yet."""
    accepted = set(LineReader(acks_file).new())
    with LineWriter(acks_file) as acks:
        for mail in outbox:
            if mail.id in accepted:
                continue
            try:
                queue.enqueue(as_job(mail))  # waits for room
            except DuplicateJobError:
                pass  # accepted by the process that died before it could write the ack
            acks.add(mail.id)


@dataclass(frozen=True)
class Report:
    """How the sender is doing."""

    recovered: frozenset[str]  # ids that the log knew as unfinished at the start
    retrying: dict[Priority, int]
    dead: dict[str, str]  # reasons, by the e-mail's id
    finished: bool


def main(settings: Settings, parent: Connection) -> None:
    """Send everything, and tell the parent process about it as it goes."""
    # Every failed attempt is logged with its traceback. Here they are the point of the show.
    logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
    outbox = list(mails(settings.mails, settings.seed))
    with suppress(BrokenPipeError), LineWriter(settings.doubts) as doubts:
        mailer = Mailer(settings.address, settings.host_name, doubts)
        with ThreadPoolExecutor(1) as feeder, open_queue(settings, mailer) as queue:
            recovered = _unfinished(queue, outbox)
            queue.start()
            feeding = feeder.submit(feed, queue, outbox, settings.acks)
            finished = False
            while not finished:
                finished = _finished(queue, feeding)
                parent.send(_report(queue, recovered, finished))


def _unfinished(queue: JobQueue, outbox: Iterable[Mail]) -> frozenset[str]:
    """What the log, which an earlier life has left, says that there is to send."""
    found = set()
    for mail in outbox:
        with suppress(UnknownJobError):  # never accepted
            if queue.status(mail.id) in _UNFINISHED:
                found.add(mail.id)
    return frozenset(found)


def _finished(queue: JobQueue, feeding: Future[None]) -> bool:
    """Wait a moment for the end. A feeder that failed is an error here."""
    wait([feeding], timeout=_REPORT_SECONDS)
    if not feeding.done():
        return False
    feeding.result()
    return queue.join(timeout=_REPORT_SECONDS)


def _report(queue: JobQueue, recovered: frozenset[str], finished: bool) -> Report:
    retrying = {name: lane.scheduled for name, lane in queue.metrics().by_priority.items()}
    dead = {job.id: job.last_error or "" for job in queue.dead_letters()}
    return Report(recovered, retrying, dead, finished)
