"""Starvation: what was measured, as tables, findings and a picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from .drawing import BAND, GREY, INK, TIERS, label, label_ends, plain, title
from .experiment import Data
from .findings import bullets, milliseconds, wrapped
from .pages import table

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
        label(axes, 1e-3, place, text, INK, dx=2, dy=15, fontweight="normal")
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
        axes.axvspan(begin, end, color=BAND, linewidth=0)
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
