"""Starvation: how long Low waits while High keeps coming, by how the next job is chosen."""

from __future__ import annotations

import gc
import threading
import time
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from jobqueue import final
from jobqueue.final import Priority

from .contenders import Contender, Opener, open_final, open_improved, open_naive
from .experiment import Data, Experiment, Settings
from .schedulers import Choice, by_age, by_lot, choose_by
from .starvation_told import draw, report

WORKERS = 2
HANDLER_SECONDS = 0.002
CAPACITY = WORKERS / HANDLER_SECONDS  # jobs a second, if threads woke up in no time
FLOOD_RATE = 1.5 * CAPACITY
LOW_EVERY_SECONDS = 0.04
CALM_SECONDS, FLOOD_SECONDS = 1.0, 3.5
LANE = 100
FAIRNESS = 10
HEAD_START_SECONDS = 0.1
STRICT = 10**9  # a fairness that never comes into play
SAMPLES = 47  # of `metrics()` in a run
PACE_SECONDS = 0.002
PATIENCE_SECONDS = 60.0
FAIRNESSES = (1, 2, 5, 10, 20, 50, 100)


# ── the contenders ───────────────────────────────────────────────────────────────────────────


def _contenders(seed: int) -> dict[str, Opener]:
    lots = {Priority.HIGH: FAIRNESS, Priority.MEDIUM: 1, Priority.LOW: 1}
    choices = {"weighted": by_lot(lots, Random(seed)), "ageing": by_age(HEAD_START_SECONDS)}
    tokens, strict = (
        final.Config(num_workers=WORKERS, queue_size=LANE, fairness=fairness)
        for fairness in (FAIRNESS, STRICT)
    )
    return {
        "naive": lambda: open_naive(WORKERS),
        "improved": lambda: open_improved(WORKERS, LANE),
        **{name: _choosing(tokens, choice) for name, choice in choices.items()},
        "final": lambda: open_final(tokens),
        "final, strict": lambda: open_final(strict),
    }


def _choosing(config: final.Config, choice: Choice) -> Opener:
    return lambda: open_final(config, lambda jq: choose_by(jq, choice))


# ── measuring ────────────────────────────────────────────────────────────────────────────────


@dataclass
class Seen:
    """What happened in one run; times in seconds from its start."""

    low: list[tuple[float, float]] = field(default_factory=list)  # asked at, waited
    high: list[tuple[float, float]] = field(default_factory=list)
    samples: list[dict[str, float]] = field(default_factory=list)


def measure(settings: Settings) -> Data:
    """Flood each contender alike, then see what `fairness` costs."""
    calm, flood = settings.pick(CALM_SECONDS, 0.02), settings.pick(FLOOD_SECONDS, 0.1)
    contenders = _contenders(settings.seed)
    settings.progress.expect((len(contenders) + 1) * (calm + 1.2 * flood))
    runs = {}
    for name, opened in contenders.items():
        settings.progress.begin(name)
        with opened() as contender:
            seen = _flood(contender, calm, calm + flood)
        runs[name] = _summary(seen, calm, calm + flood)
        settings.progress.advance(calm + 1.2 * flood)
    settings.progress.begin("fairness")
    jobs, rounds = settings.pick((10_000, 3), (300, 1))
    return {
        "workers": WORKERS,
        "handler_milliseconds": HANDLER_SECONDS * 1e3,
        "flood_rate": FLOOD_RATE,
        "low_rate": 1 / LOW_EVERY_SECONDS,
        "calm_seconds": calm,
        "flood_seconds": flood,
        "lane": LANE,
        "fairness": FAIRNESS,
        "head_start_seconds": HEAD_START_SECONDS,
        "runs": runs,
        "fairness_jobs": jobs,
        "fairnesses": _shares(jobs, rounds),
    }


def _flood(contender: Contender, begin: float, end: float) -> Seen:
    """Low comes now and then, from the start; High from `begin` on, faster than it can be done."""
    flood = Flood(contender, end)
    producers = [
        threading.Thread(target=flood.produce, args=arguments)
        for arguments in (
            (Priority.LOW, 0.0, LOW_EVERY_SECONDS),
            (Priority.HIGH, begin, 1 / FLOOD_RATE),
        )
    ]
    for producer in producers:
        producer.start()
    _watch(contender.final, flood.seen, flood.start, flood.start + end)
    for producer in producers:
        producer.join()
    flood.await_all()
    return flood.seen


class Flood:
    """Puts jobs into a queue and writes down how long they waited.

    Attributes:
        start: when it began, in monotonic seconds; all other times count from here.
        seen: what has happened so far.
    """

    def __init__(self, contender: Contender, end: float) -> None:
        self.start = time.monotonic()
        self.seen = Seen()
        self._contender = contender
        self._end = end
        self._enqueued = dict.fromkeys(Priority, 0)

    def produce(self, priority: Priority, first: float, every: float) -> None:
        """Enqueue a job at `first` and one `every` so many seconds after it, until the end.

        If the queue has it wait, it is late with the next, and enqueues them one by one.
        """
        while (now := self._now()) < self._end:
            while first + self._enqueued[priority] * every <= now < self._end:
                self._enqueue(priority)
                self._enqueued[priority] += 1
                now = self._now()
            time.sleep(PACE_SECONDS)

    def await_all(self) -> None:
        """Wait until all jobs have been started."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._started() < sum(self._enqueued.values()) and time.monotonic() < deadline:
            time.sleep(PACE_SECONDS)

    def _now(self) -> float:
        return time.monotonic() - self.start

    def _started(self) -> int:
        return len(self.seen.low) + len(self.seen.high)

    def _enqueue(self, priority: Priority) -> None:
        waits = self.seen.low if priority is Priority.LOW else self.seen.high
        asked = self._now()

        def run() -> None:
            waits.append((asked, self._now() - asked))
            time.sleep(HANDLER_SECONDS)

        self._contender.enqueue(priority, run)


def _watch(queue: final.JobQueue | None, seen: Seen, start: float, end: float) -> None:
    """Look at `metrics()` every so often until the end, as monitoring would."""
    every = (end - start) / SAMPLES
    for number in range(1, SAMPLES + 1):
        time.sleep(max(0.0, start + number * every - time.monotonic()))
        if queue is not None:
            seen.samples.append({"at": round(number * every, 3), **_sample(queue.metrics())})


def _sample(metrics: final.Metrics) -> dict[str, float]:
    low = metrics.by_priority[Priority.LOW]
    return {
        "utilization": round(metrics.workers.utilization, 3),
        "oldest_wait": round(low.oldest_wait, 4),
        "queue_wait_p99": round(low.queue_wait.p99, 4),
        "low_queued": low.queued,
        "completed": metrics.completed,
    }


def _summary(seen: Seen, begin: float, end: float) -> dict[str, Any]:
    low = sorted(waited for asked, waited in seen.low if asked >= begin)
    high = sorted(waited for _, waited in seen.high)
    return {
        "low": _spread(low),
        "low_started_in_flood": sum(
            asked >= begin and asked + waited < end for asked, waited in seen.low
        ),
        "high": _spread(high),
        "samples": {
            name: [sample[name] for sample in seen.samples] for name in (seen.samples or [{}])[0]
        },
    }


def _spread(waits: list[float]) -> dict[str, float]:
    return {
        "jobs": len(waits),
        "median": round(median(waits), 4) if waits else 0.0,
        "max": round(waits[-1], 4) if waits else 0.0,
    }


def _shares(jobs: int, rounds: int) -> list[dict[str, float]]:
    """What each `fairness` does, by turns."""
    turns = [[_share(fairness, jobs) for fairness in FAIRNESSES] for _ in range(rounds)]
    return [
        {**same[0], "jobs_per_second": round(median(each["jobs_per_second"] for each in same))}
        for same in zip(*turns, strict=True)
    ]


def _share(fairness: int, jobs: int) -> dict[str, float]:
    """Both lanes are full: which jobs are started first, and how fast."""
    order: list[bytes] = []
    config = final.Config(num_workers=1, queue_size=jobs, fairness=fairness)
    with final.JobQueue(config, handler=order.append, start=False) as jq:
        for priority in (Priority.LOW, Priority.HIGH):
            for _ in range(jobs):
                jq.enqueue(final.Job(priority.name[0].encode(), priority=priority))
        gc.collect()
        start = time.perf_counter()
        jq.start()
        jq.join()
        seconds = time.perf_counter() - start
    both = b"".join(order)[:jobs]  # started while both lanes had work
    return {
        "fairness": fairness,
        "high_share": round(both.count(b"H") / jobs, 4),
        "overtaken_max": max(map(len, both.rstrip(b"H").split(b"L"))),
        "jobs_per_second": round(2 * jobs / seconds),
    }


EXPERIMENT = Experiment(
    name="starvation",
    question="How long does Low wait while High keeps coming, and what does fairness cost?",
    measure=measure,
    report=report,
    draw=draw,
)
