"""A queue for each setting, the same work for each, and how long it takes them."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

from jobqueue.final import Config, Job, JobHandle, JobQueue, Status

from ..children import STALL_SECONDS, StoryError
from . import timed
from .timed import Timed

WORKS: Mapping[str, Callable[..., object]] = {
    "resize": timed.resize,
    "placeholder": timed.placeholder,
}
T = TypeVar("T")
_PLURALS = {"thread": "threads", "process": "processes"}


@dataclass(frozen=True)
class Setting:
    """Where handlers run."""

    executor: Literal["thread", "process"]
    workers: int

    def __str__(self) -> str:
        return f"{self.workers} {self.executor if self.workers == 1 else _PLURALS[self.executor]}"


def _a_list_each() -> dict[str, list[T]]:
    return {name: [] for name in WORKS}


@dataclass
class Made:
    """What a setting has made, and what it took.

    Attributes:
        files: contents by name.
        placeholders: by the picture's name.
        dead: reasons by the dead job's id.
        seconds: of each round, by the name of the work.
        attempts: what each attempt took that was measured, by the name of the work.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    placeholders: dict[str, object] = field(default_factory=dict)
    dead: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=_a_list_each)
    attempts: dict[str, list[Timed]] = field(default_factory=_a_list_each)


class Pipeline:
    """A queue with one setting, and the directory that its pictures go to."""

    def __init__(self, setting: Setting, into: Path) -> None:
        into.mkdir()
        self.made = Made()
        self._setting = setting
        self._into = into
        self._queue = JobQueue(
            Config(executor=setting.executor, num_workers=setting.workers), handlers=WORKS
        )

    def warm_up(self, pictures: Sequence[Path], broken: Iterable[Path]) -> None:
        """Run what is not measured: processes start with their first job, and import Pillow."""
        some = [pictures[number % len(pictures)] for number in range(2 * self._setting.workers)]
        jobs = [self._job("resize", f"warm-up {n}", file) for n, file in enumerate(some)]
        jobs += [self._job(name, "broken", file) for name in WORKS for file in broken]
        self._run(jobs)

    def measure(self, name: str, turn: int, pictures: Sequence[Path]) -> None:
        """Do one kind of work on all pictures."""
        jobs = [self._job(name, f"round {turn}", file) for file in pictures]
        start = time.perf_counter()
        handles = self._run(jobs)
        self.made.seconds[name].append(time.perf_counter() - start)
        for handle, file in zip(handles, pictures, strict=True):
            if handle.status is Status.COMPLETED:
                self._note(name, file, handle.result())

    def _note(self, name: str, file: Path, attempt: object) -> None:
        assert isinstance(attempt, Timed)
        self.made.attempts[name].append(attempt)
        if name == "placeholder":
            self.made.placeholders[file.name] = attempt.result

    def _job(self, name: str, turn: str, file: Path) -> Job:
        return Job(
            os.fsencode(file),
            id=f"{name} {file.name}, {turn}",
            handler=name,
            headers={"into": str(self._into)},
        )

    def _run(self, jobs: list[Job]) -> list[JobHandle]:
        handles = self._queue.enqueue_many(jobs)
        if not self._queue.join(STALL_SECONDS):
            raise StoryError(f"{self._setting}: not done after {STALL_SECONDS:g} s")
        return handles

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.made.dead = {job.id: job.last_error or "" for job in self._queue.dead_letters()}
        self._queue.close(drain=error is None)  # on Ctrl-C, what is queued is not wanted
        self.made.files = {file.name: file.read_bytes() for file in self._into.iterdir()}


def run(
    workers: int,
    rounds: int,
    pictures: Sequence[Path],
    broken: Sequence[Path],
    home: Path,
    say: Callable[[str], None],
) -> dict[Setting, Made]:
    """Have each setting do all the work, by turns, so that what else the machine does meanwhile
    meets all of them.
    """
    # Each rejected job is logged with its traceback. The tables tell of them.
    logging.getLogger("jobqueue").setLevel(logging.CRITICAL)
    pipelines = {}
    with ExitStack() as stack:
        for setting in settings(workers):
            pipeline = Pipeline(setting, home / str(setting).replace(" ", "-"))
            pipelines[setting] = stack.enter_context(pipeline)
            pipeline.warm_up(pictures, broken)
        for turn in range(1, rounds + 1):
            say(f"Round {turn} of {rounds}.")
            for name in WORKS:
                for pipeline in pipelines.values():
                    pipeline.measure(name, turn, pictures)
    return {setting: pipeline.made for setting, pipeline in pipelines.items()}


def settings(workers: int) -> list[Setting]:
    """What is compared."""
    return [
        Setting("thread", 1),
        Setting("thread", workers),
        Setting("process", 1),
        Setting("process", workers),
    ]
