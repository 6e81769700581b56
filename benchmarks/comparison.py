"""Side by side with other job queues, at equal durability."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import loads, peers
from benchmarks.figures.throughput import BARE_FSYNC, write_and_sync
from benchmarks.loads import config_for, drive
from benchmarks.measure import (
    ROUNDS,
    ChildError,
    Figure,
    Findings,
    Samples,
    alternate,
    in_fresh_process,
    rate,
    scratch,
)
from jobqueue.final.config import Durability

OURS = "jobqueue"


@dataclass(frozen=True)
class Contender:
    """One row of a comparison.

    Attributes:
        name: as the table tells it.
        run: jobs a second, measured with (an empty directory, jobs, producers).
        jobs: how many take about half a second.
        peer: whether it is another job queue, not a yardstick.
    """

    name: str
    run: Callable[[Path, int, int], float]
    jobs: int
    peer: bool = False


def ours(level: Durability | None, directory: Path, jobs: int, producers: int) -> float:
    """This queue."""
    config = config_for(level, directory / "log")
    return rate(jobs, lambda: drive(config, jobs, producers))


def executor(_directory: Path, jobs: int, producers: int) -> float:
    """`ThreadPoolExecutor`."""
    return rate(jobs, lambda: loads.executor(jobs, producers))


def bare_queue(_directory: Path, jobs: int, producers: int) -> float:
    """`queue.Queue(1000)` and threads."""
    return rate(jobs, lambda: loads.bare_queue(jobs, producers))


def bare_simple_queue(_directory: Path, jobs: int, producers: int) -> float:
    """`queue.SimpleQueue` and threads."""
    return rate(jobs, lambda: loads.bare_simple_queue(jobs, producers))


def bare_fsync(directory: Path, jobs: int, _producers: int) -> float:
    """`write` and `fdatasync`."""
    return rate(jobs, lambda: write_and_sync(directory / "file", jobs))


def _peer(name: str, opened: peers.Opened, jobs: int) -> Contender:
    return Contender(name, partial(peers.jobs_per_second, opened), jobs, peer=True)


def _ours(level: Durability | None, jobs: int) -> Contender:
    return Contender(OURS, partial(ours, level), jobs)


EXECUTOR = Contender("ThreadPoolExecutor", executor, 20_000)
FSYNCING = [
    _peer("localqueue, durable", peers.localqueue_durable, 200),
    _peer("huey, SQLite", peers.huey_sqlite, 200),
    _peer("persist-queue, acknowledged", peers.persist_queue, 200),
    _peer("dura", peers.dura, 200),
    _peer("dbos, SQLite", peers.dbos, 40),
]


@dataclass(frozen=True)
class Level:
    """One table: everything that promises as much.

    Attributes:
        title: what a job that was accepted survives, and how many producers there are.
        wanted: how many times as fast as the fastest peer this queue should be.
    """

    title: str
    producers: int
    contenders: list[Contender]
    wanted: float | None = None


LEVELS = [
    Level(
        "in memory",
        1,
        [
            _ours(None, 20_000),
            Contender("queue.SimpleQueue, bare", bare_simple_queue, 100_000),
            Contender("queue.Queue(1000), bare", bare_queue, 50_000),
            _peer("queuelib, disk, buffered, no workers", peers.queuelib_disk, 20_000),
            EXECUTOR,
            _peer("huey, memory", peers.huey_memory, 5_000),
            _peer("taskiq, in memory", peers.taskiq_memory, 2_000),
            _peer("dramatiq, stub broker", peers.dramatiq_stub, 2_000),
            _peer("arq, on fakeredis", peers.arq_fakeredis, 500),
        ],
    ),
    Level(
        "safe from kill -9",
        1,
        [
            _ours("write", 20_000),
            EXECUTOR,
            _peer("localqueue, as shipped", peers.localqueue_relaxed, 1_000),
            _peer("litequeue", peers.litequeue, 1_000),
            _peer("taskito, tuned", peers.taskito, 200),
        ],
        wanted=20,
    ),
    Level(
        "on the disk, 1 producer",
        1,
        [_ours("fsync", 500), Contender(BARE_FSYNC, bare_fsync, 500), *FSYNCING],
        wanted=5,
    ),
    Level("on the disk, 64 producers", 64, [_ours("fsync", 6_400), *FSYNCING], wanted=20),
]


def compare() -> Findings:
    """All levels, one after another."""
    findings = Findings()
    for level in LEVELS:
        rows, figure = _compare(level)
        findings.series.setdefault("peers", {})[level.title] = rows
        findings.figures += figure
    return findings


Row = dict[str, str | float]
"""Of a table: `name`, and `jobs/s` with `ratio` (ours to it), or `left out` with the reason."""


def _compare(level: Level) -> tuple[list[Row], list[Figure]]:
    left_out: dict[str, str] = {}
    runs = {}
    for contender in level.contenders:
        run = partial(_turn, contender, level.producers)
        reason = _reason_not_to(run)
        if reason is None:
            runs[contender.name] = run
        else:
            left_out[contender.name] = reason
    samples = alternate(runs, ROUNDS, warm_up=False)  # each has had its trial
    rows: list[Row] = [
        {"name": name, "jobs/s": samples.median(name), "ratio": samples.ratio(OURS, name)}
        for name in runs
    ]
    rows.sort(key=lambda row: float(row["ratio"]))
    rows += [{"name": name, "left out": reason} for name, reason in left_out.items()]
    fastest = _fastest(level, samples)
    if level.wanted is None or fastest is None:
        return rows, []
    figure = Figure(
        f"{level.title}, against the fastest other queue ({fastest})",
        samples.ratio(OURS, fastest),
        level.wanted,
        detail=f"{samples.median(OURS):,.0f} against {samples.median(fastest):,.0f} jobs/s",
    )
    return rows, [figure]


def _fastest(level: Level, samples: Samples) -> str | None:
    names = [each.name for each in level.contenders if each.peer and each.name in samples]
    return max(names, key=samples.median, default=None)


def _turn(contender: Contender, producers: int) -> float:
    with scratch() as directory:
        return in_fresh_process(contender.run, directory, contender.jobs, producers)


def _reason_not_to(run: Callable[[], float]) -> str | None:
    """Try it once; tell in a line what was wrong."""
    try:
        run()
    except ChildError as error:
        return str(error).strip().splitlines()[-1]
    return None
