"""Starvation: how long Low waits while High keeps coming, by how the next job is chosen."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from statistics import median
from typing import Any

from jobqueue import final
from jobqueue.final import Priority

from .contenders import Contender, Opener, open_final, open_improved, open_naive
from .drawing import BLACK, GREY, TIERS, label, label_ends, plain, title
from .experiment import Data, Experiment, Settings
from .findings import bullets, milliseconds, wrapped
from .pages import table
from .schedulers import Choice, by_age, by_lot, choose_by

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

        Where the queue has it wait, it is late with the next, and enqueues them one by one.
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


# ── telling ──────────────────────────────────────────────────────────────────────────────────

NAMES = {
    "improved": "strict order (improved)",
    "naive": "one line (naive)",
    "ageing": "ageing (lab)",
    "weighted": "weighted choice (lab)",
    "final": "tokens (final)",
}
"""The contenders, in the order in which they are told of."""


def report(data: Data) -> str:
    """How long Low and High waited, what `fairness` does, and what follows from it."""
    return "\n\n".join(
        [
            wrapped(_setting(data)),
            _table_of_waits(data["runs"]),
            "Both lanes always full, handlers that do nothing:",
            _table_of_shares(data["fairnesses"]),
            bullets(_findings(data)),
        ]
    )


def _table_of_waits(runs: dict[str, Data]) -> str:
    header = [
        "next is chosen by",
        "Low jobs",
        "started in the flood",
        "Low waited: median",
        "at worst",
        "High waited: median",
        "at worst",
    ]
    rows = [
        [
            text,
            runs[name]["low"]["jobs"],
            runs[name]["low_started_in_flood"],
            *(
                milliseconds(runs[name][lane][which])
                for lane in ("low", "high")
                for which in ("median", "max")
            ),
        ]
        for name, text in NAMES.items()
    ]
    return table(header, rows)


def _table_of_shares(shares: list[Data]) -> str:
    header = ["`fairness`", "starts that were High", "most High between two Low", "jobs per second"]
    rows = [
        [
            str(share["fairness"]),
            f"{share['high_share']:.1%}",
            share["overtaken_max"],
            share["jobs_per_second"],
        ]
        for share in shares
    ]
    return table(header, rows, "rrrr")


def _setting(data: Data) -> str:
    return (
        f"{data['workers']} workers, {data['handler_milliseconds']:g} ms a job. For "
        f"{data['flood_seconds']:g} s, {data['flood_rate']:,.0f} High jobs come per second, more "
        f"than can be done, and {data['low_rate']:g} Low jobs. The bounded tiers have "
        f"{data['lane']} places a lane."
    )


def _findings(data: Data) -> Iterator[str]:
    runs, tokens = data["runs"], data["fairness"]
    low = {name: run["low"] for name, run in runs.items()}
    high = {name: run["high"] for name, run in runs.items()}
    started = {
        name: f"{run['low_started_in_flood']} of {low[name]['jobs']}" for name, run in runs.items()
    }
    yield (
        f"**Strict order starves:** {started['improved']} Low jobs that came in the flood were "
        f"started before its end; the worst waited {milliseconds(low['improved']['max'])}. With "
        f"{tokens} tokens it is {started['final']}, and the worst waited "
        f"{milliseconds(low['final']['max'])}."
    )
    yield (
        f"**Weighted choice** ({tokens} : 1) has a similar median "
        f"({milliseconds(low['weighted']['median'])}; tokens "
        f"{milliseconds(low['final']['median'])}), but no bound: its worst was "
        f"{milliseconds(low['weighted']['max'])}."
    )
    yield (
        f"**Ageing** ({data['head_start_seconds']:g} s a step) bounds the wait by the clock, not "
        f"by jobs: Low waits {milliseconds(low['ageing']['median'])}, which is what High waits "
        f"({milliseconds(high['ageing']['median'])}) plus two steps. It does not matter any more "
        f"how few the Low jobs are."
    )
    yield from _findings_of_costs(data)


def _findings_of_costs(data: Data) -> Iterator[str]:
    runs, shares = data["runs"], data["fairnesses"]
    high = {name: run["high"] for name, run in runs.items()}
    rates = [each["jobs_per_second"] for each in shares]
    yield (
        f"**What High pays:** its median is {milliseconds(high['improved']['median'])} in strict "
        f"order and {milliseconds(high['final']['median'])} with tokens; it waits in its own line, "
        f"which is full in both. From `fairness` {shares[0]['fairness']} to "
        f"{shares[-1]['fairness']} its share goes from {shares[0]['high_share']:.0%} to "
        f"{shares[-1]['high_share']:.0%}, and jobs per second lie between {min(rates):,} and "
        f"{max(rates):,}, the fewest at {_fairness_of(shares, min(rates))} and the most at "
        f"{_fairness_of(shares, max(rates))}: what `fairness` gives to one it takes from the "
        f"other, and not from the work that is done."
    )
    strict, fair = (_highest(runs[name]) for name in ("final, strict", "final"))
    yield (
        f"**In `metrics()`** the `utilization` (over 10 s) rises to {strict['utilization']:.2f} in "
        f"strict order and to {fair['utilization']:.2f} with tokens, which tells nothing. "
        f"`by_priority[LOW].oldest_wait` rises to {milliseconds(strict['oldest_wait'])} and to "
        f"{milliseconds(fair['oldest_wait'])}. `queue_wait.p99` of Low never rises above "
        f"{milliseconds(strict['queue_wait_p99'])} while Low starves: it knows only of jobs that "
        f"were started."
    )


def _fairness_of(shares: list[Data], rate: float) -> int:
    return next(int(each["fairness"]) for each in shares if each["jobs_per_second"] == rate)


def _highest(run: Data) -> dict[str, float]:
    return {name: max(values) for name, values in run["samples"].items()}


# ── drawing ──────────────────────────────────────────────────────────────────────────────────

COLOURS = {
    "improved": TIERS["improved"],
    "naive": TIERS["naive"],
    "ageing": GREY,
    "weighted": GREY,
    "final": TIERS["final"],
}


def draw(data: Data, figure: Any) -> None:
    """How long Low waited, to the left; what `metrics()` said meanwhile, to the right."""
    worst = {name: milliseconds(run["low"]["max"]) for name, run in data["runs"].items()}
    title(
        figure,
        f"Low waits up to {worst['improved']} in strict order, {worst['final']} with tokens",
        f"For {data['flood_seconds']:g} s more urgent jobs (High) come than can be done, and a few "
        f"that are not urgent (Low)",
    )
    axes = figure.subplot_mosaic(
        [["waits", "oldest"], ["waits", "busy"]], width_ratios=(1.25, 1), height_ratios=(2.5, 1)
    )
    _draw_waits(data, axes["waits"])
    _draw_metrics(data, axes["oldest"], axes["busy"])


def _draw_waits(data: Data, axes: Any) -> None:
    for place, (name, text) in enumerate(NAMES.items()):
        low, colour = data["runs"][name]["low"], COLOURS[name]
        half, worst = (max(low[which], 1e-3) for which in ("median", "max"))
        axes.plot([half, worst], [place, place], color=colour, linewidth=7, solid_capstyle="butt")
        axes.plot([half], [place], color=colour, marker="o", markersize=11)
        label(axes, worst, place, milliseconds(low["max"]), colour, dx=7)
        label(axes, 1e-3, place, text, BLACK, dx=2, dy=15, fontweight="normal")
    axes.set_xscale("log")
    axes.set_xlim(1e-3, 20)
    axes.set_xticks([1e-3, 1e-2, 1e-1, 1, 10], ["1 ms", "10 ms", "0.1 s", "1 s", "10 s"])
    axes.set_ylim(len(NAMES) - 0.6, -0.7)
    axes.set_yticks([])
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_title("how long Low waits: median (dot) to worst")


def _draw_metrics(data: Data, oldest: Any, busy: Any) -> None:
    begin, end = data["calm_seconds"], data["calm_seconds"] + data["flood_seconds"]
    ends = []
    lines = {
        "final, strict": (COLOURS["improved"], "strict\norder", 3.4),
        "final": (COLOURS["final"], "tokens", 1.7),
    }
    for name, (colour, text, width) in lines.items():
        samples = data["runs"][name]["samples"]
        oldest.plot(samples["at"], samples["oldest_wait"], color=colour)
        busy.plot(samples["at"], samples["utilization"], color=colour, linewidth=width)
        ends.append((samples["at"][-1], samples["oldest_wait"][-1], text, colour))
    for axes in (oldest, busy):
        axes.axvspan(begin, end, color="#F2F2F2", linewidth=0)
        axes.set_xlim(0, end)
        axes.set_ylim(0, None)
    label(oldest, begin, oldest.get_ylim()[1], "flood", GREY, dx=4, dy=-8, fontweight="normal")
    oldest.tick_params(labelbottom=False)
    oldest.set_title("metrics(): oldest_wait of Low")
    plain(oldest.yaxis, " s")
    busy.set_ylim(0, 1.1)
    busy.set_yticks([0, 1], ["0 %", "100 %"])
    first, second = (f"{_highest(data['runs'][name])['utilization']:.0%}" for name in lines)
    most = f"{first} in both" if first == second else f"{first} and {second}"
    busy.set_title(f"metrics(): utilization, up to {most}")
    busy.set_xlabel("seconds")
    label_ends(oldest, ends)


EXPERIMENT = Experiment(
    name="starvation",
    question="How long does Low wait while High keeps coming, and what does fairness cost?",
    measure=measure,
    report=report,
    draw=draw,
)
