"""The floor: what a queue in plain Python must cost that takes the promised steps and no others.

One class, no modules between, nothing that a plain job does not need. Kept are an id out of a
stock, the time of creation, a job and its handle with all their fields, the look whether the id is
known, room in the lane, one reentrant lock a step, three lanes with tokens, counters, samples of
waits and run times, busy time, a context of its own for each attempt, the record of what has ended,
its retention, the result on the handle, and waking idle workers. Left out are the log, delays,
retries, handlers by name, limits, suspects, overrunning attempts, and all that repairs an
interrupted call. So it is a measure for `benchmarks.figures.costs`, not a queue to use.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from contextvars import copy_context
from time import monotonic, sleep, time

import msgspec

from .handlers import Handler, nothing
from .loads import PAYLOAD, WORKERS, produce

TOKENS = 10
ROOM = 1000
RETENTION = 10_000
SAMPLES = 512
TRIES = 20


class _Ended(msgspec.Struct, frozen=True, gc=False):
    status: int
    priority: int
    handler: str | None
    headers: dict[str, str] | None
    retries: int
    failure: tuple[str, str] | None
    created: float
    started: float
    finished: float


class _Ids:
    """Random ids (UUID version 4), made by the batch."""

    def __init__(self) -> None:
        self._fresh: list[str] = []
        self._version = bytes(octet & 0x0F | 0x40 for octet in range(256))
        self._variant = bytes(octet & 0x3F | 0x80 for octet in range(256))

    def next(self) -> str:
        if not self._fresh:
            octets = bytearray(os.urandom(4096))
            octets[6::16] = octets[6::16].translate(self._version)
            octets[8::16] = octets[8::16].translate(self._variant)
            text = octets.hex()
            self._fresh.extend(text[at : at + 32] for at in range(0, len(text), 32))
        return self._fresh.pop()


_ids = _Ids()


class _Job:
    __slots__ = (
        *("created", "handler", "headers", "id", "max_retries", "payload", "priority"),
        "retries",
    )

    def __init__(self, payload: bytes, priority: int = 1) -> None:
        if type(payload) is not bytes:
            raise TypeError(f"payload: bytes are wanted, not {payload!r}")
        self.payload = payload
        self.id = _ids.next()
        self.priority = priority
        self.handler: str | None = None
        self.max_retries: int | None = None
        self.headers: dict[str, str] | None = None
        self.retries = 0
        self.created = time()


class _Handle:
    __slots__ = (
        *("call", "due", "failure", "job", "number", "outcome", "owner", "room", "since"),
        *("started", "status", "stop", "waiters"),
    )

    def __init__(self, owner: Floor, job: _Job) -> None:
        self.owner = owner
        self.job = job
        self.status = 0
        self.number = 0
        self.since = -1.0
        self.started = 0.0
        self.due = 0
        self.room = False
        self.stop: object = None
        self.call: Handler | None = None
        self.failure: tuple[str, str] | None = None
        self.waiters: list[object] | None = None
        self.outcome: object = None


class _Lane:
    __slots__ = "completed", "enqueued", "processing", "queue", "room", "runs", "tokens", "waits"

    def __init__(self) -> None:
        self.queue: deque[_Handle] = deque()
        self.room = ROOM
        self.tokens = TOKENS
        self.enqueued = 0
        self.processing = 0
        self.completed = 0
        self.waits: deque[float] = deque(maxlen=SAMPLES)
        self.runs: deque[float] = deque(maxlen=SAMPLES)


class Floor:
    """A queue in memory, as the module says. Any thread may call `enqueue`."""

    def __init__(self, handler: Handler, workers: int) -> None:
        self._handler = handler
        self._mutex = threading.RLock()
        self._live: dict[str, _Handle] = {}
        self._ended: dict[str, _Ended] = {}
        self._dead: dict[str, _Ended] = {}
        self._order: deque[str] = deque()
        self._lanes = (_Lane(), _Lane(), _Lane())
        self._idle: list[threading.Lock] = []
        self._is_waking = self._is_shut = False
        self._busy = 0.0
        self._want_room: deque[threading.Lock] = deque()
        self._at_rest = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(workers)]
        for each in self._threads:
            each.start()

    def enqueue(self, job: _Job) -> _Handle:
        """Accept it; waits for room."""
        handle = _Handle(self, job)
        lane, job_id = self._lanes[job.priority], job.id
        while True:
            with self._mutex:
                if self._is_shut:
                    raise RuntimeError("the queue is closed")
                if job_id in self._live or job_id in self._ended or job_id in self._dead:
                    raise ValueError(f"there is a job {job_id!r} already")
                if lane.room > 0:
                    lane.room -= 1
                    lane.enqueued += 1
                    self._live[job_id] = handle
                    handle.room = True
                    handle.call = self._handler
                    handle.since = monotonic()
                    lane.queue.append(handle)
                    if self._idle and not self._is_waking:
                        self._is_waking = True
                        self._idle.pop().release()
                    return handle
                alarm = threading.Lock()
                alarm.acquire()
                self._want_room.append(alarm)
            alarm.acquire()

    def close(self) -> None:
        """Wait until all that was accepted has run, then end the workers."""
        self._at_rest.acquire()
        with self._mutex:
            self._is_shut = True
            if not self._live:
                self._at_rest.release()
        self._at_rest.acquire()
        with self._mutex:
            for alarm in self._idle:
                alarm.release()
        for each in self._threads:
            each.join()

    def _choose(self) -> _Handle | None:
        """With the mutex: the next job; Medium and Low after at most `TOKENS` before them."""
        high, medium, low = self._lanes
        wants_medium, wants_low = bool(medium.queue), bool(low.queue)
        if wants_medium and medium.tokens <= 0:
            lane = medium
        elif wants_low and low.tokens <= 0:
            lane = low
        elif high.queue:
            lane = high
        elif wants_medium:
            lane = medium
        elif wants_low:
            lane = low
        else:
            return None
        if lane is not medium and wants_medium:
            medium.tokens -= 1
        if lane is not low and wants_low:
            low.tokens -= 1
        lane.tokens = TOKENS
        return lane.queue.popleft()

    def _work(self) -> None:
        handle: _Handle | None = None
        result: object = None
        while True:
            alarm: threading.Lock | None = None
            self._take_mutex()
            try:
                now, wall = monotonic(), time()
                if handle is not None:
                    self._end(handle, result, now, wall)
                handle = self._choose()
                if handle is not None:
                    self._begin(handle, now, wall)
                elif self._is_shut:
                    return
                else:
                    alarm = threading.Lock()
                    alarm.acquire()
                    self._idle.append(alarm)
            finally:
                self._mutex.release()
            if handle is None:
                assert alarm is not None
                alarm.acquire()
                self._is_waking = False
                continue
            assert handle.call is not None
            result = copy_context().run(handle.call, handle.job.payload)

    def _take_mutex(self) -> None:
        # Whoever waits in the kernel for a lock is woken late; giving way costs less.
        for _ in range(TRIES):
            if self._mutex.acquire(False):
                return
            sleep(0)
        self._mutex.acquire()

    def _begin(self, handle: _Handle, now: float, wall: float) -> None:
        lane = self._lanes[handle.job.priority]
        lane.waits.append(now - handle.since)
        lane.processing += 1
        handle.status = 1
        handle.since = now
        handle.started = wall
        if handle.room:
            handle.room = False
            lane.room += 1
            if self._want_room:
                self._want_room.popleft().release()

    def _end(self, handle: _Handle, result: object, now: float, wall: float) -> None:
        job = handle.job
        lane = self._lanes[job.priority]
        self._busy += now - handle.since
        lane.runs.append(now - handle.since)
        lane.processing -= 1
        lane.completed += 1
        handle.outcome = result
        handle.status = 2
        self._ended[job.id] = _Ended(
            *(handle.status, job.priority, job.handler, job.headers, job.retries, handle.failure),
            *(job.created, handle.started, wall),
        )
        del self._live[job.id]
        self._order.append(job.id)
        if len(self._order) > RETENTION:
            self._ended.pop(self._order.popleft(), None)
        if self._is_shut and not self._live:
            self._at_rest.release()


def floor(
    jobs: int, producers: int = 1, *, workers: int = WORKERS, handler: Handler = nothing
) -> None:
    """The same load as for all others; see `benchmarks.loads.Load`."""
    queue = Floor(handler, workers)
    produce(producers, jobs, lambda _number: queue.enqueue(_Job(PAYLOAD)))
    queue.close()
