"""What single calls cost: enqueueing alone, retries, the wheel, replay, questions."""

from __future__ import annotations

import logging
import random
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from itertools import count
from pathlib import Path

import pytest

import jobqueue.improved
import jobqueue.naive
from benchmarks import logs
from benchmarks.conftest import Measure
from benchmarks.handlers import nothing
from benchmarks.loads import PAYLOAD
from jobqueue.final import Config, Job, JobContext, JobQueue
from jobqueue.final.config import Durability
from jobqueue.final.timing.timer_wheel import TimerWheel

JOBS = 10_000

# ── enqueueing alone: nobody takes the jobs ──────────────────────────────────────────────────

Enqueue = Callable[[int], object]


@contextmanager
def naive_enqueue(_path: Path, _jobs: int) -> Iterator[Enqueue]:
    """The naive tier always works: its one worker is kept busy."""
    end = threading.Event()
    with jobqueue.naive.JobQueue(1) as jq:
        jq.enqueue(jobqueue.naive.Job("first", end.wait))
        yield lambda number: jq.enqueue(jobqueue.naive.Job(f"job-{number}", end.is_set))
        end.set()


@contextmanager
def improved_enqueue(_path: Path, jobs: int) -> Iterator[Enqueue]:
    """The same for the improved tier, which runs what is left before it closes."""
    end = threading.Event()
    config = jobqueue.improved.Config(num_workers=1, queue_size=jobs + 1)
    with jobqueue.improved.JobQueue(config) as jq:
        jq.enqueue(jobqueue.improved.Job("first", end.wait))
        yield lambda number: jq.enqueue(jobqueue.improved.Job(f"job-{number}", end.is_set))
        end.set()


def final_enqueue(
    level: Durability | None,
) -> Callable[[Path, int], AbstractContextManager[Enqueue]]:
    """The final tier, not started."""

    def enqueue(path: Path, jobs: int) -> Iterator[Enqueue]:
        config = Config(
            queue_size=jobs,
            persist_path=None if level is None else path,
            durability=level or "write",
        )
        jq = JobQueue(config, handler=nothing, start=False)
        yield lambda _: jq.enqueue(Job(PAYLOAD))
        jq.close(0, drain=False)

    enqueue.__name__ = f"final_{level or 'memory'}"
    return contextmanager(enqueue)


ENQUEUES = [
    naive_enqueue,
    improved_enqueue,
    final_enqueue(None),
    final_enqueue("async"),
    final_enqueue("write"),
    final_enqueue("fsync"),
]


@pytest.mark.benchmark(group="enqueueing alone")
@pytest.mark.parametrize("opened", ENQUEUES, ids=lambda opened: opened.__name__)
def test_enqueue(
    measure: Measure,
    tmp_path: Path,
    opened: Callable[[Path, int], AbstractContextManager[Enqueue]],
) -> None:
    jobs = 500 if "fsync" in opened.__name__ else JOBS
    rounds = count()
    with ExitStack() as stack:

        def another() -> Enqueue:
            stack.close()
            path = tmp_path / str(next(rounds))
            return stack.enter_context(opened(path, measure.jobs(jobs)))

        def load(enqueue: Enqueue) -> None:
            for number in range(measure.jobs(jobs)):
                enqueue(number)

        measure.prepared(another, load, jobs)


# ── retries ──────────────────────────────────────────────────────────────────────────────────


def fail_once(_payload: bytes, context: JobContext) -> None:
    if context.attempt == 0:
        raise ConnectionError("the receiver is busy")


@pytest.mark.benchmark(group="retries")
def test_retry_of_each_job_by_the_wheel(measure: Measure) -> None:
    def load(jobs: int) -> None:
        with JobQueue(Config(base_delay=0.001), handler=fail_once) as jq:
            for _ in range(jobs):
                jq.enqueue(Job(PAYLOAD))
            jq.join()

    with silence():
        measure(load, 2_000)


@pytest.mark.benchmark(group="retries")
def test_retry_of_each_job_by_the_improved_tier(measure: Measure) -> None:
    def load(jobs: int) -> None:
        config = jobqueue.improved.Config(base_delay=0.001)
        with jobqueue.improved.JobQueue(config) as jq:
            for number in range(jobs):
                tries = iter([ConnectionError("the receiver is busy"), None])
                jq.enqueue(jobqueue.improved.Job(f"job-{number}", partial(attempt, tries)))

    with silence():
        measure(load, 2_000)


def attempt(tries: Iterator[Exception | None]) -> None:
    if (error := next(tries)) is not None:
        raise error


@contextmanager
def silence() -> Iterator[None]:
    """Leave out what logging costs: that is up to the user's settings."""
    logger = logging.getLogger("jobqueue")
    before = logger.disabled
    logger.disabled = True
    try:
        yield
    finally:
        logger.disabled = before


@pytest.mark.benchmark(group="the wheel: insert and expire")
@pytest.mark.parametrize("pending", [1_000, 100_000], ids="{}-pending".format)
def test_wheel(measure: Measure, pending: int) -> None:
    dice = random.Random(1)
    ticks = [dice.randrange(1, 1_000_000) for _ in range(measure.jobs(pending))]

    def load(wheel: TimerWheel[int]) -> None:
        for item, tick in enumerate(ticks):
            wheel.insert(tick, item)
        assert len(wheel.advance(1_000_000)) == len(ticks)

    measure.prepared(TimerWheel[int], load, pending)


# ── replay ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.benchmark(group="replay")
@pytest.mark.parametrize("finished", [True, False], ids=["finished", "unfinished"])
def test_replay(measure: Measure, tmp_path: Path, finished: bool) -> None:
    jobs = 20_000
    log = logs.write_log(tmp_path / "log", measure.jobs(jobs), finished=finished)
    copies = map(tmp_path.joinpath, map(str, count()))

    def copy() -> Path:  # opening a log adds to it
        return Path(shutil.copytree(log, next(copies)))

    def load(path: Path) -> None:
        queue = JobQueue(Config(persist_path=path), handler=nothing, start=False)
        queue.close(0, drain=False)

    measure.prepared(copy, load, jobs)


# ── questions ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.benchmark(group="questions")
@pytest.mark.parametrize("question", ["metrics", "status", "info"])
def test_question(measure: Measure, question: str) -> None:
    jobs = 1_000
    with JobQueue(Config(queue_size=jobs), handler=nothing) as jq:
        for number in range(jobs):
            jq.enqueue(Job(PAYLOAD, id=f"job-{number}"))
        jq.join()
        ask = {"metrics": lambda _id: jq.metrics(), "status": jq.status, "info": jq.info}[question]

        def load(questions: int) -> None:
            for number in range(questions):
                ask(f"job-{number % jobs}")

        measure(load, jobs)
