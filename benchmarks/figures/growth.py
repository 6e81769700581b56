"""What grows with the number of jobs that wait: memory, cost per job, the timer wheel."""

from __future__ import annotations

import heapq
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from itertools import count

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD, WORKERS
from benchmarks.measure import (
    Child,
    Figure,
    Findings,
    alternate,
    cpu_seconds,
    in_fresh_process,
)
from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.timing.timer_wheel import TimerWheel

# ── bytes per queued job ─────────────────────────────────────────────────────────────────────

QUEUED = 50_000


def memory() -> Findings:
    """Resident memory of processes that do nothing but queue."""
    samples = alternate(
        {
            "memory": partial(in_fresh_process, bytes_per_job),
            "ThreadPoolExecutor": partial(in_fresh_process, bytes_per_future),
        }
    )
    ours, other = samples.median("memory"), samples.median("ThreadPoolExecutor")
    return Findings(
        [
            Figure(
                "memory per queued job, against ThreadPoolExecutor",
                samples.ratio("memory", "ThreadPoolExecutor"),
                0.22,
                at_most=True,
                detail=f"{ours:,.0f} against {other:,.0f} bytes",
            )
        ],
        {"bytes per job": {"memory": ours, "ThreadPoolExecutor": other}},
    )


def bytes_per_job() -> float:
    """Of the final tier, in memory; nobody keeps the handles."""
    jq = JobQueue(Config(queue_size=QUEUED + 1000), handler=nothing, start=False)
    return _growth_per_call(lambda number: jq.enqueue(Job(_payload(number))))


def bytes_per_future() -> float:
    """Of ThreadPoolExecutor; its workers are kept busy, and nobody keeps the futures."""
    end = threading.Event()
    with ThreadPoolExecutor(WORKERS) as pool:
        for _ in range(WORKERS):
            pool.submit(end.wait)
        try:
            return _growth_per_call(lambda number: pool.submit(nothing, _payload(number)))
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            end.set()


def _payload(number: int) -> bytes:
    """26 bytes, another object for each job, as they come from outside."""
    return b'{"action":"mail","n":%05d}' % (number % 100_000)


def _growth_per_call(call: Callable[[int], object]) -> float:
    for number in range(1000):
        call(number)
    before = resident_bytes()
    for number in range(QUEUED):
        call(number)
    return (resident_bytes() - before) / QUEUED


def resident_bytes() -> int:
    """What this process takes of the machine's memory, now."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ── cost per job behind a long queue ─────────────────────────────────────────────────────────

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
STEP = 500
JOBS = 20_000


class LongQueue:
    """A queue that always holds so many jobs, and as many again for a moment as are put through.

    Processor time is counted, and the lane is never full: how threads wait is another matter.
    """

    def __init__(self, length: int) -> None:
        config = Config(num_workers=WORKERS, queue_size=length + 2 * STEP)
        self._queue = JobQueue(config, handler=self._handle)
        self._queue.pause()
        self._handled = count(1)
        self._idle = threading.Event()
        self._enqueue(length)

    def _enqueue(self, jobs: int) -> None:
        for _ in range(jobs):
            self._queue.enqueue(Job(PAYLOAD))

    def _handle(self, _payload: bytes) -> None:
        if next(self._handled) % STEP == 0:
            self._queue.pause()
            self._idle.set()

    def seconds_per_job(self) -> float:
        """Put jobs in at the end while none runs, run as many from the front, and so on."""
        return cpu_seconds(self._put_through) / JOBS

    def _put_through(self) -> None:
        for _ in range(JOBS // STEP):
            self._enqueue(STEP)
            self._idle.clear()
            self._queue.resume()
            self._idle.wait()


_long_queue: LongQueue
"""In a child process that has nothing else."""


def backlog() -> Findings:
    """Jobs are put in at one end of a long queue and taken out at the other."""
    with ExitStack() as stack:
        children = {str(length): stack.enter_context(Child()) for length in LENGTHS}
        for length, child in children.items():
            child(fill_queue, int(length))
        samples = alternate(
            {length: partial(child, seconds_per_job) for length, child in children.items()},
            rounds=9,
        )
    short, long = str(LENGTHS[0]), str(LENGTHS[-1])
    micros = {name: samples.median(name) * 1e6 for name in samples}
    return Findings(
        [
            Figure(
                "processor time per job with 1,000,000 queued, against 1,000",
                samples.ratio(long, short),
                1.1,
                at_most=True,
                detail=f"{micros[long]:.1f} against {micros[short]:.1f} µs",
            )
        ],
        {"cost per job": micros},
    )


def fill_queue(length: int) -> None:
    """Make this process's long queue."""
    global _long_queue
    _long_queue = LongQueue(length)


def seconds_per_job() -> float:
    """Measure this process's long queue."""
    return _long_queue.seconds_per_job()


# ── the timer wheel ──────────────────────────────────────────────────────────────────────────

DELAYS = (1_000, 60_000)
"""In ticks of a millisecond, as retries have them."""

INSERTS = 100_000


def wheel() -> Findings:
    """Items are inserted as others expire, so many of them pending all the time."""
    with ExitStack() as stack:
        contenders = {}
        for name, make in TIMERS.items():
            child = stack.enter_context(Child())
            child(fill_timer, make)
            contenders[name] = partial(child, seconds_per_item)
        samples = alternate(contenders)
    micros = {name: samples.median(name) * 1e6 for name in samples}

    def figure(what: str, one: str, other: str, wanted: float, *, at_most: bool) -> Figure:
        detail = f"{micros[one]:.2f} against {micros[other]:.2f} µs"
        return Figure(what, samples.ratio(one, other), wanted, at_most=at_most, detail=detail)

    return Findings(
        [
            figure(
                "timer wheel, tick by tick: insert and expire, 1,000,000 pending against 1,000",
                "wheel, 1,000,000",
                "wheel, 1,000",
                1.2,
                at_most=True,
            ),
            figure(
                "the same, time moving on so that 100 expire at once",
                "wheel, 1,000,000, by 100",
                "wheel, 1,000, by 100",
                1.2,
                at_most=True,
            ),
            figure(
                "heapq against the timer wheel, 1,000,000 pending",
                "heapq, 1,000,000",
                "wheel, 1,000,000",
                4,
                at_most=False,
            ),
        ],
        {"timer": micros},
    )


_turn: Callable[[], float]
"""In a child process that has nothing else."""


def fill_timer(make: Callable[[], Callable[[], float]]) -> None:
    """Make this process's wheel or heap."""
    global _turn
    _turn = make()


def seconds_per_item() -> float:
    """Measure this process's wheel or heap."""
    return _turn()


class Waiting:
    """What waits: a bare object, as a job is."""

    __slots__ = ()


def wheel_of(pending: int, stride: int = 0) -> Callable[[], float]:
    """Seconds an item in a wheel that holds so many, if time moves by `stride` at least."""
    turning: TimerWheel[Waiting] = TimerWheel()
    advance, next_tick = turning.advance, turning.next_tick

    def expire() -> tuple[int, int]:
        now = max(next_tick() or 0, turning.tick + stride)
        return now, len(advance(now))

    return _steady(pending, turning.insert, expire)


def heap_of(pending: int) -> Callable[[], float]:
    """Seconds an item in a heap, with a number that keeps items of one tick in order."""
    heap: list[tuple[int, int, Waiting]] = []
    numbers = count()

    def insert(tick: int, item: Waiting) -> None:
        heapq.heappush(heap, (tick, next(numbers), item))

    def expire() -> tuple[int, int]:
        now = heap[0][0]
        expired = 0
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)
            expired += 1
        return now, expired

    return _steady(pending, insert, expire)


def _steady(
    pending: int,
    insert: Callable[[int, Waiting], None],
    expire: Callable[[], tuple[int, int]],
) -> Callable[[], float]:
    """Go from tick to tick as a timer does, and insert as many as `expire` has taken out."""
    dice = random.Random(1)
    low, high = DELAYS
    for _ in range(pending):  # in a steady state part of each delay has passed
        insert(1 + int(dice.uniform(low, high) * dice.random()), Waiting())
    delays = [dice.randrange(low, high) for _ in range(INSERTS)]

    def turn() -> None:
        inserted = 0
        while inserted < INSERTS:
            now, expired = expire()
            for delay in delays[inserted : inserted + expired]:
                insert(now + delay, Waiting())
            inserted += expired

    return lambda: cpu_seconds(turn) / INSERTS


TIMERS: dict[str, Callable[[], Callable[[], float]]] = {
    "wheel, 1,000": partial(wheel_of, 1_000),
    "wheel, 1,000,000": partial(wheel_of, 1_000_000),
    "wheel, 1,000, by 100": partial(wheel_of, 1_000, stride=3_050),
    "wheel, 1,000,000, by 100": partial(wheel_of, 1_000_000, stride=3),
    "heapq, 1,000,000": partial(heap_of, 1_000_000),
}
