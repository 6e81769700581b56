"""What is lost when a queue is closed: at once, after what is in flight, or after everything."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from . import drawing
from .closing import Manner, Work, open_final
from .experiment import Data, Experiment, Settings
from .findings import bullets
from .ledger import read_ledger
from .pages import table
from .processes import Program, run_each

SHORT = 1.0
"""Seconds that the one in a hurry may take, if the work takes longer."""

MANNERS = {
    "at once": ("naive", "close()"),
    "wait for what is in flight": ("final, in memory", "close(drain=False)"),
    "drain, but only for a while": ("improved", "close()"),
    "drain": ("final, in memory", "close()"),
    "at once, with a log": ("final, with a log", "close(timeout=0)"),
    "wait for what is in flight, with a log": ("final, with a log", "close()"),
}
"""By what is done: the queue, and the call."""


def _manners(short: float) -> Iterator[Manner]:
    yield Manner("naive")
    yield Manner("final", drain=False)
    yield Manner("improved", timeout=short)
    yield Manner("final")
    yield Manner("final", log=True, timeout=0.0)
    yield Manner("final", log=True)


def measure(settings: Settings) -> Data:
    """Fill each queue, send SIGTERM to its process, and count what became of the jobs."""
    jobs, seconds = settings.pick(full=(400, 0.04), quick=(24, 0.01))
    short = settings.pick(full=SHORT, quick=0.02)
    settings.progress.expect(len(MANNERS))
    calls = [
        partial(_close, manner, settings.scratch / str(number), jobs, seconds)
        for number, manner in enumerate(_manners(short))
    ]
    found = {}
    results = run_each(calls, settings.pick(full=1, quick=len(calls)))
    for name, result in zip(MANNERS, results, strict=True):
        found[name] = result
        settings.progress.advance()
    return {"jobs": jobs, "job_seconds": seconds, "short": short, "manners": found}


def _close(manner: Manner, home: Path, jobs: int, seconds: float) -> dict[str, float]:
    home.mkdir()
    took = _terminate(manner, home, jobs, seconds)
    return {**_fates(manner, home, jobs, seconds), "seconds": round(took, 3)}


def _terminate(manner: Manner, home: Path, jobs: int, seconds: float) -> float:
    """How long the process took to end after SIGTERM."""
    settings = {"manner": asdict(manner), "home": str(home), "jobs": jobs, "seconds": seconds}
    with Program("closing", settings) as program:
        program.line()
        time.sleep(2.5 * seconds)  # into the third round of handlers
        start = time.monotonic()
        program.terminate()
        program.wait()
        return time.monotonic() - start


def _fates(manner: Manner, home: Path, jobs: int, seconds: float) -> dict[str, int]:
    """What became of the jobs: in the process that was told to end, and after the next start."""
    before = read_ledger(home / "ledger")
    finished = set(before["finished"])
    cut = set(before["started"]) - finished
    if manner.log:
        run_what_is_left(manner, home, seconds)
    later = set(read_ledger(home / "ledger")["finished"]) - finished
    return {
        "finished": len(finished),
        "later": len(later),
        "cut": len(cut - later),
        "lost": jobs - len(finished | later | cut),
        "twice": len(cut & later),
    }


def run_what_is_left(manner: Manner, home: Path, seconds: float) -> None:
    """The next start of the program."""
    work = Work(home, seconds)
    with open_final(manner, work, home) as jq:
        jq.join()
    work.close()


def report(data: Data) -> str:
    """A row for each manner."""
    rows = [
        [
            name, *MANNERS[name], f"{fate['seconds']:.2f} s",
            *(fate[each] for each in ("finished", "later", "cut", "lost", "twice")),
        ]
        for name, fate in data["manners"].items()
    ]  # fmt: skip
    header = ["how", "queue", "call", "process ends after", "finished", "run by the next start"]
    header += ["cut off half-way", "never begun", "begun twice"]
    return "\n\n".join(
        [
            table(header, rows, "lll" + "r" * 6)
            .replace("close(", "`close(")
            .replace(") |", ")` |"),
            bullets(_findings(data)),
        ]
    )


def _findings(data: Data) -> Iterator[str]:
    at_once, in_flight, short, drained, log_at_once, log = data["manners"].values()
    work = data["jobs"] * data["job_seconds"] / 4
    yield (
        f"{data['jobs']} jobs were accepted, {work:.1f} s of work for four workers. Closing at "
        f"once lost {at_once['lost'] + at_once['cut']} of them, "
        f"{at_once['cut']} in the middle of their handler."
    )
    yield (
        f"Waiting for what is in flight cuts off {in_flight['cut']} handlers, and still loses the "
        f"{in_flight['lost']} jobs that were queued."
    )
    yield (
        f"Draining loses {drained['lost']}, and takes {drained['seconds']:.1f} s. Who allows "
        f"{data['short']:g} s for it loses {short['lost'] + short['cut']}."
    )
    yield (
        f"With a log the process is gone after {log['seconds']:.2f} s and {log['lost']} are lost: "
        f"the next start ran the other {log['later']} jobs. Closed at once, it lost "
        f"{log_at_once['lost']}, but began {log_at_once['twice']} a second time."
    )


def draw(data: Data, figure: Any) -> None:
    """A bar for each manner: what became of the jobs."""
    manners = data["manners"]
    at_once, drained, log = (
        manners[name]
        for name in ("at once", "drain", "wait for what is in flight, with a log")
    )  # fmt: skip
    gone = at_once["lost"] + at_once["cut"]
    drawing.title(
        figure,
        f"Closing at once loses {gone} of {data['jobs']} jobs. To drain takes "
        f"{drained['seconds']:.1f} s. With a log, {log['seconds']:.2f} s do, and {log['lost']} "
        "are lost.",
        f"{data['jobs']} jobs are accepted, a few have run, SIGTERM comes: what becomes of them?",
    )
    axes = figure.subplots()
    for place, fate in enumerate(manners.values()):
        _draw_row(axes, place, fate, data["jobs"])
    axes.set_xlim(0, data["jobs"])
    axes.set_xticks([])
    names = [f"{name}\n{MANNERS[name][0]}: {MANNERS[name][1]}" for name in manners]
    axes.set_yticks(range(len(manners)), names)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


PARTS = {
    "finished": ("finished", drawing.BLUE),
    "cut": ("cut off half-way", drawing.INK),
    "lost": ("lost", drawing.VERMILION),
    "later": ("run by the next start", drawing.SKY),
}


def _draw_row(axes: Any, place: int, fate: dict[str, int], jobs: int) -> None:
    start = 0
    for part, (text, colour) in PARTS.items():
        share = fate[part]
        axes.barh(place, share, left=start, color=colour, height=0.66)
        if share > jobs / 3:
            told = f"{share} {text}"
            middle = start + share / 2
            drawing.inside(axes, middle, place, told)
        start += share
    told = f"ends after {fate['seconds']:.2f} s"
    for part, text in (("cut", "cut off half-way"), ("twice", "begun twice")):
        if fate[part]:
            told += f"\n{fate[part]} {text}"
    drawing.label(axes, jobs, place, told, drawing.INK)


EXPERIMENT = Experiment(
    name="shutdown",
    question="What is lost when a queue is closed at once, after what is in flight, or after all?",
    measure=measure,
    report=report,
    draw=draw,
)
