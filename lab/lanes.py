"""Why a lane for each priority, and not one heap: how long High waits, and what a job costs."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from jobqueue import final
from jobqueue.final import Priority

from .contenders import Contender, Opener, Run, open_final, open_improved
from .drawing import TIERS, VERMILION, label_ends, logarithmic, plain, title
from .experiment import Data, Experiment, Settings
from .findings import bullets, milliseconds, wrapped
from .pages import table
from .schedulers import use_one_heap

WORKERS = 2
HANDLER_SECONDS = 0.002
SIZE = 1000
ROOM = 10  # what is left if no producer waits for room
PAUSE_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
TURNS, TURNS_JOBS = 3, 50_000  # at least so many turns, and jobs in them
COSTED = ("final", "heap")
NAMES = {"improved": "lanes (improved)", "final": "lanes (final)", "heap": "one heap"}


def _contenders() -> dict[str, Opener]:
    config = final.Config(num_workers=WORKERS, queue_size=SIZE)
    return {
        "improved": lambda: open_improved(WORKERS, SIZE),
        "final": lambda: open_final(config),
        "heap": lambda: open_final(config, lambda jq: use_one_heap(jq, SIZE)),
    }


# ── measuring ────────────────────────────────────────────────────────────────────────────────


def measure(settings: Settings) -> Data:
    """How long High waits while so many producers of Low wait for room; then what a job costs."""
    crowds = settings.pick((0, 1, 4, 16, 64), (0, 4))
    lengths = settings.pick((1_000, 10_000, 100_000), (100, 200))
    questions = settings.pick(60, 3)
    contenders = _contenders()
    settings.progress.expect(len(contenders) * len(crowds) + len(lengths))
    waits: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
    for crowd in crowds:
        for name, opener in contenders.items():
            settings.progress.begin(f"{NAMES[name]}, {crowd} producers of Low")
            with opener() as contender:
                waits[name].append(_spread(_ask(contender, crowd, questions)))
            settings.progress.advance()
    return {
        "workers": WORKERS,
        "handler_milliseconds": HANDLER_SECONDS * 1e3,
        "size": SIZE,
        "crowds": list(crowds),
        "waits": waits,
        "lengths": list(lengths),
        "costs": _costs(settings, lengths),
    }


def _ask(contender: Contender, crowd: int, questions: int) -> list[float]:
    """Seconds that jobs of High waited, one asked after the other, under a flood of Low."""
    over = threading.Event()

    def low() -> None:
        time.sleep(0.0 if over.is_set() else HANDLER_SECONDS)

    def flood() -> None:
        while not over.is_set():
            contender.enqueue(Priority.LOW, low)

    producers = [threading.Thread(target=flood) for _ in range(crowd)]
    for producer in producers:
        producer.start()
    try:
        if not crowd:
            _fill(contender, low)
        else:
            _await_full(contender)
        return [_ask_once(contender) for _ in range(questions)]
    finally:
        over.set()
        for producer in producers:
            producer.join()


def _fill(contender: Contender, low: Run) -> None:
    """Nobody waits for room, but a whole lane waits for workers."""
    for _ in range(SIZE - ROOM):
        contender.enqueue(Priority.LOW, low)


def _await_full(contender: Contender) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while contender.queued() < SIZE and time.monotonic() < deadline:
        time.sleep(PAUSE_SECONDS)


def _ask_once(contender: Contender) -> float:
    started = threading.Event()
    waited = 0.0
    asked = time.perf_counter()

    def high() -> None:
        nonlocal waited
        waited = time.perf_counter() - asked
        started.set()

    contender.enqueue(Priority.HIGH, high)
    started.wait(PATIENCE_SECONDS)
    time.sleep(PAUSE_SECONDS)
    return waited


def _spread(waits: list[float]) -> dict[str, float]:
    return {
        "median_milliseconds": round(median(waits) * 1e3, 3),
        "max_milliseconds": round(max(waits) * 1e3, 3),
    }


def _costs(settings: Settings, lengths: Sequence[int]) -> dict[str, list[float]]:
    """Processor microseconds that a job costs, by how many wait: the least of several turns."""
    costs: dict[str, list[float]] = {name: [] for name in COSTED}
    for length in lengths:
        settings.progress.begin(f"what a job costs, {length:,} waiting")
        rounds = settings.pick(max(TURNS, TURNS_JOBS // length), 1)
        turns = [
            {name: _cost(length, is_heap=name == "heap") for name in COSTED} for _ in range(rounds)
        ]
        for name in COSTED:
            costs[name].append(round(min(turn[name] for turn in turns), 2))
        settings.progress.advance()
    return costs


def _cost(jobs: int, *, is_heap: bool) -> float:
    """Enqueue so many jobs of all priorities, then run them."""
    config = final.Config(num_workers=1, queue_size=jobs)
    with final.JobQueue(config, handler=len, start=False) as jq:
        if is_heap:
            use_one_heap(jq)
        gc.collect()
        before = time.process_time()
        for number in range(jobs):
            jq.enqueue(final.Job(priority=Priority(number % len(Priority))))
        jq.start()
        jq.join()
        return (time.process_time() - before) / jobs * 1e6


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """How long High waited, what a job cost, and what follows from it."""
    waits, costs = data["waits"], data["costs"]
    rows = [
        [
            str(crowd),
            *(
                milliseconds(waits[name][place][f"{which}_milliseconds"] / 1e3)
                for name in NAMES
                for which in ("median", "max")
            ),
        ]
        for place, crowd in enumerate(data["crowds"])
    ]
    header = [
        "producers of Low",
        *(text for name in NAMES.values() for text in (f"{name}: median", "at worst")),
    ]
    costs_rows = [
        [f"{length:,}", *(f"{costs[name][place]:.1f}" for name in costs)]
        for place, length in enumerate(data["lengths"])
    ]
    costs_header = ["jobs waiting", *(f"{NAMES[name]}: µs a job" for name in costs)]
    return "\n\n".join(
        [
            wrapped(_setting(data)),
            table(header, rows, "r" * len(header)),
            "Processor time to enqueue and run a job that does nothing, by how many wait:",
            table(costs_header, costs_rows, "rrr"),
            bullets(_findings(data)),
        ]
    )


def _setting(data: Data) -> str:
    return (
        f"How long a High job waits until it is started. {data['workers']} workers, "
        f"{data['handler_milliseconds']:g} ms a job, and producers that enqueue Low jobs as fast "
        f"as they get in. Room for {data['size']:,} jobs: in each lane, or in the one heap."
    )


def _findings(data: Data) -> Iterator[str]:
    waits, crowds, costs = data["waits"], data["crowds"], data["costs"]
    heap, lane = (
        [milliseconds(each["median_milliseconds"] / 1e3) for each in waits[name]]
        for name in ("heap", "final")
    )
    yield (
        f"**As long as there is room, a heap is as good:** High waits {heap[0]} in it, and "
        f"{lane[0]} in lanes."
    )
    yield (
        f"**When the heap is full of Low, High waits outside**, behind the producers of Low that "
        f"were there before: {heap[-1]} with {crowds[-1]} of them. In lanes it is {lane[-1]}, "
        f"since the High lane has room."
    )
    low, high = costs["final"], costs["heap"]
    yield (
        f"**What a heap costs** is little: {high[-1] - low[-1]:+.1f} µs a job with "
        f"{data['lengths'][-1]:,} waiting ({low[-1]:.1f} in lanes, {high[-1]:.1f} in a heap), and "
        f"{high[0] - low[0]:+.1f} µs with {data['lengths'][0]:,}. Both take one lock, the same."
    )


# ── drawing ──────────────────────────────────────────────────────────────────────────────────

COLOURS = {"improved": TIERS["improved"], "final": TIERS["final"], "heap": VERMILION}


def draw(data: Data, figure: Any) -> None:
    """How long High waits, to the left; what a job costs, to the right."""
    crowd = data["crowds"][-1]
    heap, lane = (
        milliseconds(data["waits"][name][-1]["median_milliseconds"] / 1e3)
        for name in ("heap", "final")
    )
    title(
        figure,
        f"Full of Low, a heap keeps High waiting {heap}, a lane {lane}",
        f"Up to {crowd} producers fill the queue with Low jobs: an urgent one must first get in",
    )
    left, right = figure.subplots(1, 2, width_ratios=(1.5, 1))
    _draw_waits(data, left)
    _draw_costs(data, right)


def _draw_waits(data: Data, axes: Any) -> None:
    crowds = data["crowds"]
    ends = []
    for name, colour in COLOURS.items():
        medians = [each["median_milliseconds"] for each in data["waits"][name]]
        axes.plot(range(len(crowds)), medians, color=colour, marker="o")
        ends.append((len(crowds) - 1, medians[-1], NAMES[name].replace(" (", "\n("), colour))
    logarithmic(axes.yaxis)
    plain(axes.yaxis, " ms")
    axes.set_xticks(range(len(crowds)), [str(each) for each in crowds])
    axes.set_xlabel("producers of Low that wait for room")
    axes.set_title("how long High waits (median)")
    label_ends(axes, ends)


def _draw_costs(data: Data, axes: Any) -> None:
    ends = []
    for name in COSTED:
        costs, colour = data["costs"][name], COLOURS[name]
        axes.plot(data["lengths"], costs, color=colour, marker="o")
        ends.append((data["lengths"][-1], costs[-1], NAMES[name].split(" (")[0], colour))
    logarithmic(axes.xaxis)
    axes.set_ylim(0, 1.3 * max(max(costs) for costs in data["costs"].values()))
    plain(axes.yaxis, " µs")
    axes.set_xlabel("jobs waiting")
    axes.set_title("processor time a job")
    label_ends(axes, ends)


EXPERIMENT = Experiment(
    name="lanes",
    question="Why a queue for each priority, and not one heap?",
    measure=measure,
    report=report,
    draw=draw,
)
