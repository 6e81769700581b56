"""The plots of docs/performance.md, one message each: it is the title, and comes from the numbers.

They look as those of the lab do. No axis is logarithmic but where it counts jobs or shares, so that
twice as long is twice as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lab import drawing

COLOURS = {
    "memory": drawing.BLUE,
    "async": drawing.GREEN,
    "write": drawing.ORANGE,
    "fsync": drawing.VERMILION,
    "ThreadPoolExecutor": drawing.INK,
}
NAMES = {"async": '"async" log', "write": '"write" log', "fsync": '"fsync" log'}
YARDSTICKS = {  # what runs beside the others for scale, and does not keep the promise of its table
    "in memory": ("queue.", "queuelib"),
    "safe from kill -9": ("ThreadPoolExecutor",),
    "on the disk, 1 producer": ("write + fdatasync",),
}
OURS = "jobqueue"
NO_JOB_QUEUES = (OURS, "ThreadPoolExecutor")
PEERS_HEIGHT = 8.0  # inches

Series = Mapping[str, Any]
Rows = list[dict[str, Any]]


def draw_all(series: Series, directory: Path) -> list[str]:
    """Draw what there are numbers for; return the names of the files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for key, draw in DRAWINGS.items():
        if key in series:
            name = f"{draw.__name__}.svg"
            height = {"height": PEERS_HEIGHT} if draw is peers else {}
            drawing.save(draw, series[key], directory / name, **height)
            drawn.append(name)
    return drawn


def equals(level: str, rows: Rows) -> Rows:
    """Those rows of a level that keep its promise, the fastest first."""
    kept = [row for row in rows if not _is_yardstick(level, row)]
    return sorted(kept, key=lambda row: -float(row.get("jobs/s", 0.0)))


def yardsticks(levels: Mapping[str, Rows]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The other rows, each with its level."""
    for level, rows in levels.items():
        yield from ((level, row) for row in rows if _is_yardstick(level, row))


def _is_yardstick(level: str, row: Mapping[str, Any]) -> bool:
    return str(row["name"]).startswith(YARDSTICKS.get(level, ("no such thing",)))


def fastest_other(level: str, rows: Rows) -> dict[str, Any]:
    """The fastest other job queue that keeps the promise."""
    return next(
        row
        for row in equals(level, rows)
        if "ratio" in row and not str(row["name"]).startswith(NO_JOB_QUEUES)
    )


# ── one function a plot ──────────────────────────────────────────────────────────────────────


def throughput(rates: Series, figure: Any) -> None:
    """Jobs a second by producers; a line for each level of durability."""
    producers = list(rates)
    one, many = rates[producers[0]], rates[producers[-1]]
    drawing.title(
        figure,
        f'A "write" log keeps {one["write"] / one["memory"]:.0%} of the speed in memory; "fsync" '
        f"gains {many['fsync'] / one['fsync']:.1f} × from {producers[-1]} producers",
        "Jobs per second from enqueue to done, four workers, handlers that do nothing.",
    )
    axes = figure.subplots()
    places = range(len(producers))
    for name, colour in COLOURS.items():
        axes.plot(places, [rates[each][name] for each in producers], color=colour, marker="o")
    axes.set_ylim(0, 1.1 * max(row[name] for row in rates.values() for name in COLOURS))
    axes.set_xlim(-0.1, len(producers) - 1)
    drawing.plain(axes.yaxis)
    axes.set_xticks(places, producers)
    axes.set_xlabel("producer threads, one enqueue a job")
    axes.set_ylabel("jobs per second")
    _label(axes, len(producers) - 1, {name: many[name] for name in COLOURS})


def latency(distributions: Series, figure: Any) -> None:
    """How long jobs wait for a worker, up to the slowest in a thousand."""
    shares = (0.5, 0.9, 0.99, 0.999)
    waits = {name: dict(map(tuple, points)) for name, points in distributions.items()}
    drawing.title(
        figure,
        f"Half of the jobs start within {1e3 * waits['memory'][0.5]:.2g} ms, 99 % within "
        f"{1e3 * waits['memory'][0.99]:.2g}; with a log, {1e3 * waits['write'][0.5]:.2g} and "
        f"{1e3 * waits['write'][0.99]:.2g}",
        "From enqueue to the start of the handler, at 5,000 jobs per second, four workers.",
    )
    axes = figure.subplots()
    ends = {}
    for name, points in distributions.items():
        shown = [(s, t * 1e3) for s, t in points if shares[0] <= s <= shares[-1]]
        places = [-math.log10(1 - share) for share, _ in shown]
        axes.plot(places, [wait for _, wait in shown], color=COLOURS[name])
        ends[name] = shown[-1][1]
    axes.set_ylim(0, 1.1 * max(ends.values()))
    marks = [-math.log10(1 - share) for share in shares]
    axes.set_xlim(marks[0], marks[-1])
    axes.set_xticks(marks, ["half", "90 %", "99 %", "99.9 %"])
    axes.set_xlabel("of the jobs started within")
    axes.set_ylabel("milliseconds")
    _label(axes, marks[-1], ends)


def growth(micros: Series, figure: Any) -> None:
    """What a job costs, by how many wait before it."""
    lengths = [int(each) for each in micros]
    costs = list(micros.values())
    drawing.title(
        figure,
        f"A job costs {costs[0]:.1f} µs with {lengths[0]:,} waiting, {costs[-1]:.1f} µs with "
        f"{lengths[-1]:,}",
        "Processor time to enqueue a job at one end and run one from the other, in memory.",
    )
    axes = figure.subplots()
    axes.plot(range(len(lengths)), costs, color=drawing.BLUE, marker="o")
    for place, cost in enumerate(costs):
        drawing.label(axes, place, cost, f"{cost:.1f}", drawing.BLUE, dx=0, dy=12, ha="center")
    axes.set_xticks(range(len(lengths)), [f"{each:,}" for each in lengths])
    axes.set_ylim(0, 1.3 * max(costs))
    axes.set_xlabel("jobs queued")
    axes.set_ylabel("microseconds")


def replay(times: Series, figure: Any) -> None:
    """How long opening a log takes, by how many jobs it tells of."""
    sizes = [int(each) for each in times]
    last = times[str(sizes[-1])]
    drawing.title(
        figure,
        f"A log of {sizes[-1]:,} finished jobs opens in {last['open']:.1f} s, "
        f"{last['open'] / last['decode']:.1f} × one pass that only decodes its lines",
        "Microseconds for each job that the log tells of.",
    )
    axes = figure.subplots()
    names = {"open": ("open the queue", drawing.BLUE), "decode": ("decode only", drawing.GREY)}
    ends = []
    most = 0.0
    for key, (name, colour) in names.items():
        each = [1e6 * times[str(size)][key] / size for size in sizes]
        most = max(most, *each)
        axes.plot(range(len(sizes)), each, color=colour, marker="o")
        ends.append((len(sizes) - 1, each[-1], name, colour))
    axes.set_ylim(0, 1.2 * most)
    axes.set_xlim(-0.1, len(sizes) - 1)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlabel("jobs in the log")
    axes.set_ylabel("microseconds a job")
    drawing.label_ends(axes, ends)


def peers(levels: Series, figure: Any) -> None:
    """Job queues that promise the same, a panel for each promise with an axis of its own."""
    others = {level: fastest_other(level, rows) for level, rows in levels.items()}
    ratios = [float(other["ratio"]) for other in others.values()]
    drawing.title(
        figure,
        f"At the same durability, {min(ratios):.2g} to {max(ratios):.2g} times as fast as the "
        "fastest other job queue here",
        "Jobs per second from enqueue to done, four workers. Each panel has its own axis.",
    )
    told = {
        level: [r for r in equals(level, rows) if "jobs/s" in r] for level, rows in levels.items()
    }
    panels = figure.subplots(len(told), 1, height_ratios=[len(rows) + 1 for rows in told.values()])
    limits = {level: row for level, row in yardsticks(levels) if level.startswith("on the disk")}
    for axes, (level, rows) in zip(panels, told.items(), strict=True):
        other = others[level]
        heading = f"{level}: {float(other['ratio']):.2g} × {other['name']}"
        axes.set_title(heading, fontweight="bold")
        _panel(axes, rows, limits.get(level))


def _panel(axes: Any, rows: Rows, limit: dict[str, Any] | None) -> None:
    most = max(float(row["jobs/s"]) for row in rows)
    for place, row in enumerate(rows):
        speed, name = float(row["jobs/s"]), str(row["name"])
        ours = name == OURS
        axes.barh(place, speed, color=drawing.BLUE if ours else drawing.BAR, height=0.75)
        colour = drawing.BLUE if ours else drawing.INK
        weight = "bold" if ours else "normal"
        drawing.label(axes, speed, place, f"{name}  {speed:,.0f}", colour, fontweight=weight)
    if limit is not None:
        speed = float(limit["jobs/s"])
        most = max(most, speed)
        ends = (0.5, len(rows) - 0.5)
        axes.plot([speed, speed], ends, color=drawing.GREY, linestyle="--", linewidth=1.2)
        text = f"{limit['name']}:\n{speed:,.0f}"
        drawing.label(axes, speed, len(rows) - 1, text, drawing.GREY, fontsize=9)
    axes.set_xlim(0, 1.45 * most)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


DRAWINGS = {
    "throughput": throughput,
    "latency": latency,
    "cost per job": growth,
    "replay": replay,
    "peers": peers,
}
"""By the series that they draw."""


def _label(axes: Any, x: float, ends: Mapping[str, float]) -> None:
    names = [(x, value, NAMES.get(name, name), COLOURS[name]) for name, value in ends.items()]
    drawing.label_ends(axes, names)
