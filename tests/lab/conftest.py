"""What the tests of the lab share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lab import Experiment, Settings, load_experiment
from lab.record import Record, run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Measured = Callable[[str], tuple[Experiment, Record]]


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """Runs an experiment, quick, once in a run of the suite."""
    found: dict[str, Record] = {}

    def measure(name: str) -> tuple[Experiment, Record]:
        experiment = load_experiment(name)
        if name not in found:
            scratch: Path = tmp_path_factory.mktemp(name)
            found[name] = run(experiment, Settings(quick=True, seed=1, scratch=scratch))
        return experiment, found[name]

    return measure
