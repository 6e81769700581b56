"""Reserved workers: how long High waits while long Low jobs hold the workers, and what it costs."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from random import Random
from statistics import median
from typing import Any

from jobqueue.final import Config, Job, JobQueue, Priority

from .drawing import BLUE, INK, SKY, VERMILION, label, title
from .experiment import Data, Experiment, Settings
from .findings import bullets, milliseconds, wrapped
from .pages import table

LOW_SECONDS, QUICK_LOW_SECONDS = (0.15, 0.45), (0.03, 0.09)  # of a handler, evenly spread
HIGH_SECONDS = 0.01
HIGH_RATE = 20.0  # a second, by chance
FLOOD, SOME = "more than can be done", "60 % of what 4 workers can do"
SOME_WORKERS = 0.6 * 4
SECONDS, QUICK_SECONDS = 6.0, 0.2
LATE_SECONDS = 0.05
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True)
class Staff:
    """How many workers there are, and how many of them are reserved."""

    workers: int
    reserved: int


STAFFS = (Staff(4, 0), Staff(4, 1), Staff(5, 0), Staff(5, 1))


# ── measuring ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Arrival:
    """A job: when it comes, in seconds from the beginning, and how long its handler takes."""

    at: float
    priority: Priority
    seconds: float


@dataclass(frozen=True)
class Span:
    """When a job was asked for, started and ended, in seconds from the beginning."""

    priority: Priority
    asked: float
    started: float
    ended: float


def measure(settings: Settings) -> Data:
    """Have each staff take the same jobs, under two loads of Low."""
    seconds = settings.pick(SECONDS, QUICK_SECONDS)
    low = settings.pick(LOW_SECONDS, QUICK_LOW_SECONDS)
    settings.progress.expect(2 * len(STAFFS))
    runs = []
    for load in (FLOOD, SOME):
        arrivals = _arrivals(load, low, seconds, Random(settings.seed))
        for staff in STAFFS:
            settings.progress.begin(f"{load}: {staff.workers} workers, {staff.reserved} reserved")
            spans = _run(staff, arrivals, seconds, drain=load == SOME)
            runs.append({"load": load, **asdict(staff), **_summary(spans, seconds)})
            settings.progress.advance()
    return {
        "seconds": seconds,
        "low_milliseconds": [1e3 * each for each in low],
        "high_milliseconds": 1e3 * HIGH_SECONDS,
        "high_rate": HIGH_RATE,
        "late_seconds": LATE_SECONDS,
        "runs": runs,
    }


def _arrivals(
    load: str, low_seconds: tuple[float, float], seconds: float, random: Random
) -> list[Arrival]:
    """All jobs of a run, in the order in which they come: the same for each staff."""
    if load == FLOOD:
        most = max(staff.workers for staff in STAFFS)
        low = [0.0] * round(1.5 * most * seconds / sum(low_seconds) * 2)
    else:
        low = list(_by_chance(SOME_WORKERS / (sum(low_seconds) / 2), seconds, random))
    jobs = [Arrival(at, Priority.LOW, random.uniform(*low_seconds)) for at in low]
    high = _by_chance(HIGH_RATE, seconds, random)
    jobs += [Arrival(at, Priority.HIGH, HIGH_SECONDS) for at in high]
    return sorted(jobs, key=lambda job: job.at)


def _by_chance(rate: float, seconds: float, random: Random) -> Iterator[float]:
    """Moments that know nothing of each other, so many a second."""
    at = random.expovariate(rate)
    while at < seconds:
        yield at
        at += random.expovariate(rate)


@dataclass
class Shift:
    """One staff at work. Its handler is called by all workers; each job is one entry of its own."""

    arrivals: Sequence[Arrival]
    begun: float = field(default_factory=time.monotonic)
    asked: dict[int, float] = field(default_factory=dict)
    spans: list[Span] = field(default_factory=list)

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self.begun

    def handle(self, payload: bytes) -> None:
        """The handler: it waits, as for a service, and does not compute."""
        started, number = self.now(), int(payload)
        arrival = self.arrivals[number]
        time.sleep(arrival.seconds)
        self.spans.append(Span(arrival.priority, self.asked[number], started, self.now()))

    def sleep_until(self, at: float) -> None:
        """Wait until so many seconds after the beginning."""
        time.sleep(max(0.0, at - self.now()))


def _run(staff: Staff, arrivals: Sequence[Arrival], seconds: float, *, drain: bool) -> list[Span]:
    """Enqueue each job when its time comes; with `drain`, wait for all of them at the end.

    All High jobs are waited for, or those that waited longest would not be counted.
    """
    config = Config(
        num_workers=staff.workers,
        reserved_workers=staff.reserved,
        queue_size=len(arrivals) + 1,
    )
    shift = Shift(arrivals)
    high = []
    with JobQueue(config, handler=shift.handle) as jq:
        for number, arrival in enumerate(arrivals):
            shift.sleep_until(arrival.at)
            shift.asked[number] = shift.now()
            handle = jq.enqueue(Job(str(number).encode(), priority=arrival.priority))
            if arrival.priority is Priority.HIGH:
                high.append(handle)
        shift.sleep_until(seconds)
        for handle in high:
            handle.wait(PATIENCE_SECONDS)
        jq.close(drain=drain)
    return shift.spans


def _summary(spans: Sequence[Span], end: float) -> dict[str, Any]:
    of = {
        priority: [span for span in spans if span.priority is priority]
        for priority in (Priority.HIGH, Priority.LOW)
    }
    high, low = of.values()
    return {
        "high": _waits(high),
        "low": _waits(low),
        "low_ended": sum(span.ended <= end for span in low),
        "low_workers": _busy(low, end),
        "high_workers": _busy(high, end),
    }


def _waits(spans: Sequence[Span]) -> dict[str, float]:
    waits = [span.started - span.asked for span in spans] or [0.0]
    return {
        "jobs": len(spans),
        "median": round(median(waits), 4),
        "max": round(max(waits), 4),
        "late": sum(wait > LATE_SECONDS for wait in waits),
    }


def _busy(spans: Sequence[Span], end: float) -> float:
    """How many workers these jobs held, on average until the end."""
    held = (min(span.ended, end) - min(span.started, end) for span in spans)
    return round(sum(held) / end, 3)


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """A row for each staff under each load, and what follows from it."""
    header = [
        "Low comes",
        "workers",
        "of them reserved",
        "High waited: median",
        "at worst",
        f"more than {milliseconds(data['late_seconds'])}",
        "workers that Low had",
        "Low waited: median",
        "at worst",
    ]
    rows = [_row(run) for run in data["runs"]]
    return "\n\n".join(
        [wrapped(_setting(data)), table(header, rows), bullets(_findings(data))],
    )


def _row(run: Data) -> list[object]:
    high, low = run["high"], run["low"]
    return [
        run["load"],
        run["workers"],
        run["reserved"],
        milliseconds(high["median"]),
        milliseconds(high["max"]),
        f"{high['late']} of {high['jobs']}",
        f"{run['low_workers']:.2f}",
        *(None if run["load"] == FLOOD else milliseconds(low[each]) for each in ("median", "max")),
    ]


def _setting(data: Data) -> str:
    shortest, longest = data["low_milliseconds"]
    return (
        f"Low jobs take {shortest:g} to {longest:g} ms. High jobs take "
        f"{data['high_milliseconds']:g} ms, and {data['high_rate']:g} come per second, by chance. "
        f"Each row is {data['seconds']:g} s with the same jobs. Under the first load more Low jobs "
        f"wait than can be done, all the time, so that how long they wait says nothing."
    )


def _findings(data: Data) -> Iterator[str]:
    none, one, more, both = (_of(data, FLOOD, staff) for staff in STAFFS)
    yield (
        f"**No worker reserved:** {_late(none)} High jobs waited longer than "
        f"{milliseconds(data['late_seconds'])}, the worst {milliseconds(none['high']['max'])}. A "
        f"Low job takes up to {milliseconds(data['low_milliseconds'][1] / 1e3)}."
    )
    yield (
        f"**One reserved:** {_late(one)} waited so long, and the worst waited "
        f"{milliseconds(one['high']['max'])}. High held {one['high_workers']:.2f} workers on "
        f"average."
    )
    yield (
        f"**What Low pays:** it had {one['low_workers']:.2f} of {one['workers']} workers, and "
        f"{none['low_workers']:.2f} without: {_change(none['low_workers'], one['low_workers'])}. "
        f"It ended {one['low_ended']} jobs, and {none['low_ended']} without."
    )
    yield (
        f"**A worker more, none reserved:** {_late(more)} waited so long, the worst "
        f"{milliseconds(more['high']['max'])}. **A worker more, which is reserved:** "
        f"{_late(both)}, the worst {milliseconds(both['high']['max'])}, and Low had "
        f"{both['low_workers']:.2f} workers, with four and none reserved "
        f"{none['low_workers']:.2f}."
    )
    none, one, _, both = (_of(data, SOME, staff) for staff in STAFFS)
    yield (
        f"**Where Low is less than can be done:** {_late(none)} High jobs waited so long with none "
        f"reserved, {_late(one)} with one. Low waited {_low(none)} with none, {_low(one)} with "
        f"one of four, {_low(both)} with one of five."
    )


def _of(data: Data, load: str, staff: Staff) -> Data:
    wanted = (load, staff.workers, staff.reserved)
    return next(
        run for run in data["runs"] if (run["load"], run["workers"], run["reserved"]) == wanted
    )


def _late(run: Data) -> str:
    return f"{run['high']['late']} of {run['high']['jobs']}"


def _low(run: Data) -> str:
    low = run["low"]
    return f"{milliseconds(low['median'])} (median) and {milliseconds(low['max'])} (at worst)"


def _change(before: float, after: float) -> str:
    if not before:
        return "nothing to compare"
    change = (after - before) / before
    return f"{abs(change):.0%} {'less' if change < 0 else 'more'}"


# ── drawing ──────────────────────────────────────────────────────────────────────────────────


def draw(data: Data, figure: Any) -> None:
    """How long High waited, to the left; how many workers Low had, to the right."""
    runs = [_of(data, FLOOD, staff) for staff in STAFFS]
    none, one = runs[:2]
    title(
        figure,
        f"High waits up to {milliseconds(none['high']['max'])} with no worker reserved, "
        f"{milliseconds(one['high']['max'])} with one; Low has {one['low_workers']:.1f} "
        f"workers instead of {none['low_workers']:.1f}",
        "More long jobs (Low) come than can be done, and now and then a short one (High)",
    )
    waits, workers = figure.subplots(1, 2, sharey=True, width_ratios=(1.5, 1))
    for place, run in enumerate(runs):
        _draw_row(waits, workers, place, run)
    for axes in (waits, workers):
        axes.set_ylim(len(runs) - 0.5, -0.7)
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines["left"].set_visible(False)
        axes.spines["bottom"].set_visible(False)
        axes.set_xticks([])
    longest = max(run["high"]["max"] for run in runs)
    waits.set_xlim(0, max(longest, 1e-3) * 1.22)
    waits.set_title("how long High waits: median (dot) to worst")
    workers.set_xlim(0, max(run["workers"] for run in runs) * 1.25)
    workers.set_title("workers that Low has")


def _draw_row(waits: Any, workers: Any, place: int, run: Data) -> None:
    high, colour = run["high"], BLUE if run["reserved"] else VERMILION
    reserved = f"{run['reserved']} reserved" if run["reserved"] else "none reserved"
    label(waits, 0, place - 0.36, f"{run['workers']} workers, {reserved}", INK, dx=0)
    waits.plot([0, high["max"]], [place] * 2, color=colour, linewidth=12, solid_capstyle="butt")
    waits.plot([high["median"]], [place], "o", color=INK, markersize=8, clip_on=False)
    label(waits, high["max"], place, milliseconds(high["max"]), colour, dx=10)
    workers.barh(place, run["low_workers"], color=SKY, height=0.36)
    label(workers, run["low_workers"], place, f"{run['low_workers']:.1f}", INK)


EXPERIMENT = Experiment(
    name="reserved",
    question="How long does High wait for long Low jobs, and what does a reserved worker cost?",
    measure=measure,
    report=report,
    draw=draw,
)
