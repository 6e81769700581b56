"""One job: what has become of it, and what can be done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ...final import JobQueueError, Status
from ..errors import WrongError
from ..formatting import PAYLOAD_MAX, duration, size, visible
from ..searching import only

if TYPE_CHECKING:
    from ...final import Attempt, Job, JobInfo
    from ..desk import Desk

HEADERS_MAX = 100
TIED_MAX = 50


class Moment(NamedTuple):
    """A line of the timeline.

    Attributes:
        at: the Unix time, if it is known.
        kind: a class, by which it has its shape.
    """

    at: float | None
    text: str
    kind: str
    note: str = ""


class Shown(NamedTuple):
    """A payload or a result."""

    text: str
    note: str = ""


def show(desk: Desk, query: dict[str, str]) -> dict[str, Any]:
    """What the page of a job shows."""
    job_id = only(query, ("id",)).get("id")
    if job_id is None:
        raise WrongError("Which job? The address needs ?id=…")
    info = desk.info(job_id)
    job = _job(desk, job_id)
    return {
        "title": f"Job {visible(job_id, 40)}",
        "job": info,
        "timeline": timeline(info),
        "payload": None if info.payload is None else _shown(desk, info.payload),
        "payload_size": None if info.payload is None else size(len(info.payload)),
        "result": None if info.result is None else _shown(desk, info.result),
        "headers": list(info.headers.items())[:HEADERS_MAX],
        "headers_count": len(info.headers),
        "after": [] if job is None else list(job.after)[:TIED_MAX],
        "after_count": 0 if job is None else len(job.after),
        "expires": None if job is None else job.expires,
        "max_retries": None if job is None else job.max_retries,
        "changes": _changes(info),
    }


def _job(desk: Desk, job_id: str) -> Job | None:
    """What it was enqueued as, as far as that is kept."""
    try:
        return desk.queue.handle(job_id).job
    except JobQueueError:  # it was forgotten this moment, or the owner's process is another
        return None


def timeline(info: JobInfo) -> list[Moment]:
    """What has happened to a job, in order."""
    moments = [Moment(info.created, "Created", "queued")]
    first = info.attempts[0].number if info.attempts else 0
    if first > 0:
        moments.append(Moment(None, f"{first} earlier attempts are not kept", "other"))
    for attempt in info.attempts:
        moments += _of_attempt(attempt, is_last=attempt is info.attempts[-1], info=info)
    if info.status is Status.SCHEDULED:
        text = "Due" if info.due is not None else "Waits for other jobs"
        moments.append(Moment(info.due, text, "scheduled"))
    elif info.status is Status.QUEUED:
        moments.append(Moment(None, "Waits in its lane", "queued"))
    elif info.status is Status.CANCELLED:
        moments.append(Moment(info.finished, "Cancelled", "cancelled", info.last_error or ""))
    return moments


def _of_attempt(attempt: Attempt, *, is_last: bool, info: JobInfo) -> list[Moment]:
    name = f"Attempt {attempt.number + 1}"
    if attempt.finished is None:
        return [Moment(attempt.started, f"{name} runs", "processing")]
    took = ""
    if attempt.started is not None:
        took = f" after {duration(attempt.finished - attempt.started)}"
    if attempt.error is None:
        is_end = is_last and info.status is Status.COMPLETED
        text = f"{name} completed{took}" if is_end else f"{name} ended{took}"
        return [
            Moment(attempt.started, f"{name} started", "processing"),
            Moment(attempt.finished, text, "completed" if is_end else "other"),
        ]
    is_end = is_last and info.status is Status.FAILED
    end = "; given up" if is_end else ""
    return [
        Moment(attempt.started, f"{name} started", "processing"),
        Moment(attempt.finished, f"{name} failed{took}{end}", "failed", attempt.error),
    ]


def _shown(desk: Desk, value: object) -> Shown | None:
    """A payload or a result as the program's function shows it; `None` if there is none."""
    if desk.payload is None:
        return None
    try:
        text = desk.payload(value)
        if not isinstance(text, str):
            raise TypeError(f"it returned no text, but {type(text).__name__}")
    except Exception as error:  # noqa: BLE001  # the program's function may raise anything; the page tells
        return Shown("", f"It cannot be shown: payload= raised {type(error).__name__}: {error}")
    note = "" if len(text) <= PAYLOAD_MAX else f"the first {PAYLOAD_MAX} characters are shown"
    return Shown(visible(text, PAYLOAD_MAX, lines=True), note)


def _changes(info: JobInfo) -> list[tuple[str, str]]:
    """What can be done about it: (the action's word, the button's)."""
    match info.status:
        case Status.FAILED:
            return [("requeue", "Queue again"), ("discard", "Discard")]
        case Status.SCHEDULED:
            return [("run", "Run now"), ("cancel", "Cancel")]
        case Status.QUEUED:
            return [("cancel", "Cancel")]
        case Status.PROCESSING:
            return [("cancel", "Ask it to stop")]
        case _:
            return []
