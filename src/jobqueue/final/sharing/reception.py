"""Which request goes where: to be let in with others, to wait, or to be carried out.

Whose thread: the server's alone; no lock of its own.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import msgspec

from ..errors import EnqueueCancelledError, JobQueueError
from .arrivals import Arrival, given_up
from .calls import call_named
from .frames import framed
from .messages import (
    ENQUEUE,
    ENQUEUE_MANY,
    ENQUEUE_TOGETHER,
    JOIN,
    NOTHING,
    WATCH,
    Answer,
    Existing,
    Many,
    One,
    WatchOf,
    job_of,
    pack,
    wire_job,
)
from .visitor import is_give_up

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..model.handle import JobHandle
    from ..wal.writing.batch import OpenBatch
    from .arrivals import Arrivals
    from .calls import Served
    from .messages import Request
    from .visitor import Visitor
    from .watches import Watches


_read_one = msgspec.msgpack.Decoder(One).decode
_read_many = msgspec.msgpack.Decoder(Many).decode
_read_watch = msgspec.msgpack.Decoder(WatchOf).decode
_read_number = msgspec.msgpack.Decoder(tuple[int]).decode


class Office(Protocol):
    """What the reception needs of the server."""

    @property
    def is_ending(self) -> bool:
        """Whether the queue takes no more jobs since it closes."""

    @property
    def takes_jobs(self) -> bool:
        """Whether clients may enqueue."""

    def soon(self, function: Callable[[], None]) -> None:
        """Has a function called once all that has come has been read."""

    def start(self, visitor: Visitor, number: int, awaited: Awaitable[msgspec.Raw]) -> None:
        """Answers a call once something awaited is there."""

    def in_helper(self, function: Callable[[], msgspec.Raw]) -> Awaitable[msgspec.Raw]:
        """Has one of the server's threads call a function."""

    def fail(self, visitor: Visitor, number: int, error: BaseException) -> None:
        """Answers with an error."""


class Reception:
    """Takes the requests of all clients."""

    def __init__(
        self, office: Office, served: Served, arrivals: Arrivals, watches: Watches
    ) -> None:
        self._office = office
        self._served = served
        self._arrivals = arrivals
        self._watches = watches
        self._arrived: list[tuple[Visitor, Request, Arrival]] = []
        self._is_in_turn = False  # whether a client's jobs were let in in this turn of the loop
        self._special: dict[str, Callable[[Visitor, Request], None]] = {
            ENQUEUE: self._enqueue,
            ENQUEUE_MANY: self._enqueue_many,
            ENQUEUE_TOGETHER: self._enqueue_together,
            WATCH: self._watch,
            JOIN: self._join,
        }

    def take(self, visitor: Visitor, request: Request) -> None:
        """A client calls."""
        if is_give_up(request):
            self.give_up(visitor, _read_number(request.arguments)[0])
            return
        try:
            # guard: a number that is taken is no further call's
            if request.number in visitor.under_way:
                raise ValueError(f"call {request.number} is under way already")
            special = self._special.get(request.call)
            if special is not None:
                special(visitor, request)
            else:
                self._carry_out(visitor, request)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's to see
            self._office.fail(visitor, request.number, error)

    def _carry_out(self, visitor: Visitor, request: Request) -> None:
        call, again = call_named(request.call), request.again
        if not call.waits:
            value = call.carry_out(self._served, request.arguments, again=again)
            visitor.answer(request.number, value)
            return

        def function() -> msgspec.Raw:
            return call.carry_out(self._served, request.arguments, again=again)

        async def one_of_a_few() -> msgspec.Raw:
            async with visitor.slots:
                return await asyncio.shield(self._office.in_helper(function))

        self._office.start(visitor, request.number, one_of_a_few())

    def give_up(self, visitor: Visitor, number: int) -> None:
        """A caller does not wait any more for room or for an end."""
        waiting = visitor.under_way.get(number)
        if isinstance(waiting, str):
            del visitor.under_way[number]
            self._watches.remove(visitor, number, waiting)
        elif isinstance(waiting, Arrival):
            waiting.give_up()
        elif waiting is not None:
            waiting.cancel()

    # ── enqueue ──────────────────────────────────────────────────────────────────────────────

    def _check_takes_jobs(self) -> None:
        # guard: an owner that is only to be steered takes no jobs of others
        if not self._office.takes_jobs:
            raise JobQueueError(
                "the process that has the queue lets others look at it and steer it (control=True),"
                " and takes no jobs of theirs; open it with Config(share='auto') there too"
            )

    def _enqueue(self, visitor: Visitor, request: Request) -> None:
        self._check_takes_jobs()
        one = _read_one(request.arguments)
        arrival = Arrival(job_of(one.job))
        visitor.under_way[request.number] = arrival
        if request.again or one.delay:
            self._wait_for_room(visitor, request.number, arrival, one, again=request.again)
            return
        self._arrived.append((visitor, request, arrival))

    def come_to_rest(self) -> None:
        """All has been read that one client has sent so far.

        The first client in a turn of the loop is not kept waiting for others: that would take a
        lone one another turn. What comes after it in the same turn is let in together.
        """
        if self._arrived and not self._is_in_turn:
            self._is_in_turn = True
            self._office.soon(self._end_turn)
            self._let_in()

    def _end_turn(self) -> None:
        self._is_in_turn = False
        if self._arrived:
            self._let_in()

    def _let_in(self) -> None:
        """Let in all that has arrived."""
        arrived, self._arrived = self._arrived, []
        try:
            batch = self._arrivals.let_in([arrival for _, _, arrival in arrived])
        except Exception as error:  # noqa: BLE001  # it is that of each of the calls
            for visitor, request, _ in arrived:
                visitor.under_way.pop(request.number, None)
                self._office.fail(visitor, request.number, error)
            return
        if batch is None:
            self._answer_all(arrived, None)
            return
        waits = [each for each in arrived if each[2].handle is not None]
        self._answer_all([each for each in arrived if each[2].handle is None], None)
        self._arrivals.when_written(batch, lambda: self._answer_all(waits, batch))

    def _answer_all(
        self, arrived: list[tuple[Visitor, Request, Arrival]], batch: OpenBatch | None
    ) -> None:
        answers: dict[Visitor, list[bytes]] = {}
        for visitor, request, arrival in arrived:
            number, error = request.number, arrival.error
            if batch is not None and arrival.handle is not None:
                error = batch.error or batch.refused.get(arrival.handle._number)
            if error is not None:
                visitor.under_way.pop(number, None)
                self._office.fail(visitor, number, error)
            elif arrival.waits:
                one = _read_one(request.arguments)
                self._wait_for_room(visitor, number, arrival, one, again=False)
            elif visitor.under_way.pop(number, None) is not None:
                answers.setdefault(visitor, []).append(framed(pack(Answer(number))))
        for visitor, frames in answers.items():
            visitor.write(b"".join(frames))
            visitor.look_at_load()

    def _wait_for_room(
        self, visitor: Visitor, number: int, arrival: Arrival, one: One, *, again: bool
    ) -> None:
        async def enqueued() -> msgspec.Raw:
            try:
                handle = await self._arrivals.enqueue(arrival, one.timeout, one.delay, again=again)
            except asyncio.CancelledError:
                raise given_up(arrival.job) from None
            except TimeoutError:
                if arrival.given_up:
                    raise given_up(arrival.job) from None
                raise
            return _handle_value(handle)

        async def answered() -> None:
            try:
                value = await enqueued()
            except EnqueueCancelledError as error:
                self._office.fail(visitor, number, error)
            except Exception as error:  # noqa: BLE001  # it is the caller's to see
                self._office.fail(visitor, number, error)
            else:
                visitor.answer(number, value)
            visitor.under_way.pop(number, None)
            visitor.look_at_load()

        visitor.under_way[number] = arrival
        arrival.task = asyncio.get_running_loop().create_task(answered())

    def _enqueue_many(self, visitor: Visitor, request: Request) -> None:
        self._check_takes_jobs()
        many = _read_many(request.arguments)
        jobs = [job_of(each) for each in many.jobs]

        async def enqueued() -> msgspec.Raw:
            handles = await self._arrivals.enqueue_many(jobs, many.timeout, again=request.again)
            return _handles_value(handles)

        self._office.start(visitor, request.number, enqueued())

    def _enqueue_together(self, visitor: Visitor, request: Request) -> None:
        self._check_takes_jobs()
        many = _read_many(request.arguments)
        jobs = [job_of(each) for each in many.jobs]

        async def enqueued() -> msgspec.Raw:
            handles = await self._arrivals.enqueue_together(
                jobs, many.delays, many.timeout, again=request.again
            )
            return _handles_value(handles)

        self._office.start(visitor, request.number, enqueued())

    # ── waiting ──────────────────────────────────────────────────────────────────────────────

    def _watch(self, visitor: Visitor, request: Request) -> None:
        self._watches.add(visitor, request.number, _read_watch(request.arguments).job_id)

    def _join(self, visitor: Visitor, request: Request) -> None:
        async def joined() -> msgspec.Raw:
            at_rest = await self._arrivals.join()
            if not at_rest and self._office.is_ending:
                raise asyncio.CancelledError  # the next owner goes on with the rest
            return msgspec.Raw(pack(at_rest))

        self._office.start(visitor, request.number, joined())


def _handle_value(handle: JobHandle) -> msgspec.Raw:
    if not handle.existing:
        return NOTHING
    return msgspec.Raw(pack(Existing(wire_job(handle.job), handle.status.value)))


def _handles_value(handles: list[JobHandle]) -> msgspec.Raw:
    found = [
        Existing(wire_job(each.job), each.status.value) if each.existing else None
        for each in handles
    ]
    return msgspec.Raw(pack(found))
