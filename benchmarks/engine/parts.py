"""What is measured. Each part has all contenders take turns, and returns what each reached."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from statistics import quantiles

from ..measure import Samples
from . import notes
from .arena import Arena, HangsError, Process, Stand, wait_until
from .contenders import CONTENDERS

Series = dict[str, Samples]
"""By the name of a row."""

DEAD_AFTER = 2.0
"""How long a silent worker counts as alive while recoveries are measured, in seconds."""
RECOVERY_SECONDS_MAX = 30.0
NEVER = float("inf")
_BULK = 1000
_PER_SECOND = 50
_IDLE_PER_SECOND = 10


def enqueue(arena: Arena, rounds: int) -> Series:
    """Jobs a second, from 1 and from 8 processes, each call waited for; and in bulk."""
    names = arena.names()
    series = {row: Samples({name: [] for name in names}) for row in _ENQUEUE_ROWS}
    with ExitStack() as stack:
        crowds = {}
        for name in names:
            stand = stack.enter_context(arena.stand(name))
            crowds[name] = stand.producers(8)
        for turn in range(-1, rounds):  # the first does not count
            for name, crowd in crowds.items():
                share = CONTENDERS[name].share
                found = (
                    _rate(crowd[:1], "one_by_one", round(400 * share)),
                    _rate(crowd, "one_by_one", round(100 * share)),
                    _rate(crowd[:1], "bulk", _BULK),
                )
                if turn >= 0:
                    for row, value in zip(_ENQUEUE_ROWS, found, strict=True):
                        series[row][name].append(value)
    return series


_ENQUEUE_ROWS = ("enqueue/s, 1 producer", "enqueue/s, 8 producers", "enqueue/s in bulks of 1,000")


def _rate(crowd: Sequence[Process], order: str, jobs: int) -> float:
    for each in crowd:
        each.order(f"{order} {jobs}")
    spans = [each.times() for each in crowd]
    return len(crowd) * jobs / (max(end for _, end in spans) - min(begin for begin, _ in spans))


def no_ops(arena: Arena, rounds: int) -> Series:
    """Jobs a second that do nothing, run by 1 and by 2 worker processes; all are queued before."""

    def turn(workers: int, stand: Stand) -> float:
        jobs = round(1500 * workers * stand.contender.share)
        (producer,) = stand.producers(1)
        producer.do(f"bulk {jobs}")
        stand.kill([producer])
        stand.workers(workers)
        stand.wait_for_notes(jobs)
        return _steady_rate(notes.read(stand.notes))

    return {
        f"no-op/s, {workers} worker process{'es' if workers > 1 else ''}": _turns(
            arena, rounds, partial(turn, workers)
        )
        for workers in (1, 2)
    }


def _steady_rate(found: Sequence[notes.Note]) -> float:
    """From when all workers are at it."""
    firsts: dict[int, float] = {}
    for each in found:
        firsts.setdefault(each.pid, each.at)
    begin = max(firsts.values())
    counted = [each.at for each in found if each.at > begin]
    return len(counted) / (max(counted) - begin)


def pick_up(arena: Arena, rounds: int) -> Series:
    """From the call of enqueue to the start of the handler, in ms, at 50 jobs a second."""
    names = arena.names()
    series = {row: Samples({name: [] for name in names}) for row in ("p50", "p99")}
    for _ in range(rounds):
        for name in names:
            with arena.stand(name) as stand:
                (producer,) = stand.producers(1)
                stand.workers(1)
                stand.wait_for_notes(1)
                jobs = _PER_SECOND * 6
                before = notes.count(stand.notes)
                producer.do(f"paced {jobs} {1 / _PER_SECOND}")
                stand.wait_for_notes(before + jobs)
                late = [1e3 * (each.at - each.sent) for each in notes.read(stand.notes)[-jobs:]]
            cuts = quantiles(late, n=100)
            series["p50"][name].append(cuts[49])
            series["p99"][name].append(cuts[98])
    return {f"pick-up {row} at {_PER_SECOND}/s, ms": samples for row, samples in series.items()}


def recovery(arena: Arena, rounds: int) -> Series:
    """From the SIGKILL of a worker to when another one starts its job again, in seconds."""

    def turn(stand: Stand) -> float:
        (producer,) = stand.producers(1)
        (victim,) = stand.workers(1, DEAD_AFTER)
        stand.wait_for_notes(3)
        producer.do("blocking")
        stand.wait_for_notes(4)
        stand.workers(1, DEAD_AFTER)
        time.sleep(2 * DEAD_AFTER)  # what beats has beaten, who leads has been found
        killed = time.monotonic()
        stand.kill([victim])
        try:
            wait_until(lambda: notes.count(stand.notes) >= 5, "recovery", RECOVERY_SECONDS_MAX)
        except HangsError:
            return NEVER
        return notes.read(stand.notes)[-1].at - killed

    return {f"recovery with {DEAD_AFTER:g} s, s": _turns(arena, rounds, turn)}


def idle(workers: int) -> Callable[[Arena, int], Series]:
    """PostgreSQL's processor time a job while so many worker processes have next to nothing."""

    def part(arena: Arena, rounds: int) -> Series:
        """PostgreSQL's processor time a job."""

        def turn(stand: Stand) -> float:
            (producer,) = stand.producers(1)
            stand.workers(workers)
            time.sleep(3.0)  # what a worker does at its start is not what it does when idle
            jobs = _IDLE_PER_SECOND * 10
            before = arena.server_cpu()
            producer.do(f"paced {jobs} {1 / _IDLE_PER_SECOND}")
            return 1e3 * (arena.server_cpu() - before) / jobs

        names = arena.names(on_postgres=True)
        row = f"PostgreSQL's ms a job, {workers} workers at {_IDLE_PER_SECOND}/s"
        return {row: _turns(arena, rounds, turn, names)}

    return part


def _turns(
    arena: Arena, rounds: int, turn: Callable[[Stand], float], names: Sequence[str] | None = None
) -> Samples:
    chosen = arena.names() if names is None else names
    samples = Samples({name: [] for name in chosen})
    for _ in range(rounds):
        for name in chosen:
            with arena.stand(name) as stand:
                samples[name].append(turn(stand))
    return samples


PARTS: Mapping[str, Callable[[Arena, int], Series]] = {
    "enqueue": enqueue,
    "no-ops": no_ops,
    "pick-up": pick_up,
    "recovery": recovery,
    "idle-4": idle(4),
    "idle-16": idle(16),
}
