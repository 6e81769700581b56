"""Thundering herd: what retries do to a service that was down and comes back."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from jobqueue.final import Config, Job, JobQueue
from jobqueue.final.testing import ManualClock
from jobqueue.final.timing.timer import TICKS_PER_SECOND

from .drawing import BAND, BLUE, GREEN, GREY, INK, QUIET, VERMILION, label, title
from .experiment import Data, Experiment, Settings
from .findings import bullets, wrapped
from .pages import table

DOWN_SECONDS = 45.0
STEPS_PER_SECOND = 10
POLL_SECONDS = 0.0002
DELAY_MAX = 60.0


@dataclass(frozen=True)
class Policy:
    """How long failed jobs wait. Only settings of the queue."""

    name: str
    base_delay: float
    max_delay: float
    jitter: float


POLICIES = (
    Policy("fixed delay, 1 s", 1.0, 1.0, 0.0),
    Policy("exponential", 1.0, DELAY_MAX, 0.0),
    Policy("exponential, jitter 0.1", 1.0, DELAY_MAX, 0.1),
    Policy("exponential, jitter 1", 1.0, DELAY_MAX, 1.0),
)


class ServiceDownError(Exception):
    """The service did not take the request."""


class Service:
    """Serves `rate` requests a second and has room for a second's worth to wait; refuses the rest.

    It is down until `up_at`. To refuse costs it nothing, which is kind: real ones slow down.

    Not thread-safe: one worker calls it.
    """

    def __init__(self, clock: ManualClock, *, rate: int, up_at: float) -> None:
        self._clock = clock
        self._rate = rate
        self._up_at = up_at
        self._waiting = 0.0  # requests that it has taken and not served yet
        self._looked = up_at
        self.arrived: Counter[int] = Counter()
        """Requests in each step of time, refused ones included."""
        self.served: list[float] = []
        """When each request was taken, in order."""

    def request(self, _payload: bytes) -> None:
        """The handler: one request.

        Raises:
            ServiceDownError: it is down, or has too much to do.
        """
        now = self._clock.monotonic()
        self.arrived[round(now * STEPS_PER_SECOND)] += 1
        if now < self._up_at:
            raise ServiceDownError
        self._waiting = max(0.0, self._waiting - (now - self._looked) * self._rate)
        self._looked = now
        if self._waiting + 1 > self._rate:
            raise ServiceDownError
        self._waiting += 1
        self.served.append(now)


@dataclass(frozen=True)
class Outage:
    """What happens.

    Attributes:
        jobs: how many there are.
        spread: over how many seconds they are enqueued, evenly; 0 is all at once.
        rate: what the service can do a second.
        seconds_max: when to stop watching.
    """

    jobs: int
    spread: float
    rate: int
    seconds_max: float


def measure(settings: Settings) -> Data:
    """Let each policy go through the same outage: all jobs at once, and one by one."""
    jobs = settings.pick(500, 20)
    rate, seconds_max = jobs // 10, settings.pick(900.0, 300.0)
    scenarios = {
        "at once": Outage(jobs, 0.0, rate, seconds_max),
        "one by one": Outage(jobs, DOWN_SECONDS, rate, seconds_max),
    }
    settings.progress.expect(len(scenarios) * len(POLICIES))
    runs = []
    with _quiet_log():
        for scenario, outage in scenarios.items():
            for policy in POLICIES:
                settings.progress.begin(f"{scenario}: {policy.name}")
                service = _watch(policy, outage, settings.seed)
                runs.append({"scenario": scenario, **_summary(policy, outage, service)})
                settings.progress.advance()
    return {"jobs": jobs, "rate": rate, "down_seconds": DOWN_SECONDS, "runs": runs}


@contextmanager
def _quiet_log() -> Iterator[None]:
    """Thousands of attempts are to fail, which the queue tells of."""
    logger = logging.getLogger("jobqueue")
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled


def _watch(policy: Policy, outage: Outage, seed: int) -> Service:
    """Move time on, step by step, until all jobs are done.

    One worker and handlers that take no time: what stands in the way of the herd is the policy
    alone, as if each job were another client.
    """
    clock = ManualClock()
    service = Service(clock, rate=outage.rate, up_at=DOWN_SECONDS)
    config = Config(
        num_workers=1,
        queue_size=outage.jobs,
        max_retries=10**6,
        base_delay=policy.base_delay,
        max_delay=policy.max_delay,
        jitter=policy.jitter,
    )
    with JobQueue(config, handler=service.request, clock=clock) as jq:
        jq._queries._outcomes._retrying._random = Random(seed).random
        for number in range(outage.jobs):
            jq.enqueue(Job(), delay=number / outage.jobs * outage.spread)
        _settle(jq)
        while len(service.served) < outage.jobs and clock.monotonic() < outage.seconds_max:
            clock.advance(_seconds_to_next_step(jq, clock))
            _settle(jq)
        jq.close(0.0)
    return service


def _seconds_to_next_step(jq: JobQueue, clock: ManualClock) -> float:
    """How far it is to the end of the step in which the next retry is due."""
    timer = jq._placement.timer
    with timer._lock:
        timer._apply_changes()
        tick = timer._wheel.next_tick() or 0
    now = round(clock.monotonic() * STEPS_PER_SECOND)
    due = math.ceil(tick * STEPS_PER_SECOND / TICKS_PER_SECOND)
    return max(now + 1, due) / STEPS_PER_SECOND - clock.monotonic()


def _settle(jq: JobQueue) -> None:
    """Wait until all jobs that are due have been tried."""
    while (metrics := jq.metrics()).queued or metrics.processing:
        time.sleep(POLL_SECONDS)


def _summary(policy: Policy, outage: Outage, service: Service) -> dict[str, Any]:
    by_second: Counter[int] = Counter()
    for step, arrived in service.arrived.items():
        by_second[step // STEPS_PER_SECOND] += arrived
    up = int(DOWN_SECONDS)
    done = len(service.served) == outage.jobs
    return {
        "policy": policy.name,
        "per_second": [by_second[second] for second in range(max(by_second) + 1)],
        "requests": sum(by_second.values()),
        "requests_in_vain": sum(by_second.values()) - len(service.served),
        "peak_after": max(load for second, load in by_second.items() if second >= up),
        "served": len(service.served),
        "half_after": _when(service, outage.jobs // 2),
        "all_after": _when(service, outage.jobs) if done else None,
    }


def _when(service: Service, jobs: int) -> float | None:
    """Seconds from the service's return until it had taken so many."""
    if len(service.served) < jobs:
        return None
    return round(service.served[jobs - 1] - DOWN_SECONDS, 1)


# ── telling ──────────────────────────────────────────────────────────────────────────────────


def report(data: Data) -> str:
    """A table of both scenarios, and what follows from it."""
    rows = [
        [
            run["policy"],
            run["scenario"],
            run["requests_in_vain"],
            _refused(data, run),
            run["peak_after"],
            _seconds(run["half_after"]),
            _seconds(run["all_after"]),
        ]
        for run in data["runs"]
    ]
    header = [
        "retries after",
        "jobs came",
        "requests in vain",
        "of them to the service that is back",
        "most requests in a second then",
        "half the jobs done after",
        "all done after",
    ]
    found = bullets(_findings(data))
    return f"{wrapped(_setting(data))}\n\n{table(header, rows, 'llrrrrr')}\n\n{found}"


def _setting(data: Data) -> str:
    return (
        f"{data['jobs']} jobs, a service that is down for {data['down_seconds']:g} s and then "
        f"takes {data['rate']} requests per second. Times count from its return."
    )


def _seconds(seconds: float | None) -> str:
    return "not within the time watched" if seconds is None else f"{seconds:g} s"


def _findings(data: Data) -> Iterator[str]:
    fixed, plain_, little, full = (_run(data, policy, "at once") for policy in POLICIES)
    rate = data["rate"]
    yield (
        f"**{fixed['policy']}:** the jobs are done {_seconds(fixed['all_after'])} after the "
        f"return, and there were {fixed['requests_in_vain']:,} requests in vain: "
        f"{_before(data, fixed) / rate:.1f} times what the service can take when it is well, all "
        f"the time that it was down."
    )
    yield (
        f"**What it costs the service when it is back:** it has to refuse "
        f"{_refused(data, fixed):,} requests after a fixed delay, {_refused(data, plain_):,} of a "
        f"herd that backs off in step, {_refused(data, little):,} with jitter 0.1 and "
        f"{_refused(data, full):,} with jitter 1."
    )
    yield (
        f"**{plain_['policy']}:** {plain_['requests_in_vain']:,} requests in vain, and yet it "
        f"takes {_seconds(plain_['all_after'])}. All jobs come back in the same moment; the "
        f"service takes what it has room for and idles until they come again."
    )
    yield (
        f"**With jitter:** the most that comes in a second falls from {plain_['peak_after']} to "
        f"{little['peak_after']} (jitter 0.1, the default) and {full['peak_after']} (jitter 1); "
        f"all is done after {_seconds(little['all_after'])} and {_seconds(full['all_after'])}."
    )
    spread, spread_little = (_run(data, POLICIES[place], "one by one") for place in (1, 2))
    yield (
        f"**Where the jobs came one by one**, there is no herd to break up: "
        f"{_seconds(spread['all_after'])} without jitter, {_seconds(spread_little['all_after'])} "
        f"with jitter 0.1, at most {spread['peak_after']} and {spread_little['peak_after']} "
        f"requests in a second."
    )


def _run(data: Data, policy: Policy, scenario: str) -> Data:
    wanted = (policy.name, scenario)
    return next(run for run in data["runs"] if (run["policy"], run["scenario"]) == wanted)


def _refused(data: Data, run: Data) -> int:
    """Requests that came when the service was up, and were too many."""
    return int(sum(run["per_second"][int(data["down_seconds"]) :]) - run["served"])


def _before(data: Data, run: Data) -> float:
    """Requests per second while the service was down."""
    seconds = int(data["down_seconds"])
    return float(sum(run["per_second"][:seconds]) / seconds)


# ── drawing ──────────────────────────────────────────────────────────────────────────────────

SECONDS_SHOWN = 180
COLOURS = (GREY, VERMILION, BLUE, GREEN)


def draw(data: Data, figure: Any) -> None:
    """The load on the service over time, one below the other."""
    runs = [_run(data, policy, "at once") for policy in POLICIES]
    plain_, little = runs[1], runs[2]
    title(
        figure,
        f"Just back, the service has to refuse {_refused(data, plain_):,} requests of a herd; "
        f"with jitter, {_refused(data, little):,}",
        f"Requests per second from {data['jobs']} jobs that failed together; the "
        f"service can take {data['rate']} (dashed)",
    )
    top = max(max(run["per_second"]) for run in runs)
    rows = figure.subplots(len(runs), 1, sharex=True, sharey=True)
    for axes, run, colour in zip(rows, runs, COLOURS, strict=True):
        axes.axvspan(0, data["down_seconds"], color=BAND, linewidth=0)
        loads = run["per_second"][:SECONDS_SHOWN]
        axes.stairs(loads, fill=True, color=colour)
        axes.axhline(data["rate"], color=INK, linestyle="--", linewidth=1)
        axes.set_ylim(0, top * 1.05)
        axes.set_yticks([0, data["jobs"]])
        axes.set_ylabel("requests/s", fontsize=9)
        axes.grid(visible=False)
        _name(axes, data, run, colour)
    rows[0].set_xlim(0, SECONDS_SHOWN)
    label(rows[0], 0, top, "service is down", QUIET, dx=4, dy=-4, fontweight="normal")
    rows[-1].set_xlabel("seconds")


def _name(axes: Any, data: Data, run: Data, colour: str) -> None:
    text = (
        f"{run['policy']}: {_refused(data, run):,} refused once it is back, at most "
        f"{run['peak_after']} in a second; done after {_done(run)}"
    )
    axes.set_title(text, loc="right", color=colour, fontweight="bold", fontsize=11, pad=2)
    if any(run["per_second"][SECONDS_SHOWN:]):
        middle = sum(axes.get_ylim()) / 2
        axes.text(SECONDS_SHOWN, middle, "goes on →", color=colour, ha="right", va="center")


def _done(run: Data) -> str:
    after = run["all_after"]
    return "more than was watched" if after is None else f"{after:.0f} s"


EXPERIMENT = Experiment(
    name="thundering-herd",
    question="What do retries do to a service that was down and comes back?",
    measure=measure,
    report=report,
    draw=draw,
)
