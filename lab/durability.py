"""What each level of durability costs, and why many producers make an fsync cheap."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.config import Durability

from . import drawing
from .experiment import Data, Experiment, Settings
from .findings import bullets
from .pages import table

LEVELS: dict[str, Durability | None] = {
    "memory": None,
    "async": "async",
    "write": "write",
    "fsync": "fsync",
}
ALONE = "an fsync for each job"
"""No queue at all: a file, a lock, and for each job a write and an fsync."""

PAYLOAD = b'{"action":"send_reminder"}'
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no fdatasync


def measure(settings: Settings) -> Data:
    """Have so many producers enqueue for a while, at each level; the turns alternate."""
    producers = settings.pick(full=(1, 4, 16, 64), quick=(1, 16))
    rounds, seconds = settings.pick(full=(2, 0.8), quick=(1, 0.06))
    names = [*LEVELS, ALONE]
    settings.progress.expect(rounds * len(names) * len(producers))
    turns: dict[str, list[list[tuple[float, float]]]] = {
        name: [[] for _ in producers] for name in names
    }
    for turn in range(rounds):
        for place, count in enumerate(producers):
            for name in names:
                settings.progress.begin(f"{name}, {count} producers")
                path = settings.scratch / f"{name}-{count}-{turn}"
                turns[name][place].append(_measure(name, count, seconds, path))
                settings.progress.advance()
    return {
        "producers": list(producers),
        "jobs": {name: _medians(turns[name], 0) for name in names},
        "fsyncs": {name: _medians(turns[name], 1) for name in names},
    }


def _medians(turns: list[list[tuple[float, float]]], which: int) -> list[float]:
    return [round(median(turn[which] for turn in place), 1) for place in turns]


def _measure(name: str, producers: int, seconds: float, path: Path) -> tuple[float, float]:
    if name == ALONE:
        return _one_by_one(producers, seconds, path)
    level = LEVELS[name]
    config = Config() if level is None else Config(persist_path=path, durability=level)
    return _through_a_queue(config, producers, seconds)


def _through_a_queue(config: Config, producers: int, seconds: float) -> tuple[float, float]:
    """Jobs and fsyncs a second."""
    with JobQueue(config, handler=_nothing) as jq:
        before = _fsyncs(jq)
        start = time.perf_counter()
        jobs = produce(producers, seconds, lambda: jq.enqueue(Job(PAYLOAD)))
        jq.join()
        took = time.perf_counter() - start
        return jobs / took, (_fsyncs(jq) - before) / took


def _nothing(_payload: bytes) -> None:
    pass


def _fsyncs(jq: JobQueue) -> int:
    log = jq.metrics().log
    return 0 if log is None else log.fsyncs


def _one_by_one(producers: int, seconds: float, path: Path) -> tuple[float, float]:
    """What one would write without group commit. Jobs and fsyncs a second: as many."""
    lock = threading.Lock()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def one() -> None:
        with lock:
            os.write(fd, PAYLOAD + b"\n")
            _sync(fd)

    try:
        start = time.perf_counter()
        jobs = produce(producers, seconds, one)
        rate = jobs / (time.perf_counter() - start)
    finally:
        os.close(fd)
    return rate, rate


def produce(producers: int, seconds: float, one: Callable[[], object]) -> int:
    """Call `one` again and again on so many threads for so long; returns how often."""
    counts = [0] * producers
    end = time.perf_counter() + seconds

    def loop(number: int) -> None:
        while time.perf_counter() < end:
            one()
            counts[number] += 1

    threads = [threading.Thread(target=loop, args=(number,)) for number in range(producers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts)


def shared(data: Data, place: int = -1) -> float:
    """How many jobs share an fsync, with the most producers if nothing else is said."""
    jobs, fsyncs = (data[what]["fsync"][place] for what in ("jobs", "fsyncs"))
    return float(jobs / fsyncs) if fsyncs else 0.0


def report(data: Data) -> str:
    """Jobs a second by level and producers, and below it fsyncs."""
    producers = data["producers"]
    header = ["jobs a second", *(_producers(each) for each in producers)]
    rows = [[_quoted(name), *map(round, rates)] for name, rates in data["jobs"].items()]
    rows.append(['fsyncs a second under `"fsync"`', *map(round, data["fsyncs"]["fsync"])])
    jobs_each = [f"{shared(data, place):.1f}" for place in range(len(producers))]
    rows.append(['jobs that share an fsync under `"fsync"`', *jobs_each])
    return "\n\n".join([table(header, rows), bullets(_findings(data))])


def _producers(count: int) -> str:
    return f"{count} producer" + ("s" if count > 1 else "")


def _quoted(name: str) -> str:
    return f'`"{name}"`' if LEVELS.get(name) else name


def _findings(data: Data) -> Iterator[str]:
    jobs, producers = data["jobs"], data["producers"]
    shares = [write / memory for write, memory in zip(jobs["write"], jobs["memory"], strict=True)]
    yield (
        f'`"write"`, the default, reaches {shares[0]:.0%} of the jobs a second of a queue in '
        f"memory with one producer, and {min(shares):.0%} to {max(shares):.0%} with any number."
    )
    yield (
        f'With one producer `"fsync"` takes {jobs["fsync"][0]:,.0f} jobs a second; with '
        f"{producers[-1]}, {jobs['fsync'][-1]:,.0f}, which is {_times(jobs['fsync'])} as many, "
        f"although the disk is asked for only {_times(data['fsyncs']['fsync'])} as many fsyncs: "
        f"each is shared by {shared(data):.0f} jobs."
    )
    if jobs["fsync"][0] < jobs[ALONE][0]:
        yield (
            f'With one producer nothing is shared, and `"fsync"` reaches '
            f"{jobs['fsync'][0] / jobs[ALONE][0]:.0%} of the bare loop of write and fsync: beside "
            "the fsync a worker is woken for each job, runs it, and has its end "
            "recorded, which the loop does not do."
        )
    yield (
        f"With an fsync for each job there are {jobs[ALONE][-1]:,.0f} a second with "
        f"{producers[-1]} producers: they wait in line for the disk."
    )


def _times(rates: list[float]) -> str:
    return f"{rates[-1] / max(rates[0], 1):.1f} times"


def draw(data: Data, figure: Any) -> None:
    """Jobs a second by producers; between jobs and fsyncs lies what group commit gains."""
    producers, jobs = data["producers"], data["jobs"]
    drawing.title(
        figure,
        f"With {producers[-1]} producers, {shared(data):.0f} jobs become safe from a power cut for "
        "the price of one",
        "Jobs a second, from enqueue to done. Grey: no queue, only a write and an fsync for each.",
    )
    axes = figure.subplots()
    places = list(range(len(producers)))
    colours = {
        "memory": drawing.BLUE,
        "async": drawing.GREEN,
        "write": drawing.ORANGE,
        "fsync": drawing.VERMILION,
        ALONE: drawing.GREY,
    }
    for name, colour in colours.items():
        style = "--" if name == ALONE else "-"
        axes.plot(places, jobs[name], color=colour, marker="o", linestyle=style)
    drawing.logarithmic(axes.yaxis, (1, 2, 5))
    low = min(min(rates) for rates in jobs.values())
    axes.set_ylim(low / 2, 1.6 * max(max(rates) for rates in jobs.values()))
    axes.set_xlim(-0.15, places[-1])
    axes.set_xticks(places, [_producers(each) for each in producers])
    axes.set_ylabel("jobs per second")
    _draw_gain(axes, places, jobs[ALONE], jobs["fsync"], f"{shared(data):.0f} jobs share\nan fsync")
    _draw_price(axes, jobs[ALONE][0], jobs["fsync"][0])
    names = {name: f'"{name}"' if LEVELS.get(name) else name for name in colours}
    names["memory"] = "in memory"
    drawing.label_ends(
        axes,
        [(places[-1], jobs[name][-1], names[name], colour) for name, colour in colours.items()],
    )


def _draw_price(axes: Any, bare: float, ours: float) -> None:
    """Say why a queue is slower than the bare loop with one producer."""
    if ours < bare:
        text = "one producer shares nothing,\nand a worker is woken for each job"
        colour = drawing.VERMILION
        drawing.label(axes, 0, ours, text, colour, dx=2, dy=-20, ha="left", fontsize=9)


def _draw_gain(
    axes: Any, places: list[int], low: list[float], high: list[float], text: str
) -> None:
    more = [ours > theirs for theirs, ours in zip(low, high, strict=True)]
    colour = drawing.VERMILION
    axes.fill_between(places, low, high, where=more, interpolate=True, color=colour, alpha=0.08)
    if more[-1]:
        middle = (low[-1] * high[-1]) ** 0.5
        drawing.label(axes, places[-1], middle, text, colour, dx=-8, ha="right")


EXPERIMENT = Experiment(
    name="durability",
    question="What does it cost that a job survives, and why do many producers make it cheap?",
    measure=measure,
    report=report,
    draw=draw,
)
