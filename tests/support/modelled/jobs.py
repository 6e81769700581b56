"""What the model of a queue knows of a job, and what handlers are told to do."""

from __future__ import annotations

import queue
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from jobqueue.final import Job, JobContext, JobHandle, Limit, Priority, Rate, Status, Unique
from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.modelled.lines import Line

SETTINGS: dict[str, Any] = {
    "num_workers": 2,
    "queue_size": 3,
    "max_retries": 2,
    "base_delay": 1.0,
    "max_delay": 1.5,
    "jitter": 0,
    "fairness": 2,
    "status_retention": 4,
    "max_dead_letters": 3,
    "max_crashes": 1000,
    "segment_bytes": 4096,
}

LATE = "late"
"""The name of a handler that is there later, if at all."""
_NARROW = Limit(1)
_RATE = Rate(2, per=4.0)
_RULES: dict[str | None, dict[str, Any]] = {
    "narrow": {"limit": _NARROW},
    "keyed": {"limit": Limit(1, per_key=True)},
    "rated": {"rate": _RATE},
    "both": {"limit": _NARROW, "rate": _RATE},
    LATE: {"limit": _NARROW},
}
LIMITED = tuple(name for name in _RULES if name is not None and name != LATE)


def options_of(handler: str | None) -> dict[str, Any]:
    """The options that this handler is registered with."""
    return _RULES.get(handler, {})


def rules_of(job: Job) -> list[tuple[Limit | Rate, str | None]]:
    """The limits and rates of a job, each with the key that it goes by."""
    rules: list[tuple[Limit | Rate, str | None]] = []
    for rule in options_of(job.handler).values():
        if not rule.per_key:
            rules.append((rule, None))
        elif job.key is not None:
            rules.append((rule, job.key))
    return rules


NOT_KNOWN = object()


@dataclass(eq=False)
class Known:
    """What the model knows of a job."""

    job: Job
    status: Status
    number: int = 0
    """Its place among all that were accepted."""
    due: float | None = None
    rank: tuple[float, ...] = ()
    """Its place in its lane; equal where the order is open."""
    has_room: bool = False
    retries: int = 0
    error: str | None = None
    stopped: bool = False
    """Its handler was asked to stop."""
    started: object = None
    finished: float | None = None
    handle: JobHandle | None = None
    outcome: object = NOT_KNOWN
    waits_for: list[str] = field(default_factory=list)
    doomed_by: list[str] = field(default_factory=list)
    """Why it is about to be cancelled; any of these texts."""
    expires_at: float | None = None
    has_begun: bool = False
    """An attempt has begun: it expires no more, and some are not unique any more."""
    has_begun_in_log: bool = False
    """The same, as far as the next start will know."""
    has_run: bool = False
    """An attempt has begun, or before the last start has ended: it is not replaced."""
    line: Line | None = None
    passed: Line | None = None
    reserved: Line | None = None
    """The rate of which it has a token, having passed and not started."""
    place: int = 0
    held: int = 0
    """If its handler was paused when it came to the front of its lane: its place among such."""
    children: list[Job] = field(default_factory=list)

    @property
    def waits(self) -> bool:
        """Whether it has not started, or is to start again."""
        return self.status in {Status.QUEUED, Status.SCHEDULED}

    @property
    def is_new(self) -> bool:
        """Whether no attempt has begun, so that another one may take its place."""
        return not self.has_run and self.status is not Status.PROCESSING

    @property
    def is_live(self) -> bool:
        """Whether it waits or runs."""
        return self.waits or self.status is Status.PROCESSING

    @property
    def has_ended(self) -> bool:
        """Whether only a record of it is kept."""
        return self.status in {Status.COMPLETED, Status.CANCELLED}

    def copy(self) -> Known:
        """As it is now, for a crash that may bring it back."""
        return replace(self, waits_for=[*self.waits_for], doomed_by=[*self.doomed_by], children=[])


def identity_of(job: Job) -> tuple[object, ...]:
    """What no other job may have, if this one is unique."""
    unique = job.unique
    assert unique is not None
    if unique.by == "key":
        return unique.by, job.key
    return unique.by, job.handler, job.key if unique.by == "handler+key" else job.payload


@dataclass(frozen=True)
class Wish:
    """What a job is to be like."""

    priority: Priority = Priority.MEDIUM
    handler: str | None = None
    max_retries: int | None = None
    key: str | None = None
    unique: Unique | None = None
    after: tuple[str, ...] = ()
    expires: float | None = None
    is_like_others: bool = False
    """Whether other jobs have the same payload."""

    def job(self, job_id: str, number: int) -> Job:
        """Such a job."""
        unique = self.unique
        if unique is not None and unique.needs_key and self.key is None:
            unique = Unique("handler+payload", unique.until, unique.on_conflict)
        return Job(
            b"same" if self.is_like_others else f"{job_id}/{number}".encode(),
            id=job_id,
            priority=self.priority,
            handler=self.handler,
            max_retries=self.max_retries,
            headers={"lane": self.priority.name},
            key=self.key,
            unique=unique,
            after=self.after,
            expires=self.expires,
        )


# ── in the handlers ──────────────────────────────────────────────────────────────────────────────


class Order(Protocol):
    """What a handler is to do last."""

    def __call__(self) -> object:
        """Returns what it returns; raises what it raises."""


def returns() -> object:
    """Nothing goes wrong."""
    return "done"


@dataclass(frozen=True)
class Raises:
    """An order to a handler."""

    error: BaseException

    def __call__(self) -> object:
        """Raises it."""
        raise self.error


@dataclass(frozen=True)
class Asks:
    """What a handler is to do meanwhile; it answers with what is returned or raised."""

    call: Callable[[JobContext], object]

    def __call__(self, context: JobContext) -> object:
        """Does it."""
        try:
            return self.call(context)
        except Exception as error:  # told to the model, which expects one or not
            return error


class Stage:
    """The handler of all jobs: tells who enters, and waits to be told what to do."""

    def __init__(self) -> None:
        self.entered: queue.Queue[tuple[str, int, bytes]] = queue.Queue()
        self._orders: dict[str, queue.Queue[Order | Asks]] = {}
        self._answers: queue.Queue[object] = queue.Queue()

    def __call__(self, payload: bytes, context: JobContext) -> object:
        """One attempt."""
        orders = self._orders[context.job.id] = queue.Queue()
        self.entered.put((context.job.id, context.attempt, payload))
        while True:
            order = orders.get(timeout=PATIENCE)
            if not isinstance(order, Asks):
                return order()
            self._answers.put(order(context))

    def tell(self, job_id: str, order: Order) -> None:
        """Have an attempt end."""
        self._orders[job_id].put(order)

    def ask(self, job_id: str, call: Callable[[JobContext], object]) -> object:
        """Have an attempt do something and go on; returns its answer."""
        self._orders[job_id].put(Asks(call))
        return self._answers.get(timeout=PATIENCE)
