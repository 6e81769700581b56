"""The plots of docs/performance.md, one message each.

Colours are those of Okabe and Ito, which can be told apart whatever colours one sees. Every line is
named where it ends, so that nothing depends on them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")  # before pyplot: there may be no screen

from matplotlib import pyplot as plt
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#E69F00", "#009E73", "#D55E00"
GREY, BLACK = "#8C8C8C", "#222222"

COLOURS = {
    "memory": BLUE,
    "async": GREEN,
    "write": ORANGE,
    "fsync": VERMILION,
    "ThreadPoolExecutor": BLACK,
    "queue.Queue(1000)": GREY,
}
NAMES = {"async": '"async" log', "write": '"write" log', "fsync": '"fsync" log'}

Series = Mapping[str, Any]


def draw_all(series: Series, directory: Path) -> list[str]:
    """Draw what there are numbers for; return the names of the files."""
    directory.mkdir(parents=True, exist_ok=True)
    drawn = []
    for key, draw in DRAWINGS.items():
        if key in series:
            name = f"{draw.__name__}.png"
            draw(series[key], directory / name)
            drawn.append(name)
    return drawn


# ── one function a plot ──────────────────────────────────────────────────────────────────────


def throughput(rates: Series, path: Path) -> None:
    """Jobs a second by producers; a line for each level of durability."""
    with _axes(path, "Jobs per second, end to end, four workers") as axes:
        producers = list(rates)
        ends = {}
        for name, colour in COLOURS.items():
            values = [rates[each][name] for each in producers]
            axes.plot(range(len(producers)), values, color=colour, marker="o")
            ends[name] = values[-1]
        _logarithmic(axes.yaxis)
        axes.set_xticks(range(len(producers)), producers)
        axes.set_xlabel("producer threads, one enqueue a job")
        axes.set_ylabel("jobs per second")
        _label_ends(axes, len(producers) - 1, ends)


def latency(distributions: Series, path: Path) -> None:
    """How long jobs wait for a worker, up to the slowest in a thousand."""
    with _axes(path, "From enqueue to the start of the handler, at 5,000 jobs per second") as axes:
        shares = (0.5, 0.9, 0.99, 0.999)
        ends = {}
        for name, distribution in distributions.items():
            points = [(s, t * 1e3) for s, t in distribution if shares[0] <= s <= shares[-1]]
            axes.plot(
                [-math.log10(1 - share) for share, _ in points],
                [wait for _, wait in points],
                color=COLOURS[name],
            )
            ends[name] = points[-1][1]
        _logarithmic(axes.yaxis)
        places = [-math.log10(1 - share) for share in shares]
        axes.set_xticks(places, ["half", "90 %", "99 %", "99.9 %"])
        axes.set_xlabel("of the jobs started within")
        axes.set_ylabel("milliseconds")
        _label_ends(axes, places[-1], ends)


def growth(micros: Series, path: Path) -> None:
    """What a job costs, by how many wait before it."""
    with _axes(path, "Enqueueing and running a job, by how many wait") as axes:
        lengths = [int(each) for each in micros]
        axes.plot(lengths, list(micros.values()), color=BLUE, marker="o")
        for length, cost in zip(lengths, micros.values(), strict=True):
            axes.annotate(
                f"{cost:.1f}", (length, cost), (0, 8), textcoords="offset points", ha="center"
            )
        axes.set_xscale("log")
        axes.set_xticks(lengths, [f"{each:,}" for each in lengths])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_ylim(0, 1.3 * max(micros.values()))
        axes.set_xlabel("jobs queued")
        axes.set_ylabel("microseconds of processor time")


def replay(times: Series, path: Path) -> None:
    """How long opening a log takes, by how many jobs it tells of."""
    with _axes(path, "Opening a log of finished jobs") as axes:
        sizes = [int(each) for each in times]
        names = {"open": "open the queue", "decode": "decode the lines,\ndo nothing with them"}
        for (key, name), colour in zip(names.items(), (BLUE, GREY), strict=True):
            values = [each[key] for each in times.values()]
            axes.plot(sizes, values, color=colour, marker="o")
            axes.annotate(
                name,
                (sizes[-1], values[-1]),
                (8, 0),
                textcoords="offset points",
                va="center",
                color=colour,
            )
        axes.set_xscale("log")
        _logarithmic(axes.yaxis)
        axes.set_xticks(sizes, [f"{each:,}" for each in sizes])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel("jobs in the log")
        axes.set_ylabel("seconds")


def peers(levels: Series, path: Path) -> None:
    """All job queues at all levels of durability."""
    rows = [
        (title if first else "", row)
        for title, table in levels.items()
        for first, row in _with_first([row for row in table if "jobs/s" in row])
    ]
    with _axes(path, "Jobs per second, end to end, at equal durability", height=7.5) as axes:
        place = 0.0
        for title, row in rows:
            if title:
                place += 1.5
                axes.annotate(
                    title,
                    (0, place - 0.8),
                    xycoords=("axes fraction", "data"),
                    va="center",
                    fontweight="bold",
                    annotation_clip=False,
                )
            _bar(axes, place, str(row["name"]), float(row["jobs/s"]))
            place += 1
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(_plain))
        axes.set_xlim(5, 3e7)
        axes.set_ylim(place, -0.2)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("jobs per second")


DRAWINGS = {
    "throughput": throughput,
    "latency": latency,
    "cost per job": growth,
    "replay": replay,
    "peers": peers,
}
"""By the series that they draw."""


# ── what they share ──────────────────────────────────────────────────────────────────────────


@contextmanager
def _axes(path: Path, title: str, height: float = 4.0) -> Iterator[Any]:
    settings = {
        "font.size": 10,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlelocation": "left",
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "axes.ymargin": 0.1,
        "grid.color": "#E5E5E5",
        "lines.linewidth": 1.8,
        "lines.markersize": 4,
    }
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=(7.5, height), layout="constrained")
        axes.set_title(title)
        yield axes
        figure.savefig(path, dpi=150, metadata={"Software": None})
        plt.close(figure)


def _logarithmic(axis: Any) -> None:
    """Tick at 1, 2, 5, 10 …, in plain numbers."""
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(_plain))


def _plain(value: float, _position: int) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _bar(axes: Any, place: float, name: str, value: float) -> None:
    ours = name == "jobqueue"
    axes.barh(place, value, color=BLUE if ours else "#BDBDBD", height=0.75)
    axes.annotate(
        f"{name}  {value:,.0f}",
        (value, place),
        (4, 0),
        textcoords="offset points",
        va="center",
        fontweight="bold" if ours else "normal",
    )


def _with_first(rows: Sequence[Series]) -> Iterator[tuple[bool, Series]]:
    return ((number == 0, row) for number, row in enumerate(rows))


def _label_ends(axes: Any, x: float, ends: Mapping[str, float]) -> None:
    """Name each line at its end, moved apart if two end close to each other."""
    low, high = (math.log10(limit) for limit in axes.get_ylim())
    gap = (high - low) / 16
    above = -math.inf
    for name, value in sorted(ends.items(), key=lambda end: end[1]):
        above = max(math.log10(value), above + gap)
        axes.annotate(
            NAMES.get(name, name),
            (x, 10**above),
            (8, 0),
            textcoords="offset points",
            va="center",
            color=COLOURS[name],
            annotation_clip=False,
        )
