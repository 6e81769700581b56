"""The table of calls: what a client may ask of the owner, besides to enqueue jobs.

Each function here is a call. Its parameters but the first are what travels to the owner, what it
returns is what travels back: msgspec checks both by the annotations. So a further call is one
function, and `link.ask(function, ...)` at the client. Those of the functions that wait for the log
run on threads of their own; the others on the server's thread, under the queue's mutex for as long
as any caller's.

A call that was under way when the owner ended is repeated with the next one. `again` names what is
called then, if the call itself would take what it did before for somebody else's doing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, ParamSpec, TypeVar, get_type_hints

import msgspec

from ..callers.queries import with_result
from ..errors import JobQueueError, ResultGoneError, UnknownJobError
from ..exact import exact_str
from ..model.filters import Filter
from ..model.job import JobInfo, Priority
from ..model.look import DeadGroups, Look
from ..model.metrics import HandlerInfo, Metrics
from ..model.paused import Paused
from ..model.periodic import PeriodicInfo
from ..model.results import RESULT_BYTES_MAX, StoredResult, encode_plain
from ..model.transitions import Status
from .messages import Existing, pack, wire_job

if TYPE_CHECKING:
    from typing import Concatenate

    from ..callers.queries import Queries
    from ..callers.schedules import Schedules
    from ..model.handle import JobHandle
    from ..model.results import ResultCodec
    from ..steering import Steering

P = ParamSpec("P")
R = TypeVar("R")
Ids = list[str] | None


class Served(NamedTuple):
    """What the calls are carried out with: the parts of the owner's queue."""

    desk: Steering
    queries: Queries
    schedules: Schedules


class Call(Generic[P, R]):
    """One line of the table.

    Attributes:
        name: what it is called on the way.
        waits: whether it may wait for the log.
    """

    def __init__(
        self,
        function: Callable[Concatenate[Served, P], R],
        again: Callable[Concatenate[Served, P], R] | None,
        *,
        waits: bool,
    ) -> None:
        hints = get_type_hints(function)
        self._names = list(inspect.signature(function).parameters)[1:]
        fields = [(name, hints[name]) for name in self._names]
        self._arguments: Any = msgspec.defstruct(function.__name__, fields, array_like=True)
        self._read = msgspec.msgpack.Decoder(self._arguments).decode
        self._read_value = msgspec.msgpack.Decoder(hints["return"]).decode
        self._function = function
        self._again = again or function
        self.name = function.__name__
        self.waits = waits

    def written(self, *args: P.args, **kwargs: P.kwargs) -> msgspec.Raw:
        """The arguments, as they travel."""
        return msgspec.Raw(pack(self._arguments(*args, **kwargs)))

    def carry_out(self, served: Served, arguments: msgspec.Raw, *, again: bool) -> msgspec.Raw:
        """Make the call; returns what travels back."""
        made: Any = self._read(arguments)
        function: Any = self._again if again else self._function
        return msgspec.Raw(pack(function(served, *(getattr(made, name) for name in self._names))))

    def value_of(self, value: msgspec.Raw) -> R:
        """What came back."""
        read: R = self._read_value(value)
        return read


CALLS: dict[str, Call[..., Any]] = {}


def _call(
    *, waits: bool = False, again: Callable[..., Any] | None = None
) -> Callable[[Callable[Concatenate[Served, P], R]], Call[P, R]]:
    def add(function: Callable[Concatenate[Served, P], R]) -> Call[P, R]:
        call = Call(function, again, waits=waits)
        CALLS[call.name] = call
        return call

    return add


def _existing(handle: JobHandle) -> Existing:
    return Existing(wire_job(handle.job), handle.status.value)


# ── one job ──────────────────────────────────────────────────────────────────────────────────────


@_call()
def status(served: Served, job_id: str) -> Status:
    """See `JobQueue.status`."""
    return served.desk.status(job_id)


@_call()
def handle(served: Served, job_id: str) -> Existing:
    """See `JobQueue.handle`."""
    return _existing(served.desk.handle(job_id))


class Told(NamedTuple):
    """A `JobInfo`, with its result apart: that goes as it is kept, and who asks reads it.

    Attributes:
        result: `None` if none is kept.
        coded: whether the handler's own codec wrote it.
    """

    info: JobInfo
    result: bytes | None
    coded: bool

    def whole(self, codec: Callable[[str | None], ResultCodec | None]) -> JobInfo:
        """The `JobInfo`; `codec` finds what reads the results of the handler of a name."""
        if self.result is None:
            return self.info
        stored = StoredResult(self.result, self.coded)
        return with_result(self.info, stored, codec(self.info.handler))


def _told(served: Served, info: JobInfo) -> Told:
    bare = replace(info, result=None)
    stored = served.queries.stored_result(info.id)
    return Told(bare, None, False) if stored is None else Told(bare, stored.data, stored.coded)


@_call()
def info(served: Served, job_id: str) -> Told:
    """See `JobQueue.info`."""
    return _told(served, served.desk.info(job_id))


def _cancel_again(served: Served, job_id: str) -> bool:
    return served.desk.cancel(job_id) or served.desk.status(job_id) is Status.CANCELLED


@_call(waits=True, again=_cancel_again)
def cancel(served: Served, job_id: str) -> bool:
    """See `JobQueue.cancel`."""
    return served.desk.cancel(job_id)


class Kept(NamedTuple):
    """A result as it is kept; `coded` if the handler's own codec wrote it."""

    data: bytes
    coded: bool


@_call()
def result(served: Served, job_id: str) -> Kept:
    """What a completed job returned.

    Raises:
        ResultGoneError: it is not kept, or cannot leave the owner's process.
    """
    stored = served.queries.stored_result(job_id)
    if stored is not None:
        return Kept(stored.data, stored.coded)
    value = served.queries.kept_result(served.desk.handle(job_id))
    try:
        data = encode_plain(value)
    except Exception as error:
        raise _stays(job_id, f"is of type {type(value).__name__}") from error
    if len(data) > RESULT_BYTES_MAX:
        raise _stays(job_id, f"has {len(data)} bytes")
    return Kept(data, False)


def _stays(job_id: str, why: str) -> ResultGoneError:
    return ResultGoneError(
        f"the result of job {job_id!r} {why}, and is in the memory of the queue's owner, another "
        f"process, alone; keep it by @tasks.task(store_result=True) or Job(..., store_result=True)"
    )


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────


@_call(waits=True)  # there may be many, with long tracebacks
def dead_letters(served: Served) -> list[JobInfo]:
    """See `JobQueue.dead_letters`."""
    return served.desk.dead_letters()


def _requeue_again(served: Served, job_id: str) -> Existing:
    try:
        return _existing(served.desk.requeue(job_id))
    except ValueError:  # it has not failed, for it is queued again already
        return _existing(served.desk.handle(job_id))


@_call(waits=True, again=_requeue_again)
def requeue(served: Served, job_id: str) -> Existing:
    """See `JobQueue.requeue`."""
    return _existing(served.desk.requeue(job_id))


def _discard_again(served: Served, job_id: str) -> None:
    try:
        served.desk.discard(job_id)
    except UnknownJobError:  # for it is discarded already
        pass


@_call(waits=True, again=_discard_again)
def discard(served: Served, job_id: str) -> None:
    """See `JobQueue.discard`."""
    served.desk.discard(job_id)


# ── all jobs ─────────────────────────────────────────────────────────────────────────────────────


@_call()
def metrics(served: Served) -> Metrics:
    """See `JobQueue.metrics`."""
    return served.desk.metrics()


@_call()
def pause(
    served: Served, handler: str | None, priority: Priority | None, periodic: str | None
) -> None:
    """See `JobQueue.pause`."""
    served.desk.pause(handler, priority, periodic)


@_call()
def resume(
    served: Served, handler: str | None, priority: Priority | None, periodic: str | None
) -> None:
    """See `JobQueue.resume`."""
    served.desk.resume(handler, priority, periodic)


@_call()
def paused(served: Served) -> Paused:
    """See `JobQueue.paused`."""
    return served.desk.paused()


@_call(waits=True)  # it looks at all handlers' jobs
def handlers(served: Served, within: int | None = None) -> list[HandlerInfo]:
    """See `JobQueue.handlers`; options that are no built-in types are told as text."""
    return [_bare(each) for each in served.desk.handlers(within=within)]


def _bare(each: HandlerInfo) -> HandlerInfo:
    plain = (int, float, str, type(None))
    options = {
        name: value if isinstance(value, plain) else repr(value)
        for name, value in each.options.items()
    }
    return replace(each, options=options)


# ── those that are like something ────────────────────────────────────────────────────────────────


def _fields(wanted: Filter) -> dict[str, Any]:
    fields = wanted._asdict()
    fields["status"] = fields.pop("statuses")
    return fields


@_call(waits=True)  # it may look at all jobs that are known
def jobs(served: Served, wanted: Filter, limit: int, before: str | None) -> list[Told]:
    """See `JobQueue.jobs`."""
    found = served.desk.jobs(**_fields(wanted), limit=limit, before=before)
    return [_told(served, each) for each in found]


@_call(waits=True)  # it may look at many
def look(
    served: Served, wanted: Filter, in_payload: bool, limit: int, before: str | None, within: int
) -> Look:
    """See `JobQueue.look`."""
    fields = _fields(wanted) | {"limit": limit, "before": before, "within": within}
    return served.desk.look(**fields, in_payload=in_payload)


@_call(waits=True)
def dead_groups(served: Served, limit: int) -> DeadGroups:
    """See `JobQueue.dead_groups`."""
    return served.desk.dead_groups(limit)


@_call(waits=True)
def cancel_jobs(served: Served, wanted: Filter, limit: int | None, ids: Ids = None) -> int:
    """See `JobQueue.cancel_jobs`."""
    return served.desk.cancel_jobs(**_fields(wanted), limit=limit, ids=ids)


@_call(waits=True)
def requeue_jobs(served: Served, wanted: Filter, limit: int | None, ids: Ids = None) -> int:
    """See `JobQueue.requeue_jobs`."""
    return served.desk.requeue_jobs(**_fields(wanted), limit=limit, ids=ids)


@_call(waits=True)
def discard_jobs(served: Served, wanted: Filter, limit: int | None, ids: Ids = None) -> int:
    """See `JobQueue.discard_jobs`."""
    return served.desk.discard_jobs(**_fields(wanted), limit=limit, ids=ids)


@_call(waits=True)
def run_now(served: Served, wanted: Filter, limit: int | None, ids: Ids = None) -> int:
    """See `JobQueue.run_now`."""
    return served.desk.run_now(**_fields(wanted), limit=limit, ids=ids)


@_call(waits=True)
def flush(served: Served) -> None:
    """See `JobQueue.flush`."""
    served.desk.flush()


def _run_periodic_again(served: Served, name: str, job_id: str) -> Existing:
    try:
        return _existing(served.desk.handle(job_id))
    except UnknownJobError:
        return _existing(served.schedules.run(name, job_id))


@_call(waits=True, again=_run_periodic_again)
def run_periodic(served: Served, name: str, job_id: str) -> Existing:
    """See `JobQueue.run_periodic`, but for the id."""
    return _existing(served.schedules.run(name, job_id))


class Scheduled(NamedTuple):
    """A `PeriodicInfo`; `seconds` is its schedule if that is an interval, else `text` is."""

    name: str
    text: str
    seconds: float | None
    tz: str
    last: float | None
    next: float | None
    paused: bool


@_call()
def periodics(served: Served) -> list[Scheduled]:
    """See `JobQueue.periodics`."""
    return [_scheduled(each) for each in served.schedules.infos()]


def _scheduled(each: PeriodicInfo) -> Scheduled:
    text, seconds = "", None
    if isinstance(each.schedule, str):
        text = exact_str(each.schedule)
    else:
        seconds = each.schedule.total_seconds()
    return Scheduled(each.name, text, seconds, each.tz, each.last, each.next, each.paused)


def call_named(name: str) -> Call[..., Any]:
    """The call of this name.

    Raises:
        JobQueueError: there is none.
    """
    call = CALLS.get(name)
    if call is None:
        why = "its process runs another release of jobqueue; let all processes have the same"
        raise JobQueueError(f"the queue's owner knows no call {name!r}: {why}")
    return call
