"""How many workers? Throughput and processor use, for handlers that compute and that wait."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from jobqueue.final.config import Executor

from . import load
from .drawing import BLUE, GREEN, GREY, VERMILION, label, label_ends, logarithmic, title
from .experiment import Data, Experiment, Settings
from .findings import bullets
from .pages import table
from .processes import ROOT

FREE_THREADED = "JOBQUEUE_FREE_THREADED"
"""Environment variable: the path of a Python without the GIL."""

GIL_OFF = {"PYTHON_GIL": "0"}
ROUNDS = 3
SECONDS = 0.2  # of each turn, about
CHILD_SECONDS_MAX = 300.0
COLOURS = {"threads": VERMILION, "processes": GREEN, "free": BLUE}
NAMES = {
    "threads": "threads",
    "processes": "processes",
    "free": "threads, without the GIL",
}


@dataclass(frozen=True)
class Kind:
    """A kind of handler: how long each job waits, and then computes, in milliseconds."""

    name: str
    waits: int
    computes: int


COMPUTING = Kind("computing", 0, 5)
WAITING = Kind("waiting", 19, 1)
KINDS = (COMPUTING, WAITING)


@dataclass(frozen=True)
class Line:
    """What is measured against the number of workers: a kind of handler and where it runs."""

    kind: Kind
    where: str
    counts: Sequence[int]

    @property
    def executor(self) -> Executor:
        """As in `Config`."""
        return "process" if self.where == "processes" else "thread"


# ── measuring ────────────────────────────────────────────────────────────────────────────────


Turn = list[dict[str, float]]
"""What came of a line in one round, for each number of workers."""


def measure(settings: Settings) -> Data:
    """Have each number of workers do its share; all take turns, round by round."""
    loops, seconds = load.loops_per_millisecond(), settings.pick(SECONDS, 0.03)
    rounds, free = settings.pick(ROUNDS, 1), None if settings.quick else free_threaded_python()
    here = list(_lines(settings))
    there = [Line(line.kind, "free", line.counts) for line in here if line.where == "threads"]
    settings.progress.expect(rounds * (len(here) + (len(there) if free else 0)))
    turns: dict[Line, list[Turn]] = {line: [] for line in (*here, *(there if free else ()))}
    interpreter = None
    for _ in range(rounds):
        for line in here:
            settings.progress.begin(f"{line.kind.name}, {NAMES[line.where]}")
            loads = _loads(line, loops, seconds)
            turns[line].append([asdict(load.measure(each)) for each in loads])
            settings.progress.advance()
        if free is not None:
            settings.progress.begin("without the GIL")
            interpreter = _take_turns(free, there, loops, seconds, turns)
            settings.progress.advance(len(there))
    return {
        "cores": os.cpu_count() or 1,
        "gil": load.is_gil_enabled(),
        "loops_per_millisecond": loops,
        "free_threaded": interpreter,
        "kinds": {kind.name: {"waits": kind.waits, "computes": kind.computes} for kind in KINDS},
        "lines": [_summary(line, found) for line, found in turns.items()],
    }


def _take_turns(
    python: str, lines: Sequence[Line], loops: int, seconds: float, turns: dict[Line, list[Turn]]
) -> dict[str, Any]:
    """Have another Python measure all lines once; tells which Python it is."""
    loads = [each for line in lines for each in _loads(line, loops, seconds)]
    answer = _measure_with(python, loads)
    yields = iter(answer.pop("yields"))
    for line in lines:
        turns[line].append([next(yields) for _ in line.counts])
    return answer


def _lines(settings: Settings) -> Iterator[Line]:
    counts = settings.pick((1, 2, 4, 8, 16, 32, 64), (1, 2))
    for kind in KINDS:
        yield Line(kind, "threads", counts)
    yield Line(COMPUTING, "processes", settings.pick((1, 2, 4, 8), (1,)))


def _loads(line: Line, loops: int, seconds: float) -> list[load.Load]:
    """For each number of workers as many jobs as should take so long, and be shared evenly."""
    kind, loads = line.kind, []
    for workers in line.counts:
        cores = 1 if line.where == "threads" and load.is_gil_enabled() else os.cpu_count() or 1
        by_workers = workers / (kind.waits + kind.computes) * 1e3
        by_cores = min(workers, cores) / kind.computes * 1e3
        turns = math.ceil(min(by_workers, by_cores) * seconds / workers)
        jobs = workers * max(turns, 2)
        loads.append(load.Load(line.executor, workers, jobs, kind.waits, kind.computes * loops))
    return loads


def _summary(line: Line, rounds: list[Turn]) -> dict[str, Any]:
    """Medians over the rounds, a list with one number for each number of workers."""
    measured = rounds[0][0]
    return {
        "kind": line.kind.name,
        "where": line.where,
        "workers": list(line.counts),
        **{
            name: [
                round(median(each[place][name] for each in rounds), 2)
                for place in range(len(line.counts))
            ]
            for name in measured
        },
    }


def free_threaded_python() -> str | None:
    """The Python without the GIL that is at hand, if one is."""
    named = os.environ.get(FREE_THREADED)
    if named:
        return named
    found = (shutil.which(name) for name in ("python3.14t", "python3.13t"))
    return next((path for path in found if path), None)


def _measure_with(python: str, loads: list[load.Load]) -> dict[str, Any]:
    """Have another Python measure these loads. It needs no package but this one."""
    done = subprocess.run(
        [python, "-P", load.__file__],
        input=json.dumps([asdict(each) for each in loads]),
        env=os.environ | GIL_OFF | {"PYTHONPATH": str(ROOT / "src")},
        stdout=subprocess.PIPE,
        text=True,
        timeout=CHILD_SECONDS_MAX,
        check=True,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """A table of the throughput for each number of workers, and what follows from it."""
    intro = "Jobs per second, and in brackets the cores that were kept busy:"
    return f"{intro}\n\n{_table(data)}\n\n{bullets(_findings(data))}"


def _table(data: Data) -> str:
    lines = data["lines"]
    header = ["workers", *(f"{line['kind']}, {_name(data, line)}" for line in lines)]
    counts = sorted({workers for line in lines for workers in line["workers"]})
    rows = [[str(workers), *(_cell(line, workers) for line in lines)] for workers in counts]
    return table(header, rows, "r" * len(header))


def _cell(line: Data, workers: int) -> str | None:
    if workers not in line["workers"]:
        return None
    place = line["workers"].index(workers)
    return f"{line['jobs_per_second'][place]:,.0f} ({line['cores'][place]:.1f})"


def _name(data: Data, line: Data) -> str:
    if line["where"] == "threads":
        return "threads with the GIL" if data["gil"] else "threads without the GIL"
    if line["where"] == "free":
        return f"threads without the GIL (Python {data['free_threaded']['version']})"
    return "processes"


def _findings(data: Data) -> Iterator[str]:
    cores, kinds = data["cores"], data["kinds"]
    for line in data["lines"]:
        rates, workers = line["jobs_per_second"], line["workers"]
        name, most = _name(data, line), workers[-1]
        if line["kind"] == "computing":
            place = _place_of(workers, cores)
            yield (
                f"**Handlers that compute, {name}:** {workers[place]} workers on {cores} cores do "
                f"{rates[place] / rates[0]:.2f} times the work of one; {most} do "
                f"{rates[-1] / rates[0]:.2f} times as much, and a job that has been started takes "
                f"{line['run_milliseconds'][-1]:,.0f} ms, where it takes "
                f"{line['run_milliseconds'][0]:,.0f} ms with one worker."
            )
        else:
            place = _enough(rates)
            waits, computes = kinds["waiting"]["waits"], kinds["waiting"]["computes"]
            yield (
                f"**Handlers that wait, {name}:** the rate grows with the workers up to about "
                f"{workers[place]} of them ({rates[place] / rates[0]:.1f} times the work of one, "
                f"{line['cores'][place]:.1f} cores busy). A job waits {waits} ms and computes "
                f"{computes} ms, so that a core has enough to do with "
                f"{(waits + computes) // computes} workers."
            )


def _line(data: Data, kind: str, where: str) -> Data | None:
    found = (line for line in data["lines"] if (line["kind"], line["where"]) == (kind, where))
    return next(found, None)


def _place_of(workers: Sequence[int], cores: int) -> int:
    """The place of the largest number of workers that is not above the number of cores."""
    return max(place for place, each in enumerate(workers) if each <= max(cores, workers[0]))


def _enough(rates: Sequence[float]) -> int:
    """The first place from which on more workers bring less than a tenth more."""
    return next(place for place, rate in enumerate(rates) if max(rates) < 1.1 * rate)


# ── drawing ──────────────────────────────────────────────────────────────────────────────────


def draw(data: Data, figure: Any) -> None:
    """Throughput above, cores in use below; handlers that compute to the left."""
    ratios = [
        _ratio(line["jobs_per_second"])
        for kind in ("computing", "waiting")
        if (line := _line(data, kind, "threads"))
    ]
    title(
        figure,
        "More threads: waiting jobs done {1} as fast, computing {0}".format(*ratios),
        f"The same jobs with more and more workers, on {data['cores']} cores: jobs per second, and "
        f"cores kept busy",
    )
    axes = figure.subplots(2, 2, sharex="col", height_ratios=(2.4, 1))
    kinds = data["kinds"]
    headings = (
        f"each job computes {kinds['computing']['computes']} ms",
        f"each job waits {kinds['waiting']['waits']} ms, "
        f"computes {kinds['waiting']['computes']} ms",
    )
    for column, (kind, heading) in enumerate(zip(kinds, headings, strict=True)):
        _draw_kind(data, kind, axes[0, column], axes[1, column])
        axes[0, column].set_title(heading)
    axes[0, 0].set_ylabel("jobs per second")
    axes[1, 0].set_ylabel("cores busy")


def _ratio(rates: Sequence[float]) -> str:
    ratio = max(rates) / rates[0]
    return f"{ratio:.1f}×" if ratio < 10 else f"{ratio:.0f}×"


def _draw_kind(data: Data, kind: str, above: Any, below: Any) -> None:
    lines = [line for line in data["lines"] if line["kind"] == kind]
    workers = max((line["workers"] for line in lines), key=len)
    for axes, name in ((above, "jobs_per_second"), (below, "cores")):
        for line in lines:
            axes.plot(line["workers"], line[name], color=COLOURS[line["where"]], marker="o")
        logarithmic(axes.xaxis)
        axes.set_xscale("log", base=2)
        axes.set_xticks(workers, [str(each) for each in workers])
        axes.set_xlim(workers[0] * 0.85, workers[-1] * 1.15)
        axes.set_ylim(0, None)
        axes.axvline(data["cores"], color=GREY, linestyle=":", linewidth=1.2)
    above.set_ylim(0, 1.18 * max(max(line["jobs_per_second"]) for line in lines))
    below.set_ylim(0, data["cores"] * 1.15)
    below.set_yticks(range(data["cores"] + 1))
    below.set_xlabel("workers")
    label(above, data["cores"], 0, f"{data['cores']} cores", GREY, dx=4, dy=8)
    ends = []
    for line in lines:
        name, colour = _short_name(data, line["where"]), COLOURS[line["where"]]
        end = (line["workers"][-1], line["jobs_per_second"][-1])
        if end[0] == workers[-1]:
            ends.append((*end, name, colour))
        else:
            label(above, *end, name, colour, dx=0, dy=11, ha="center")
    label_ends(above, ends)


def _short_name(data: Data, where: str) -> str:
    if where == "processes":
        return "processes"
    return "threads,\nwith GIL" if where == "threads" and data["gil"] else "threads,\nno GIL"


EXPERIMENT = Experiment(
    name="workers",
    question="How many workers, for which work, and what happens beyond the number of cores?",
    measure=measure,
    report=report,
    draw=draw,
)
