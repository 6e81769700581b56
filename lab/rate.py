"""Rate: what a rate limit does against a service that answers 429, and what retries alone do."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from jobqueue.final import Config, Job, JobQueue, Limit, Rate, RetryJobError

from . import drawing
from .drawing import BLUE, INK, VERMILION
from .experiment import Data, Experiment, Settings
from .findings import bullets, wrapped
from .limited_service import (
    Bucket,
    LimitedService,
    Limiter,
    TooManyRequestsError,
    Window,
    call,
    running,
)
from .pages import table

JOBS, QUICK_JOBS = 120, 40
COUNT = 20  # requests that the service takes a second
WORKERS = 8
WORK_SECONDS = 0.02
SECOND, QUICK_SECOND = 1.0, 0.1
EVENLY_SECONDS = 0.055  # from one start to the next; the service would take one in 0.05 s
WITHOUT_END = 1000
FINISH_SECONDS_MAX = 120.0


@dataclass(frozen=True)
class Client:
    """A queue whose handler calls the service.

    Attributes:
        told: what is special about it, in a few words.
        code: the same in Python.
        max_retries: as in `Config`.
        limit: as in `register`.
        rate: makes the one of `register`, if it is told how long a second of the service lasts.
        limiter: how the service counts.
    """

    told: str
    code: str
    max_retries: int = Config().max_retries
    limit: Limit | None = None
    rate: Callable[[float], Rate] | None = None
    limiter: Callable[[int, float], Limiter] = Window


def _at_a_stroke(second: float) -> Rate:
    return Rate(COUNT, per=second)


def _evenly(second: float) -> Rate:
    return Rate(1, per=EVENLY_SECONDS * second)


PATIENT = f"max_retries={WITHOUT_END}"
RATE = f"rate=Rate({COUNT})"
CLIENTS = {
    "retries": Client("retries alone", f"max_retries={Config().max_retries}"),
    "patient": Client("retries without end", PATIENT, WITHOUT_END),
    "limit": Client(
        "the same, and a limit", f"{PATIENT}, limit=Limit(2)", WITHOUT_END, limit=Limit(2)
    ),
    "rate": Client("a rate", RATE, rate=_at_a_stroke),
    "both": Client(
        "a rate and a limit", f"{RATE}, limit=Limit(2)", limit=Limit(2), rate=_at_a_stroke
    ),
    "evenly": Client("a rate, one by one", f"rate=Rate(1, per={EVENLY_SECONDS})", rate=_evenly),
    "bucket": Client("a rate; a bucket there, too", RATE, rate=_at_a_stroke, limiter=Bucket),
}
"""The clients, in the order in which they are told of."""


# ── measuring ────────────────────────────────────────────────────────────────────────────────


def measure(settings: Settings) -> Data:
    """Have each client do the same jobs with a service of its own."""
    jobs, second = settings.pick(JOBS, QUICK_JOBS), settings.pick(SECOND, QUICK_SECOND)
    settings.progress.expect(len(CLIENTS))
    runs = {}
    for name, client in CLIENTS.items():
        settings.progress.begin(client.told)
        runs[name] = _run(client, jobs, second)
        settings.progress.advance()
    return {
        "jobs": jobs,
        "count": COUNT,
        "second": second,
        "workers": WORKERS,
        "work_milliseconds": 1e3 * WORK_SECONDS * second,
        "evenly_milliseconds": 1e3 * EVENLY_SECONDS * second,
        "runs": runs,
    }


def _run(client: Client, jobs: int, second: float) -> dict[str, Any]:
    """All jobs are there when the queue starts; wait until each has been done or given up."""
    service = LimitedService(client.limiter(COUNT, second), WORK_SECONDS * second, second)

    def handler(payload: bytes) -> None:
        try:
            call(service.server_port, payload)
        except TooManyRequestsError as error:
            raise RetryJobError("too many", delay=error.retry_after * second) from None

    config = Config(num_workers=WORKERS, queue_size=jobs, max_retries=client.max_retries)
    with running(service), JobQueue(config, start=False) as jq:
        rate = None if client.rate is None else client.rate(second)
        jq.register("call", handler, limit=client.limit, rate=rate)
        jq.enqueue_many(Job(str(number).encode(), handler="call") for number in range(jobs))
        begun = time.monotonic()
        jq.start()
        jq.join(FINISH_SECONDS_MAX)
        seconds, metrics = time.monotonic() - begun, jq.metrics()
        jq.close(drain=False)
    return {
        **_summary(service),
        "done": metrics.completed,
        "dead": metrics.failed,
        "seconds": round(seconds, 2),
    }


def _summary(service: LimitedService) -> dict[str, Any]:
    attempts = Counter(each.job for each in service.calls)
    return {
        "calls": len(service.calls),
        "refused": sum(not each.taken for each in service.calls),
        "attempts_mean": round(len(service.calls) / max(1, len(attempts)), 2),
        "attempts_max": max(attempts.values(), default=0),
        "at_once_max": service.at_once_max,
    }


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """A row for each client, and what follows from it."""
    header = [
        "what the queue does",
        "in Python",
        "calls",
        "of them refused",
        "attempts per job: mean",
        "most",
        "served at once, at most",
        "dead letters",
        "finished after",
    ]
    rows = [
        [
            CLIENTS[name].told,
            f"`{CLIENTS[name].code}`",
            run["calls"],
            run["refused"],
            f"{run['attempts_mean']:.1f}",
            run["attempts_max"],
            run["at_once_max"],
            run["dead"],
            _seconds(run),
        ]
        for name, run in data["runs"].items()
    ]
    parts = [wrapped(_setting(data)), table(header, rows, "ll" + "r" * 7)]
    return "\n\n".join([*parts, bullets(_findings(data))])


def _setting(data: Data) -> str:
    return (
        f"{data['jobs']} jobs, {data['workers']} workers; each job is one HTTP request, which "
        f"takes the service {data['work_milliseconds']:g} ms. It takes {data['count']} in any "
        f"{data['second']:g} s and refuses the others with 429 and `Retry-After`, which the "
        f"handler obeys: `RetryJobError(delay=...)`. In the last row it counts with a bucket."
    )


def _findings(data: Data) -> Iterator[str]:
    jobs, runs = data["jobs"], data["runs"]
    retries, patient, limit, rate, both, evenly, bucket = (runs[name] for name in CLIENTS)
    yield (
        f"**Retries alone**, as many as a queue makes if nothing is said, ended with "
        f"{retries['dead']} of {jobs} jobs as dead letters. Each of them did what the service "
        f"asked for."
    )
    yield (
        f"**Retries without end** did {patient['done']} of {jobs}, with {patient['calls']} calls, "
        f"{patient['refused']} of them refused: {patient['attempts_mean']:.1f} attempts for a job, "
        f"and up to {patient['attempts_max']}. It took {_seconds(patient)}."
    )
    yield (
        f"**A limit is no rate:** with at most 2 calls at once, {limit['refused']} of "
        f"{limit['calls']} were refused."
    )
    yield (
        f"**With a rate** of {data['count']} the service refused {rate['refused']} of "
        f"{rate['calls']} calls, {rate['dead']} jobs became dead letters, and all took "
        f"{_seconds(rate)}. A limit beside it had the service do {both['at_once_max']} at once, "
        f"in place of {rate['at_once_max']}, with {both['refused']} refused, in {_seconds(both)}."
    )
    yield (
        f"**One by one**, {data['evenly_milliseconds']:g} ms from start to start, "
        f"{evenly['refused']} of {evenly['calls']} were refused, and it took {_seconds(evenly)}."
    )
    yield (
        f"**It matters how the service counts:** the same rate of {data['count']} had "
        f"{rate['refused']} calls refused by the service that looks back, and "
        f"{bucket['refused']} by the one that has a bucket as the rate has."
    )


def _seconds(run: Data) -> str:
    return f"{run['seconds']:.1f} s"


# ── drawing ──────────────────────────────────────────────────────────────────────────────────

DRAWN = [name for name in CLIENTS if name != "bucket"]  # there the service is another


def draw(data: Data, figure: Any) -> None:
    """A bar for each client: its calls, those that were taken and those that were refused."""
    runs = data["runs"]
    retries, evenly = runs["retries"], runs["evenly"]
    drawing.title(
        figure,
        f"Retries alone: {retries['refused']} of {retries['calls']} calls refused, "
        f"{retries['dead']} dead letters. With a rate below the service's: "
        f"{evenly['refused']} and {evenly['dead']}",
        f"HTTP calls for {data['jobs']} jobs; the service takes {data['count']} in any "
        f"{data['second']:g} s and answers 429 to the rest",
    )
    axes = figure.subplots()
    most = max(runs[name]["calls"] for name in DRAWN)
    for place, name in enumerate(DRAWN):
        _draw_row(axes, place, runs[name], most)
    axes.set_xlim(0, most)
    axes.set_xticks([])
    names = [f"{CLIENTS[name].told}\n{CLIENTS[name].code}" for name in DRAWN]
    axes.set_yticks(range(len(DRAWN)), names)
    axes.tick_params(axis="y", length=0)
    axes.invert_yaxis()
    axes.grid(visible=False)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)


def _draw_row(axes: Any, place: int, run: Data, most: int) -> None:
    start, told = 0, _seconds(run)
    for count, text, colour in (
        (run["calls"] - run["refused"], "taken", BLUE),
        (run["refused"], "refused", VERMILION),
    ):
        axes.barh(place, count, left=start, color=colour, height=0.66)
        if count > most / 6:
            middle = start + count / 2
            drawing.inside(axes, middle, place, f"{count} {text}")
        else:
            told += f", {count} {text}"
        start += count
    if run["dead"]:
        told += f"\n{run['dead']} dead letters"
    drawing.label(axes, start, place, told, VERMILION if run["dead"] else INK)


EXPERIMENT = Experiment(
    name="rate",
    question="What does a rate limit do against a service that refuses what is too much?",
    measure=measure,
    report=report,
    draw=draw,
)
