"""What a tie costs: unique jobs, limits, dependencies, keys; and that the jobs are looked at."""

from __future__ import annotations

import gc
import itertools
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from benchmarks.measure import Figure, Findings, Samples, alternate, cpu_seconds, rate
from jobqueue.final import Config, Job, JobQueue, Limit, Unique

JOBS = 4_000
ROUNDS = 9
KEYED = 100_000
KEYS = 10_000
KEYED_ROUNDS = 5

_numbers = itertools.count()


def ties() -> Findings:
    """Processor time of a job above a plain one's, and the rate of jobs that go by a key."""
    return Findings([*_costs(), _keyed()])


def _costs() -> Iterator[Figure]:
    config = Config(num_workers=1, queue_size=2 * JOBS)
    with (
        JobQueue(config, handler=nothing) as plain,
        JobQueue(config, handler=nothing) as looked_at,
        JobQueue(config) as limited,
    ):
        looked_at.jobs(limit=1)
        limited.register("limited", nothing, limit=Limit(JOBS))
        limited.register("named", nothing)
        samples = alternate(
            {
                "plain": partial(_microseconds, plain, _plain),
                "looked at": partial(_microseconds, looked_at, _plain),
                "unique": partial(_microseconds, plain, _unique),
                "named": partial(_microseconds, limited, _named),
                "limited": partial(_microseconds, limited, _limited),
                "pairs": partial(_microseconds, plain, partial(_pair, ties=False)),
                "tied pairs": partial(_microseconds, plain, partial(_pair, ties=True)),
            },
            ROUNDS,
        )
    yield _above("a unique job", samples, "unique", "plain", 1.5)
    yield _above("a job whose handler has a limit", samples, "limited", "named", 2.0)
    yield _above("a job that waits for another one", samples, "tied pairs", "pairs", 2.0)
    yield _above("a job of a queue that was looked at", samples, "looked at", "plain", None)


def _above(what: str, samples: Samples, name: str, other: str, wanted: float | None) -> Figure:
    return Figure(
        f"{what}: processor time above a plain job's",
        samples.difference(name, other),
        wanted,
        at_most=True,
        unit="µs",
        detail=f"{samples.median(name):.1f} against {samples.median(other):.1f} µs",
    )


def _plain(jq: JobQueue, _key: str) -> None:
    jq.enqueue(Job(PAYLOAD))


def _unique(jq: JobQueue, key: str) -> None:
    jq.enqueue(Job(PAYLOAD, key=key, unique=Unique()))


def _named(jq: JobQueue, _key: str) -> None:
    jq.enqueue(Job(PAYLOAD, handler="named"))


def _limited(jq: JobQueue, _key: str) -> None:
    jq.enqueue(Job(PAYLOAD, handler="limited"))


def _pair(jq: JobQueue, _key: str, *, ties: bool) -> None:
    first = jq.enqueue(Job(PAYLOAD))
    jq.enqueue(Job(PAYLOAD, after=[first]) if ties else Job(PAYLOAD))


def _microseconds(jq: JobQueue, enqueue: Callable[[JobQueue, str], object]) -> float:
    """Processor time of a call: all are made, and then run, so that no threads take turns."""

    keys = [str(next(_numbers)) for _ in range(JOBS)]  # to make them is no part of a job's cost

    def run() -> None:
        jq.pause()
        for key in keys:
            enqueue(jq, key)
        jq.resume()
        jq.join()

    gc.collect()
    return cpu_seconds(run) / JOBS * 1e6


def _keyed() -> Figure:
    samples = alternate(
        {
            "plain": lambda: rate(KEYED, lambda: _run_keyed(None)),
            "keyed": lambda: rate(KEYED, lambda: _run_keyed(Limit(1, per_key=True))),
        },
        KEYED_ROUNDS,
    )
    return Figure(
        f"{KEYED:,} jobs of {KEYS:,} keys, one at a time of each, against no limit",
        samples.ratio("keyed", "plain"),
        0.5,
        detail=f"{samples.median('keyed'):,.0f} against {samples.median('plain'):,.0f} jobs/s",
    )


def _run_keyed(limit: Limit | None) -> None:
    with JobQueue(Config(queue_size=KEYED)) as jq:
        jq.register("keyed", nothing, limit=limit)
        for n in range(KEYED):
            jq.enqueue(Job(PAYLOAD, handler="keyed", key=str(n % KEYS)))
        jq.join()
