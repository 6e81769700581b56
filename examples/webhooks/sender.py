"""A webhook sender on a durable queue: the part to copy.

Delivery is at least once: a request whose answer never came, or whose process died before it
could note the answer, is sent again. The job's id travels as Idempotency-Key, so that a
receiver can tell.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from jobqueue import (
    CONTEXT,
    Config,
    DuplicateJobError,
    JobContext,
    JobQueue,
    Priority,
    RejectJobError,
    RetryJobError,
    Tasks,
)

from ..lines import LineReader, LineWriter
from .events import Event, events

Durability = Literal["async", "write", "fsync"]

PATIENCE_SECONDS = 0.5  # for the connection, and for each wait for bytes of the answer
_RETRY_AFTER_SECONDS_MAX = 60
_REPORT_SECONDS = 0.1


class DeliveryError(Exception):
    """The receiver did not take the event this time."""


class _Connections(dict[str, HTTPConnection]):
    """Kept-alive connections by host. Not to be shared by threads."""

    def __missing__(self, host: str) -> HTTPConnection:
        self[host] = HTTPConnection(host, timeout=PATIENCE_SECONDS)
        return self[host]

    def __del__(self) -> None:
        for connection in self.values():
            connection.close()


class _Worker(threading.local):
    """What each worker thread has for itself; it goes when the thread does."""

    def __init__(self) -> None:
        self.connections = _Connections()


_worker = _Worker()


tasks = Tasks()


@tasks.task(name="webhook.deliver")
def deliver(url: str, body: str, context: JobContext = CONTEXT) -> None:
    """Post one event.

    Raises:
        RejectJobError: the receiver will never take it; the job is dead-lettered at once.
        RetryJobError: the receiver has said when to try again.
        DeliveryError, OSError, HTTPException: anything else; retried with backoff.
    """
    headers = {"Content-Type": "application/json", "Idempotency-Key": context.job.id}
    response, text = _post(url, body.encode(), headers)
    if 200 <= response.status < 300:
        return
    problem = f"{response.status} {response.reason}" + (f": {text}" if text else "")
    if (delay := _retry_after(response)) is not None:
        raise RetryJobError(problem, delay=delay)
    if 400 <= response.status < 500 and response.status not in {408, 425, 429}:
        raise RejectJobError(problem)
    raise DeliveryError(problem)


def _post(url: str, body: bytes, headers: dict[str, str]) -> tuple[HTTPResponse, str]:
    host = urlsplit(url).netloc
    target = url.partition(host)[2]  # path and query
    connection = _worker.connections[host]
    try:
        connection.request("POST", target, body, headers)
        response = connection.getresponse()
        return response, response.read().decode(errors="replace")[:200]
    except (OSError, HTTPException):
        # An answer that comes late must not be read as the next request's. The next request
        # connects anew.
        connection.close()
        raise


def _retry_after(response: HTTPResponse) -> float | None:
    """Seconds of the Retry-After header, bounded; dates in it are left to the backoff."""
    value = response.getheader("Retry-After", "")
    return float(min(int(value), _RETRY_AFTER_SECONDS_MAX)) if value.isdecimal() else None


@dataclass(frozen=True)
class Settings:
    """What the sender is to do; the same for both of its lives."""

    jobs: int
    seed: int
    durability: Durability
    urls: dict[str, str]  # by endpoint
    log: Path  # the queue's directory
    acks: Path  # ids of the events that the queue has accepted, one a line


def open_queue(settings: Settings) -> JobQueue:
    """Open the queue with all that its log still holds, and start to deliver."""
    config = Config(
        num_workers=24,
        queue_size=100,
        max_retries=8,
        base_delay=0.25,
        max_delay=2.0,
        persist_path=settings.log,
        durability=settings.durability,
        status_retention=settings.jobs,  # ids that are still refused as duplicates
    )
    return tasks.open(config)


def enqueue(event: Event, url: str) -> None:
    """Have an event delivered. What is known twice is accepted once: the id sees to it."""
    deliver.using(
        id=event.id,
        priority=event.priority,
        max_retries=2 if event.priority is Priority.LOW else None,  # not worth more
    ).enqueue(url, event.body.decode())  # waits for room


def feed(settings: Settings) -> None:
    """Enqueue, in order, all events that have not been accepted yet."""
    # A kill may take the last few milliseconds of what "async" had accepted, and their acks
    # promise too much. All events are offered again then; those known are refused.
    lossy = settings.durability == "async"
    accepted = set() if lossy else set(LineReader(settings.acks).new())
    with LineWriter(settings.acks) as acks:
        for event in events(settings.jobs, settings.seed):
            if event.id in accepted:
                continue
            try:
                enqueue(event, settings.urls[event.endpoint])
            except DuplicateJobError:
                pass  # accepted by the process that died before it could write the ack
            acks.add(event.id)


@dataclass(frozen=True)
class Lane:
    """How one priority is doing."""

    retrying: int
    wait_p50_seconds: float
    wait_p99_seconds: float


@dataclass(frozen=True)
class Report:
    """How the sender is doing."""

    lanes: dict[Priority, Lane]
    dead: dict[str, str]  # reasons, by event id
    finished: bool


def main(settings: Settings, parent: Connection) -> None:
    """Deliver everything, and tell the parent process about it as it goes."""
    # Every failed attempt is logged with its traceback. Here they are the point of the show.
    logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
    with suppress(BrokenPipeError), ThreadPoolExecutor(1) as feeder, open_queue(settings) as queue:
        feeding = feeder.submit(feed, settings)
        finished = False
        while not finished:
            finished = _finished(queue, feeding)
            parent.send(_report(queue, finished))


def _finished(queue: JobQueue, feeding: Future[None]) -> bool:
    """Wait a moment for the end. A feeder that failed is an error here."""
    wait([feeding], timeout=_REPORT_SECONDS)
    if not feeding.done():
        return False
    feeding.result()
    return queue.join(timeout=_REPORT_SECONDS)


def _report(queue: JobQueue, finished: bool) -> Report:
    lanes = {
        priority: Lane(lane.scheduled, lane.queue_wait.p50, lane.queue_wait.p99)
        for priority, lane in queue.metrics().by_priority.items()
    }
    dead = {job.id: job.last_error or "" for job in queue.dead_letters()}
    return Report(lanes, dead, finished)
