"""What is kept of a run: the data, and where they come from, in one JSON file."""

from __future__ import annotations

import json
import os
import platform
import re
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from .experiment import Data, Experiment, Settings

_LIST_OF_NUMBERS = re.compile(r'\[\s+([^\[\]{}"]*?)\s+\]')


@dataclass(frozen=True, slots=True)
class Record:
    """One run of one experiment.

    Attributes:
        experiment: its name.
        quick: whether it had to be quick.
        seed: where its chance came from.
        date: the day, in UTC, as ISO 8601 writes it.
        machine: what it ran on, in a few words.
        seconds: how long it took.
        data: what it measured.
    """

    experiment: str
    quick: bool
    seed: int
    date: str
    machine: str
    seconds: float
    data: Data

    @property
    def command(self) -> str:
        """What measures this again."""
        return f"python -m lab {self.experiment}" + (" --quick" if self.quick else "")

    def save(self, path: Path) -> None:
        """Write it to a file: lines for people to compare, lists of numbers in one line."""
        text = json.dumps(asdict(self), indent=1, ensure_ascii=False, allow_nan=False)
        path.write_text(_LIST_OF_NUMBERS.sub(_in_one_line, text) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Record:
        """What `save` has written.

        Raises:
            FileNotFoundError: nothing was.
        """
        return cls(**json.loads(path.read_text(encoding="utf-8")))


def _in_one_line(found: re.Match[str]) -> str:
    return f"[{' '.join(found[1].split())}]"


def run(experiment: Experiment, settings: Settings) -> Record:
    """Measure, and note down where and how."""
    start = time.monotonic()
    data = experiment.measure(settings)
    return Record(
        experiment=experiment.name,
        quick=settings.quick,
        seed=settings.seed,
        date=datetime.now(UTC).date().isoformat(),
        machine=_machine(),
        seconds=round(time.monotonic() - start, 1),
        data=json.loads(json.dumps(data)),  # as they will be read again: keys are text
    )


def _machine() -> str:
    cores = os.cpu_count() or 1
    return (
        f"{cores} core{'s' * (cores > 1)}, {platform.python_implementation()} "
        f"{platform.python_version()}, {platform.system()}"
    )
