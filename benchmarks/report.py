"""`python -m benchmarks.report [PART ...] [--draw]`: docs/performance.md, its plots and numbers.

All figures of that page come from here. If parts are named, they alone are measured, and take the
place of what the numbers of the last time tell of them. With `--draw` nothing is measured: page and
plots are made again.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.__main__ import parts_of
from benchmarks.measure import Figure, Findings
from benchmarks.plots import draw_all, equals, yardsticks
from benchmarks.show import amount, bound, measure_all, peer_row, print_findings

DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGE = DOCS / "performance.md"
DIRECTORY = DOCS / "performance"
NUMBERS = DIRECTORY / "measurements.json"


def main(arguments: Sequence[str]) -> None:
    if "--draw" not in arguments:
        parts = parts_of(arguments)
        where = machine()  # before the load is ours
        findings = measure_all(parts)
        print_findings(findings)
        DIRECTORY.mkdir(parents=True, exist_ok=True)
        measured = _numbers(where, findings)
        numbers = _added(measured) if arguments else measured
        NUMBERS.write_text(json.dumps(numbers, indent=1) + "\n", encoding="utf-8")
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    draw_all(numbers["series"], DIRECTORY)
    PAGE.write_text("\n".join(page(numbers)) + "\n", encoding="utf-8")


def _numbers(where: dict[str, str], findings: Findings) -> dict[str, Any]:
    return {
        "machine": where,
        "figures": [asdict(figure) for figure in findings.figures],
        "series": _rounded(findings.series),
    }


def _added(measured: dict[str, Any]) -> dict[str, Any]:
    """The numbers of the last time, with those that were measured now in their place."""
    numbers: dict[str, Any] = json.loads(NUMBERS.read_text(encoding="utf-8"))
    new = {figure["name"]: figure for figure in measured["figures"]}
    kept = [new.pop(figure["name"], figure) for figure in numbers["figures"]]
    return {
        "machine": measured["machine"],
        "figures": [*kept, *new.values()],
        "series": numbers["series"] | measured["series"],
    }


def machine() -> dict[str, str]:
    """What has to be known of the machine to read the numbers; nothing that tells which it is."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cores": str(len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": platform.system(),
        "msgspec": msgspec.__version__,
        "load": f"{os.getloadavg()[0]:.1f}",
    }


def _rounded(value: Any) -> Any:
    """Four significant digits: there is no more in them."""
    match value:
        case float():
            return float(f"{value:.4g}")
        case dict():
            return {key: _rounded(each) for key, each in value.items()}
        case list() | tuple():
            return [_rounded(each) for each in value]
    return value


# ── the page ─────────────────────────────────────────────────────────────────────────────────


def page(numbers: dict[str, Any]) -> Iterator[str]:
    """The lines of docs/performance.md."""
    machine, series = numbers["machine"], numbers["series"]
    yield INTRODUCTION.format(**machine)
    if "load" in machine:
        yield BUSY.format(**machine)
    yield from _peers(series["peers"])
    yield from _figures([Figure(**each) for each in numbers["figures"]])
    yield from _throughput(series)
    yield from _crowds(series.get("crowds", {}))
    yield from _costs(series["steps"], series["turns"])
    yield from _latency(series["latency"])
    yield GROWTH.format(**{name.split()[0]: v for name, v in series["bytes per job"].items()})
    yield REPLAY


INTRODUCTION = """\
# Performance

Written by `make bench-report`, which measures everything on this page, on {date}: {cores} cores,
{python}, {system}, msgspec {msgspec}.

Read the ratios. Absolute numbers swing by half from hour to hour on one machine, and differ more
between two; so all that is compared takes turns in one run (A B A B …), and a ratio is the median
of the ratios of at least five turns. Unless something else is said, there are one producer thread,
four workers, handlers that do nothing, and 26 bytes of payload; time runs until the last job has
run and, with a log, is on the disk, and takes in that a queue is opened and closed. `make
bench-peers` prints the same without writing it down; `make bench` measures the parts of all three
tiers one by one.
"""

BUSY = """\
The load average was {load} as the run began: the more of it is other people's work, the less the
figures say, latencies above all.
"""

PEERS = """\
## Against other job queues

[![Jobs per second at equal durability](performance/peers.svg)](performance/peers.svg)

Each row does the same: one call a job, four workers, each job acknowledged. The last column tells
how many times as fast as the row this queue is. A table holds what promises the same; what ran
beside it for scale, and promises less or does less, is in a table of its own below.
"""

YARDSTICKS = """\
*For scale*: a bare queue has no ids, status, retries or priorities; *queuelib* hands nothing to a
worker; a `ThreadPoolExecutor` loses everything with its process, whatever it ran beside; and
`write + fdatasync` is what a disk can do with one job after another.
"""

PEERS_NOTE = """\
Everything is driven as its documentation tells, each turn in a fresh process, and told to poll as
often as it can be. *taskito* polls every millisecond in batches of 100 (as shipped it is slower),
*dbos* every 10 ms. *litequeue*, *persist-queue* and the bare queues have no workers: four threads
take, count and acknowledge. *queuelib* is for one thread: it pushes and pops in turn, and what it
has buffered dies with the process. *taskiq* and *arq* run their coroutines on one loop, which
producers hand each call to; *arq* wants a Redis, and gets *fakeredis*, which is one in this
process. *huey* on SQLite takes a job out of the database before it runs, so a kill loses jobs
in flight. *dura* needs Python 3.13. Apart from that, what is left out says
why."""


def _peers(levels: dict[str, list[dict[str, Any]]]) -> Iterator[str]:
    yield PEERS
    for title, rows in levels.items():
        yield from _table([title, "jobs/s", "jobqueue to it"], map(peer_row, equals(title, rows)))
    yield YARDSTICKS
    yield from _table(
        ["for scale", "jobs/s", "jobqueue to it", "beside"],
        ((*peer_row(row), level) for level, row in yardsticks(levels)),
    )
    yield PEERS_NOTE
    yield ""


def _figures(figures: list[Figure]) -> Iterator[str]:
    yield "## The figures"
    yield ""
    yield FIGURES
    yield from _table(
        ["figure, against its limit", "measured", "goal", "so near", "medians"],
        ((f.name, amount(f), bound(f), nearness(f), f.detail) for f in figures),
    )


FIGURES = """\
Each figure is a ratio to something that cannot be, or need not be, beaten by much: the same work by
bare threads, a bare loop of `write` and `fdatasync`, one decoding pass over the log, the fastest
other queue, or *the floor*: one flat class in plain Python that takes the promised steps and no
others (`benchmarks/floor.py`). The goal is where this queue is to get; "so near" tells how much of
the way is done.
"""


def nearness(figure: Figure) -> str:
    """How near a figure is to its goal: reached, or the share of it."""
    if figure.wanted is None:
        return ""
    if figure.met:
        return "reached"
    pair = (figure.wanted, figure.measured)
    return f"{min(pair) / max(pair):.0%}"


THROUGHPUT = """\
## Throughput by durability and producers

[![Jobs per second, by producers](performance/throughput.svg)](performance/throughput.svg)
"""


def _throughput(series: dict[str, Any]) -> Iterator[str]:
    yield THROUGHPUT
    rates = {f"{each} producers": row for each, row in series["throughput"].items()}
    rates["1 producer"] = rates.pop("1 producers")
    rates["batches of 100"] = series["batches of 100"]
    columns = ["1 producer", "4 producers", "64 producers", "batches of 100"]
    names = list(rates["1 producer"])
    yield from _table(
        ["jobs/s", *columns],
        ([name, *(_number(rates[column].get(name)) for column in columns)] for name in names),
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


CROWDS = """\
## Crowds of producers

The time that a job takes, as a multiple of what it takes with `ThreadPoolExecutor` in the same
turn, by what the handlers do, the number of workers and of producer threads. One second of
computing is one second for both, so that long handlers hide all differences. In memory none is to
take more than 1.3 times as long.
"""


def _crowds(times: dict[str, dict[str, float]]) -> Iterator[str]:
    if not times:  # numbers that were taken before this was measured
        return
    yield CROWDS
    levels = list(next(iter(times.values())))
    yield from _table(
        ["× the time of ThreadPoolExecutor", *levels],
        ([name, *(f"{row[level]:.2f}" for level in levels)] for name, row in times.items()),
    )


STEPS = """\
## Where a job's time goes

Processor time of each step by itself: nothing else runs meanwhile, so that no two threads take
turns. What [limits the speed](limits.md) is read off these two tables.
"""

TURNS = """\
From end to end: wall time, of it the processor's, how often the kernel changed threads, and
fdatasyncs, all for one job.
"""


def _costs(steps: dict[str, dict[str, float]], turns: dict[str, dict[str, float]]) -> Iterator[str]:
    yield STEPS
    levels = list(steps)
    yield from _table(
        ["µs", *levels],
        ([step, *(f"{steps[level][step]:.1f}" for level in levels)] for step in steps[levels[0]]),
    )
    yield TURNS
    yield from _table(
        ["a job", "µs", "processor µs", "changes of threads", "fdatasyncs"],
        (
            [
                name,
                *(f"{each[column]:.1f}" for column in ("µs", "processor µs")),
                *(f"{each[column]:.2f}" for column in ("switches", "fsyncs")),
            ]
            for name, each in turns.items()
        ),
    )


LATENCY = """\
## Latency under load

[![From enqueue to the start of the handler](performance/latency.svg)](performance/latency.svg)

A producer offers 5,000 jobs a second, ten seconds for each row, in turns of two; what counts is the
time from the call of `enqueue` to the start of the handler. Here all turns are taken together; the
figures above are medians of the turns, which one bad turn does not move.
"""


def _latency(distributions: dict[str, list[list[float]]]) -> Iterator[str]:
    yield LATENCY
    shares = (0.5, 0.9, 0.99, 0.999)
    yield from _table(
        ["ms", *(f"p{share * 100:g}" for share in shares)],
        (
            [name, *(f"{waits[share] * 1e3:.3f}" for share in shares)]
            for name, points in distributions.items()
            for waits in [{share: wait for share, wait in points}]  # noqa: C416 - typed, unlike dict()
        ),
    )


GROWTH = """\
## Growth with the length of the queue

[![What a job costs, by how many wait](performance/growth.svg)](performance/growth.svg)

What a job costs, enqueued at one end and run from the other, while so many wait.

A queued job takes {memory:,.0f} bytes, everything counted (resident memory of a process that does
nothing but queue 50,000 jobs); one in `ThreadPoolExecutor` takes {ThreadPoolExecutor:,.0f}.
"""

REPLAY = """\
## Opening a log

[![Time to open a log by its size](performance/replay.svg)](performance/replay.svg)

"Decode" is one pass of `msgspec.json` over the same lines, one after another. The time from the
start of a process to its first recovered job, among [the figures](#the-figures), takes in Python's
own start and all imports, of modules that are compiled already, as installing a package does."""


def _table(header: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield f"|---|{'---:|' * (len(header) - 1)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


if __name__ == "__main__":
    main(sys.argv[1:])
