"""How everything is measured: side by side, turn by turn, in one run.

Absolute figures swing by half from hour to hour on the same machine; the ratio of two things that
take turns does not.
"""

from __future__ import annotations

import gc
import multiprocessing
import shutil
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")

ROUNDS = 5
"""Each figure is the median of at least so many turns."""

SECONDS_MAX = 300.0
"""A child process that takes longer than this for one turn hangs."""

SCRATCH = Path(__file__).resolve().parent.parent / ".benchmarks"
"""Logs are written here: the disk of the checkout is a disk, `/tmp` may be memory."""


@dataclass(frozen=True)
class Figure:
    """One ratio, and what it should be.

    Attributes:
        name: what is compared with what.
        measured: the ratio, or a count, in `unit`.
        wanted: the bound; `None` if a figure is only told.
        at_most: whether the bound is an upper one.
        detail: the absolute figures behind it, for scale.
    """

    name: str
    measured: float
    wanted: float | None
    at_most: bool = False
    unit: str = "×"
    detail: str = ""

    @property
    def met(self) -> bool | None:
        """Whether it is as wanted."""
        if self.wanted is None:
            return None
        return self.measured <= self.wanted if self.at_most else self.measured >= self.wanted


@dataclass
class Findings:
    """What one part of the measurements found: figures, and series of numbers to be drawn."""

    figures: list[Figure] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)


class Samples(dict[str, list[float]]):
    """What each contender took (or reached) in each turn."""

    def median(self, name: str) -> float:
        """The median over the turns."""
        return median(self[name])

    def ratio(self, name: str, other: str) -> float:
        """The median over the turns of one to the other in the same turn."""
        return median(a / b for a, b in zip(self[name], self[other], strict=True))

    def difference(self, name: str, other: str) -> float:
        """The median over the turns of one less the other in the same turn."""
        return median(a - b for a, b in zip(self[name], self[other], strict=True))


def seconds(run: Callable[[], object]) -> float:
    """Call it and tell how long it took."""
    gc.collect()  # whatever went before pays for its own garbage
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def cpu_seconds(run: Callable[[], object]) -> float:
    """Call it and tell how much processor time this process took meanwhile."""
    start = time.process_time()
    run()
    return time.process_time() - start


def rate(jobs: int, run: Callable[[], object]) -> float:
    """Call it and tell how many jobs it did a second."""
    return jobs / seconds(run)


def alternate(
    contenders: Mapping[str, Callable[[], float]], rounds: int = ROUNDS, *, warm_up: bool = True
) -> Samples:
    """Have each take its turn, again and again, after one turn each that does not count."""
    if warm_up:
        for run in contenders.values():
            run()
    samples = Samples({name: [] for name in contenders})
    for _ in range(rounds):
        for name, run in contenders.items():
            samples[name].append(run())
    return samples


@contextmanager
def scratch() -> Iterator[Path]:
    """An empty directory on the disk, for as long as the block runs."""
    SCRATCH.mkdir(exist_ok=True)
    path = Path(tempfile.mkdtemp(dir=SCRATCH))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class ChildError(Exception):
    """A function failed in a child process, or the process did not answer in time."""


class Child:
    """A process of its own that runs functions for us, one after another.

    It is for what would leave threads or settings behind, and for memory. It is also for sizes that
    would make the garbage collector slow for all other measurements. Functions are found by name.
    """

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def __call__(self, function: Callable[..., T], *args: object) -> T:
        """Run `function(*args)` there.

        Raises:
            ChildError: it failed, with its traceback, or it hangs.
        """
        self._ours.send((function, args))
        if not self._ours.poll(SECONDS_MAX):
            raise ChildError(f"{function.__name__} did not answer within {SECONDS_MAX:.0f} s")
        try:
            result, error = self._ours.recv()
        except EOFError:
            raise ChildError(f"{function.__name__} took its process with it") from None
        if error is not None:
            raise ChildError(error)
        value: T = result
        return value

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._ours.close()


def _serve(connection: Connection) -> None:
    while True:
        try:
            function, args = connection.recv()
        except EOFError:
            return
        answer: tuple[object, str | None]
        try:
            answer = (function(*args), None)
        except Exception:
            answer = (None, traceback.format_exc())
        connection.send(answer)


def in_fresh_process(function: Callable[..., T], *args: object) -> T:
    """Run a function in a process that has done nothing else."""
    with Child() as child:
        return child(function, *args)
