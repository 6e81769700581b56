"""What grows with the number of jobs that wait: memory, cost per job, the timer wheel."""

from __future__ import annotations

import heapq
import os
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import count

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD, WORKERS
from benchmarks.measure import (
    Child,
    Figure,
    Findings,
    alternate,
    in_fresh_process,
    seconds,
)
from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.timer_wheel import TimerWheel

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
JOBS = 20_000

_queue: JobQueue
"""The long queue, in a child process that has nothing else."""


def backlog() -> Findings:
    """Jobs are put in at one end of a full queue as they are taken out at the other."""
    children = {length: Child() for length in LENGTHS}
    try:
        for length, child in children.items():
            child(fill, length)
        samples = alternate(
            {str(length): partial(child, seconds_per_job) for length, child in children.items()},
            rounds=9,
        )
    finally:
        for child in children.values():
            child.__exit__()
    short, long = str(LENGTHS[0]), str(LENGTHS[-1])
    micros = {name: samples.median(name) * 1e6 for name in samples}
    return Findings(
        [
            Figure(
                "cost per job with 1,000,000 queued, against 1,000",
                samples.ratio(long, short),
                1.1,
                at_most=True,
                detail=f"{micros[long]:.1f} against {micros[short]:.1f} µs",
            )
        ],
        {"cost per job": micros},
    )


def fill(length: int) -> None:
    """Queue so many jobs, in this process."""
    global _queue
    _queue = JobQueue(Config(num_workers=WORKERS, queue_size=length), handler=nothing)
    _queue.pause()
    for _ in range(length):
        _queue.enqueue(Job(PAYLOAD))


def seconds_per_job() -> float:
    """Put jobs through, the queue as long as before."""

    def through() -> None:
        _queue.resume()
        for _ in range(JOBS):
            _queue.enqueue(Job(PAYLOAD))  # waits for room: one in, one out
        _queue.pause()

    return seconds(through) / JOBS


# ── the timer wheel ──────────────────────────────────────────────────────────────────────────

DELAYS = (1_000, 60_000)
"""In ticks of a millisecond, as retries have them."""

INSERTS = 100_000
INSERTS_PER_STEP = 100
MANY = 1_000_000
FEW = 1_000


def wheel() -> Findings:
    """Items are inserted as others expire, so many of them pending all the time."""
    samples = alternate({"few": wheel_of(FEW), "many": wheel_of(MANY), "heap": heap_of(MANY)})
    few, many, heap = (samples.median(name) * 1e6 for name in ("few", "many", "heap"))
    return Findings(
        [
            Figure(
                "timer wheel, insert and expire, 1,000,000 pending against 1,000",
                samples.ratio("many", "few"),
                1.2,
                at_most=True,
                detail=f"{many:.2f} against {few:.2f} µs",
            ),
            Figure(
                "timer wheel with 1,000,000 pending, how much faster than heapq",
                samples.ratio("heap", "many"),
                2.5,
                detail=f"{many:.2f} against {heap:.2f} µs",
            ),
        ],
        {"timer": {"wheel, 1,000": few, "wheel, 1,000,000": many, "heapq, 1,000,000": heap}},
    )


class Waiting:
    """What waits: a bare object, as a job is."""

    __slots__ = ()


def wheel_of(pending: int) -> Callable[[], float]:
    """Seconds an item in a wheel that holds so many."""
    turning: TimerWheel[Waiting] = TimerWheel()
    expire = turning.advance
    return _steady(pending, turning.insert, lambda now: len(expire(now)))


def heap_of(pending: int) -> Callable[[], float]:
    """Seconds an item in a heap, with a number that keeps items of one tick in order."""
    heap: list[tuple[int, int, Waiting]] = []
    numbers = count()

    def insert(tick: int, item: Waiting) -> None:
        heapq.heappush(heap, (tick, next(numbers), item))

    def expire(now: int) -> int:
        expired = 0
        while heap and heap[0][0] <= now:
            heapq.heappop(heap)
            expired += 1
        return expired

    return _steady(pending, insert, expire)


def _steady(
    pending: int, insert: Callable[[int, Waiting], None], expire: Callable[[int], int]
) -> Callable[[], float]:
    dice = random.Random(1)
    low, high = DELAYS
    now = 0
    for _ in range(pending):  # in a steady state part of each delay has passed
        insert(1 + int(dice.uniform(low, high) * dice.random()), Waiting())
    delays = [dice.randrange(low, high) for _ in range(INSERTS)]
    step = round(INSERTS_PER_STEP * sum(DELAYS) / 2 / pending)

    def turn() -> None:
        nonlocal now
        for first in range(0, INSERTS, INSERTS_PER_STEP):
            for delay in delays[first : first + INSERTS_PER_STEP]:
                insert(now + delay, Waiting())
            now += step
            expire(now)

    return lambda: seconds(turn) / INSERTS
