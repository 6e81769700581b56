"""What the buttons do. Each returns the page that follows, as a link from the dashboard's root.

Called in threads: they may wait for the log. Who asks, and from where, was checked before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote

from ..final import DuplicateJobError, JobQueueError, Priority, UnknownJobError
from .desk import COUNTED_MAX
from .errors import MissingError, PageError, WrongError
from .formatting import link, visible
from .reporting import ABOUT_NO_JOB, logger
from .searching import LIKE, PRIORITIES, filters_of, words

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..final.ports import Queue
    from .desk import Desk

    Form = list[tuple[str, str]]

IDS_MAX = 100
_COLLECTED_AT_ONCE = 1000
_LOOKS_MAX = 500
_AFTERWARDS = ("jobs", "job", "dead")
_CHANGES = ("cancel", "requeue", "discard", "run")


def find(_desk: Desk, form: Form) -> str:
    """Filter jobs: nothing is changed, a link is made of a form."""
    like = words(_once(form, LIKE))
    filters_of(like)
    return link("jobs", **like)


def change(desk: Desk, form: Form) -> str:
    """Cancel, requeue, discard or run now: jobs that are named, or all that are like something."""
    given = _once([pair for pair in form if pair[0] != "id"], (*LIKE, "do", "to", "seen", "plain"))
    do, to = given.pop("do", ""), given.pop("to", "jobs")
    if do not in _CHANGES:
        raise WrongError(f"There is no such change: {visible(do, 40)!r}.")
    if to not in _AFTERWARDS:
        raise WrongError("There is no such page to go on with.")
    given |= words({name: unquote(given[name]) for name in LIKE if name in given})
    filters_of(given)  # also of named jobs: the page that follows has them
    ids = [unquote(value) for name, value in form if name == "id"]
    if len(ids) > IDS_MAX:
        raise WrongError(f"At most {IDS_MAX} jobs can be named at once.")
    if ids:
        count = _change_these(desk.queue, do, ids)
    else:
        count = _change_all(desk, do, given)
    desk.paced.forget()
    if to == "job" and ids and do != "discard":
        return link("job", id=ids[0], did=do, n=count)
    if to == "jobs":
        like = {name: given[name] for name in LIKE if name in given}
        return link("jobs", **like, did=do, n=count)
    return link("dead", did=do, n=count)


def _change_these(queue: Queue, do: str, ids: list[str]) -> int:
    # Some may be gone since the page was made; mostly the first one is there, and one look enough.
    if not any(_is_known(queue, each) for each in ids):
        if len(ids) > 1:
            raise MissingError(f"None of these {len(ids)} jobs is there any more.")
        raise MissingError(f"There is no job {visible(ids[0])} any more.")
    return _call_of(queue, do)(ids=ids)


def _is_known(queue: Queue, job_id: str) -> bool:
    try:
        queue.status(job_id)
    except (UnknownJobError, ValueError):
        return False
    return True


def _change_all(desk: Desk, do: str, given: dict[str, str]) -> int:
    """Change all that are like this, as many as were seen, and no more than can be counted."""
    seen = given.pop("seen", "")
    is_number = seen.isascii() and seen.isdigit() and len(seen) < 10
    if not (is_number and 0 < int(seen) <= COUNTED_MAX):
        raise WrongError(f"seen must tell how many jobs were counted, from 1 to {COUNTED_MAX}.")
    plain = given.pop("plain", "")
    filters = filters_of(given)
    # Some things the queue cannot be asked in one call: then the jobs are found first.
    if plain or ("text" in filters and desk.payload is None):
        return _call_of(desk.queue, do)(ids=_ids_like(desk, given, plain, int(seen)))
    return _call_of(desk.queue, do)(**filters, limit=int(seen))


def _ids_like(desk: Desk, like: dict[str, str], plain: str, most: int) -> list[str]:
    """The ids of jobs that are like this, newest first.

    Args:
        plain: what they must not have: "handler", for those of the default one, or "error".
    """
    if plain not in {"", "handler", "error", "both"}:
        raise WrongError("There is no such group.")
    ids: list[str] = []
    before: str | None = None
    for _ in range(_LOOKS_MAX):
        found = desk.look_now(like, limit=_COLLECTED_AT_ONCE, before=before)
        ids += [
            job.id
            for job in found.jobs
            if not (plain in {"handler", "both"} and job.handler is not None)
            and not (plain in {"error", "both"} and job.last_error is not None)
        ]
        before = found.jobs[-1].id if found.matching > len(found.jobs) else found.last
        if before is None or len(ids) >= most:
            break
    return ids[:most]


def _call_of(queue: Queue, do: str) -> Callable[..., int]:
    calls: dict[str, Callable[..., int]] = {
        "cancel": queue.cancel_jobs,
        "requeue": queue.requeue_jobs,
        "discard": queue.discard_jobs,
        "run": queue.run_now,
    }
    return calls[do]


def steer(desk: Desk, form: Form) -> str:
    """Pause or resume the queue, a handler, a lane or a schedule."""
    given = _once(form, ("do", "handler", "priority", "periodic", "to"))
    do, to = given.pop("do", ""), given.pop("to", "")
    if do not in {"pause", "resume"}:
        raise WrongError(f"There is no such change: {visible(do, 40)!r}.")
    if to not in {"", "handlers", "periodic"} or len(given) > 1:
        raise WrongError("One thing is paused at a time.")
    handler, periodic = (
        unquote(given[name]) if name in given else None for name in ("handler", "periodic")
    )
    priority = given.get("priority")
    if priority is not None and priority not in PRIORITIES:
        raise WrongError("There is no such lane.")
    if periodic is not None:
        _check_schedule(desk, periodic)
    if handler is not None and do == "pause":  # one that is paused can always be resumed
        _check_handler(desk, handler)
    lane = None if priority is None else Priority[priority.upper()]
    call = desk.queue.pause if do == "pause" else desk.queue.resume
    try:
        call(handler, lane, periodic)
    except ValueError as error:
        raise WrongError(str(error)) from None
    desk.paced.forget()
    return link(to or "./", did=do)


def tick(desk: Desk, form: Form) -> str:
    """Enqueue a job of a schedule now."""
    name = unquote(_once(form, ("periodic",)).get("periodic", ""))
    _check_schedule(desk, name)
    try:
        desk.queue.run_periodic(name)
    except DuplicateJobError:
        return link("periodic", did="like")
    except JobQueueError:
        raise
    except Exception as error:
        # It made no job, or none that the queue can take: that is the program's, not ours.
        logger.exception("the function of schedule %r made no job", name, extra=ABOUT_NO_JOB)
        raise PageError(
            f"The function of schedule {visible(name)!r} made no job ({type(error).__name__}); the "
            f"program's log tells why."
        ) from error
    finally:
        desk.paced.forget()
    return link("periodic", did="tick")


def _check_schedule(desk: Desk, name: str) -> None:
    if not any(each.name == name for each in desk.queue.periodics()):
        raise MissingError(f"There is no schedule {visible(name)!r}.")


def _check_handler(desk: Desk, name: str) -> None:
    if not any(each.name == name for each in desk.handlers()):
        raise MissingError(f"There is no handler {visible(name)!r}, and no job waits for it.")


def _once(form: Form, allowed: tuple[str, ...]) -> dict[str, str]:
    """The fields that are not empty, each once.

    Raises:
        Wrong: one is there twice, or no action has it.
    """
    given: dict[str, str] = {}
    for name, value in form:
        if name not in allowed or name in given:
            raise WrongError(
                f"A form of this kind has no field {visible(name, 40)!r}, or not twice."
            )
        given[name] = value
    return {name: value for name, value in given.items() if value}


ACTIONS: dict[str, Callable[[Desk, list[tuple[str, str]]], str]] = {
    "find": find,
    "change": change,
    "steer": steer,
    "tick": tick,
}
OF_READERS = ("find",)
"""What changes nothing."""
