"""What the layer above the queue costs: tasks, coroutine handlers, awaited handles, middleware."""

from __future__ import annotations

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD, drive
from benchmarks.measure import Figure, Findings, alternate, cpu_seconds, in_fresh_process, rate
from jobqueue import Config, Job, JobHandle, JobQueue, Middleware, Tasks

JOBS = 2_000
ROUNDS = 9

# ── a call, and middleware ───────────────────────────────────────────────────────────────────

ARGUMENTS = ("ada@example.com", "Your order has been sent")
SAME_PAYLOAD = json.dumps({"to": ARGUMENTS[0], "subject": ARGUMENTS[1]}).encode()

tasks = Tasks()


@tasks.task
def send(to: str, subject: str) -> None:
    """Costs what a call costs."""


def calls() -> Findings:
    """A task against a plain job of the same payload; and a queue whose middleware does nothing."""
    config = Config(num_workers=1, queue_size=JOBS)
    with ExitStack() as stack:
        typed = stack.enter_context(tasks.open(config))
        plain = stack.enter_context(JobQueue(config, handler=nothing))
        within = stack.enter_context(JobQueue(config, handler=nothing, middleware=[Middleware()]))

        samples = alternate(
            {
                "plain": partial(_microseconds, plain, lambda: plain.enqueue(Job(SAME_PAYLOAD))),
                "task": partial(_microseconds, typed, lambda: send.enqueue(*ARGUMENTS)),
                "within": partial(_microseconds, within, lambda: within.enqueue(Job(SAME_PAYLOAD))),
            },
            ROUNDS,
        )
    alone = samples.median("plain")
    return Findings(
        [
            Figure(
                "a task's call, two str arguments: processor time above a plain job's",
                samples.difference("task", "plain"),
                3.0,
                at_most=True,
                unit="µs",
                detail=f"{samples.median('task'):.1f} against {alone:.1f} µs a job",
            ),
            Figure(
                "middleware that overrides nothing: processor time against none",
                samples.ratio("within", "plain"),
                1.02,
                at_most=True,
                detail=f"{samples.median('within'):.1f} against {alone:.1f} µs a job",
            ),
        ]
    )


def _microseconds(jq: JobQueue, enqueue: Callable[[], object]) -> float:
    """Processor time of one job: all are enqueued, and then run, so that no threads take turns."""

    def run() -> None:
        jq.pause()
        for _ in range(JOBS):
            enqueue()
        jq.resume()
        jq.join()

    gc.collect()
    return cpu_seconds(run) / JOBS * 1e6


# ── coroutine handlers ───────────────────────────────────────────────────────────────────────

NO_OPS = 20_000
SLOTS = 1_000
SLEEPS = 20_000
SLEEP_SECONDS = 0.01


async def no_op(payload: bytes) -> None:
    """A coroutine function that awaits nothing."""


async def sleep(payload: bytes) -> None:
    """Waits as for an answer."""
    await asyncio.sleep(SLEEP_SECONDS)


def coroutines() -> Findings:
    """Coroutine handlers against threads, and against a bare loop that lets in as many at once."""
    thread, loop = Config(executor="thread"), Config(executor="asyncio")
    samples = alternate(
        {
            "threads": lambda: rate(NO_OPS, lambda: drive(thread, NO_OPS)),
            "coroutines": lambda: rate(NO_OPS, lambda: drive(loop, NO_OPS, handler=no_op)),
            "slots": lambda: rate(SLEEPS, lambda: asyncio.run(_slots())),
            "semaphore": lambda: rate(SLEEPS, lambda: asyncio.run(_semaphore())),
        },
        ROUNDS,
    )
    return Findings(
        [
            Figure(
                "coroutine handlers that do nothing, against threads",
                samples.ratio("coroutines", "threads"),
                0.6,
                detail=f"{samples.median('coroutines'):,.0f} against "
                f"{samples.median('threads'):,.0f} jobs/s",
            ),
            Figure(
                "1,000 slots whose handlers await 10 ms, against a bare asyncio.Semaphore(1000)",
                samples.ratio("slots", "semaphore"),
                0.9,
                detail=f"{samples.median('slots'):,.0f} against "
                f"{samples.median('semaphore'):,.0f} jobs/s",
            ),
        ]
    )


async def _slots() -> None:
    config = Config(executor="asyncio", num_workers=SLOTS, queue_size=SLEEPS)
    async with JobQueue(config, handler=sleep) as jq:
        await jq.aenqueue_many(Job(PAYLOAD) for _ in range(SLEEPS))
        await jq.ajoin()


async def _semaphore() -> None:
    semaphore = asyncio.Semaphore(SLOTS)

    async def one() -> None:
        async with semaphore:
            await sleep(PAYLOAD)

    await asyncio.gather(*(one() for _ in range(SLEEPS)))


# ── awaited handles ──────────────────────────────────────────────────────────────────────────

AWAITED = 10_000


def awaited() -> Findings:
    """What a coroutine that awaits a handle takes, its task and all."""
    size = in_fresh_process(_bytes_awaited, AWAITED)
    return Findings(
        [
            Figure(
                f"{AWAITED:,} awaited handles, each with its task: memory",
                size,
                1_200,
                at_most=True,
                unit="bytes",
            )
        ]
    )


def _bytes_awaited(count: int) -> float:
    return asyncio.run(_await(count))


async def _await(count: int) -> float:
    config = Config(executor="asyncio", num_workers=1, queue_size=count)
    async with JobQueue(config, handler=nothing) as jq:
        jq.pause()
        handles = [await jq.aenqueue(Job(PAYLOAD)) for _ in range(count)]
        gc.collect()
        waiting: list[asyncio.Future[object]] = [asyncio.Future()] * count  # is no awaiter's
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for number, handle in enumerate(handles):
            waiting[number] = asyncio.ensure_future(_wait_for(handle))
        await asyncio.sleep(0)  # each has begun to wait
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        jq.resume()
        await asyncio.gather(*waiting)
    return (after - before) / count


async def _wait_for(handle: JobHandle) -> object:
    return await handle
