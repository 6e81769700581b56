"""Clock change: when a nightly job runs on the two days of the year that have no 24 hours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from jobqueue.final import Job, JobContext, JobQueue
from jobqueue.final.testing import ManualClock

from .drawing import BLUE, GREY, INK, ORANGE, VERMILION, title
from .experiment import Data, Experiment, Settings
from .findings import bullets, wrapped
from .pages import table

ZONE = "Europe/Berlin"
NIGHTLY = "30 2 * * *"
SCHEDULES = (NIGHTLY, "0 2,3 * * *", "0 * * * *", "*/30 * * * *")
HOURS = 6
"""How much of a night is watched, from midnight on."""
MINUTE = 60.0


class Night(NamedTuple):
    """A night, by its day, and what the clocks do in it."""

    name: str
    day: str


NIGHTS = (
    Night("an ordinary night", "2026-03-21"),
    Night("clocks go forward", "2026-03-29"),
    Night("clocks go back", "2026-10-25"),
    Night("the night after", "2026-10-26"),
)
CHANGES = NIGHTS[1:3]
HOURS_TO_CHANGE = {"clocks go forward": 2, "clocks go back": 3}


# ── the ways ─────────────────────────────────────────────────────────────────────────────────

Way = Callable[[str, float, float], list[float]]
"""The Unix times, after the one and not after the other, at which a schedule runs its job."""


def each_minute(schedule: str, begin: float, end: float) -> list[float]:
    """What one writes first: each minute, look at the clock on the wall."""
    minute_field, hour_field, *_ = schedule.split()
    minutes, hours = _numbers(minute_field, 60), _numbers(hour_field, 24)
    found = []
    for minute in range(round(begin / MINUTE) + 1, round(end / MINUTE) + 1):
        local = datetime.fromtimestamp(minute * MINUTE, ZoneInfo(ZONE))
        if local.minute in minutes and local.hour in hours:
            found.append(minute * MINUTE)
    return found


def each_day(schedule: str, begin: float, end: float) -> list[float]:
    """Sleep for 24 hours: it began a week before, by the clock of that day."""
    week = 7 * 24 * 60 * MINUTE
    before = datetime.fromtimestamp(begin, ZoneInfo(ZONE)).replace(tzinfo=None) - timedelta(days=7)
    first = before.replace(tzinfo=ZoneInfo(ZONE)).timestamp()
    ran = each_minute(schedule, first, first + 24 * 60 * MINUTE)
    days = range(round(week / (24 * 60 * MINUTE)) - 1, 10)
    found = (tick + day * 24 * 60 * MINUTE for day in days for tick in ran)
    return sorted(tick for tick in found if begin < tick <= end)


def by_queue(schedule: str, begin: float, end: float) -> list[float]:
    """The queue, with a clock that is moved minute by minute."""
    clock, ran = ManualClock(begin), []

    def handler(_payload: bytes, context: JobContext) -> None:
        ran.append(datetime.fromisoformat(context.job.id.partition("@")[2]).timestamp())

    with JobQueue(handler=handler, clock=clock) as jq:
        jq.periodic("job", schedule, Job, tz=ZONE)
        while clock.time() < end:
            clock.advance(MINUTE)
        jq.join()
    return sorted(ran)


WAYS: dict[str, Way] = {
    "look each minute": each_minute,
    "sleep 24 hours": each_day,
    "jobqueue": by_queue,
}


def _numbers(field: str, count: int) -> set[int]:
    """What a field of minutes or hours stands for: `*`, `*/step`, or numbers."""
    if field.startswith("*"):
        return set(range(0, count, int(field.partition("/")[2] or 1)))
    return {int(number) for number in field.split(",")}


# ── measuring ────────────────────────────────────────────────────────────────────────────────


def measure(settings: Settings) -> Data:
    """Have each way run each schedule through each night."""
    schedules = settings.pick(SCHEDULES, SCHEDULES[:2])
    settings.progress.expect(len(schedules) * len(NIGHTS))
    runs = []
    for schedule in schedules:
        for night in NIGHTS:
            settings.progress.begin(f"{schedule}: {night.name}")
            begin = _midnight(night.day)
            end = begin + HOURS * 60 * MINUTE
            for name, way in WAYS.items():
                # A minute before midnight, so that a tick at midnight is seen.
                ticks = way(schedule, begin - MINUTE, end)
                hours = [round((tick - begin) / 3600, 3) for tick in ticks]
                runs.append(
                    {"schedule": schedule, "night": night.name, "way": name, "hours": hours}
                    | {"local": [_local(tick) for tick in ticks]}
                )
            settings.progress.advance()
    return {"zone": ZONE, "hours": HOURS, "schedules": list(schedules), "runs": runs}


def _midnight(day: str) -> float:
    return datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(ZONE)).timestamp()


def _local(tick: float) -> str:
    return datetime.fromtimestamp(tick, ZoneInfo(ZONE)).strftime("%H:%M %Z")


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """A table of the nightly job, one of how often the others run, and what follows."""
    rows = [
        [name, *(_times(_run(data, NIGHTLY, night.name, name)) for night in NIGHTS)]
        for name in WAYS
    ]
    header = ["way", *(night.name for night in NIGHTS)]
    others = [
        [
            f"`{schedule}`",
            *(
                len(_run(data, schedule, night.name, name)["hours"])
                for name in ("look each minute", "jobqueue")
                for night in CHANGES
            ),
        ]
        for schedule in data["schedules"]
    ]
    counted = [
        "schedule",
        *(f"{name}: {night.name}" for name in ("each minute", "jobqueue") for night in CHANGES),
    ]
    return "\n\n".join(
        [
            wrapped(_setting(data)),
            table(header, rows, "lllll"),
            f"How often each schedule runs in the first {data['hours']} hours of such a day:",
            table(counted, others),
            bullets(_findings(data)),
        ]
    )


def _setting(data: Data) -> str:
    return (
        f"When a job at `{NIGHTLY}` runs, half past two each night, by the clocks of "
        f"{data['zone']}. On 2026-03-29 they go from 02:00 to 03:00, on 2026-10-25 from 03:00 back "
        f"to 02:00."
    )


def _times(run: Data) -> str:
    return ", ".join(run["local"]) or "not at all"


def _run(data: Data, schedule: str, night: str, way: str) -> Data:
    wanted = (schedule, night, way)
    runs = data["runs"]
    return next(run for run in runs if (run["schedule"], run["night"], run["way"]) == wanted)


def _findings(data: Data) -> Iterator[str]:
    forward, back = (night.name for night in CHANGES)
    looked = [_run(data, NIGHTLY, night, "look each minute") for night in (forward, back)]
    after = NIGHTS[-1].name
    slept = [_run(data, NIGHTLY, night, "sleep 24 hours") for night in (forward, after)]
    ticked = [_run(data, NIGHTLY, night, "jobqueue") for night in (forward, back)]
    yield (
        f"**Who looks at the clock on the wall** runs the job {_often(looked[0])} in the night "
        f"that has no half past two, and {_often(looked[1])} in the one that has two."
    )
    yield (
        f"**Who sleeps for 24 hours** runs it each night, but after a change at another time: at "
        f"{_times(slept[0])} in spring, and at {_times(slept[1])} in autumn, until the program is "
        f"started anew."
    )
    yield (
        f"**The queue** runs it {_often(ticked[0])} when the clocks go forward, at "
        f"{_times(ticked[0])}, and {_often(ticked[1])} when they go back, at {_times(ticked[1])}."
    )


def _often(run: Data) -> str:
    times = len(run["hours"])
    return {0: "not at all", 1: "once", 2: "twice"}.get(times, f"{times} times")


# ── drawing ──────────────────────────────────────────────────────────────────────────────────

COLOURS = {"look each minute": VERMILION, "sleep 24 hours": ORANGE, "jobqueue": BLUE}


def draw(data: Data, figure: Any) -> None:
    """The three nights, one below the other; a dot for each run of the nightly job."""
    counts = {
        name: [len(_run(data, NIGHTLY, night.name, name)["hours"]) for night in CHANGES]
        for name in WAYS
    }
    looked, ticked = counts["look each minute"], counts["jobqueue"]
    title(
        figure,
        f"By the clock on the wall a nightly job runs {_total(looked)}; by the queue "
        f"{_total(ticked)}",
        f"Runs of a job at 02:30 in {data['zone']}, in the nights in which the clocks go forward "
        f"and back, and in those around them",
    )
    rows = figure.subplots(len(NIGHTS), 1)
    ticks = range(data["hours"] + 1)
    for axes, night in zip(rows, NIGHTS, strict=True):
        for place, name in enumerate(reversed(WAYS)):
            hours = _run(data, NIGHTLY, night.name, name)["hours"]
            axes.plot(hours, [place] * len(hours), "o", color=COLOURS[name], markersize=9)
        axes.set_yticks(range(len(WAYS)), list(reversed(WAYS)))
        axes.set_ylim(-0.6, len(WAYS) - 0.4)
        axes.set_title(night.name, fontsize=11, color=INK)
        axes.set_xlim(0, data["hours"])
        axes.set_xticks(ticks, [_local(_midnight(night.day) + hour * 3600)[:5] for hour in ticks])
        if night in CHANGES:
            axes.axvline(HOURS_TO_CHANGE[night.name], color=GREY, linewidth=1, linestyle=":")


def _total(counts: list[int]) -> str:
    return " and ".join({0: "never", 1: "once", 2: "twice"}.get(each, str(each)) for each in counts)


EXPERIMENT = Experiment(
    name="clock-change",
    question="When does a nightly job run in the nights in which the clocks change?",
    measure=measure,
    report=report,
    draw=draw,
)
