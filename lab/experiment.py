"""What an experiment is, and which there are."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from .progress import Progress

T = TypeVar("T")

Data = dict[str, Any]
"""What was measured: whatever JSON can hold, so that a file of it is all that is needed later."""

NAMES: tuple[str, ...] = (
    "crash",
    "durability",
    "shutdown",
    "memory",
    "workers",
    "starvation",
    "lanes",
    "reserved",
    "thundering-herd",
    "rate",
    "clock-change",
)
"""The experiments, in the order in which they are best read; a module each, `-` being `_`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    Attributes:
        quick: whether two seconds have to do; what is found then proves nothing.
        seed: if there is chance, it is drawn from this.
        progress: is to be told how far the measurement is.
        scratch: an empty directory on a disk, for logs; removed afterwards.
    """

    quick: bool = False
    seed: int = 1
    progress: Progress = field(default_factory=Progress)
    scratch: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))

    def pick(self, full: T, quick: T) -> T:
        """One of the two: what a full run takes, or a quick one."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Experiment:
    """One question, and how its answer is found, told and drawn.

    Attributes:
        name: what it is called on the command line; its files are called so, too.
        question: what it answers, for somebody who has never built a queue.
        measure: runs it. At most a minute on two cores, at most two seconds if it is quick.
        report: a short table in Markdown and one to four findings. Each number comes from the data.
        draw: puts the picture into a matplotlib figure. Its title is the finding, in one sentence,
            and has to be true of any data.
    """

    name: str
    question: str
    measure: Callable[[Settings], Data]
    report: Callable[[Data], str]
    draw: Callable[[Data, Any], None]


def load_experiment(name: str) -> Experiment:
    """The experiment of that name, whose module is imported only now.

    Raises:
        KeyError: there is none.
    """
    if name not in NAMES:
        raise KeyError(name)
    module = import_module(f"{__package__}.{name.replace('-', '_')}")
    experiment = module.EXPERIMENT
    assert isinstance(experiment, Experiment)
    return experiment
