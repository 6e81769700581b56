"""What is declared, for producers and workers alike."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path

from jobqueue import Tasks

from ..lines import LineWriter

RECORD = "CLUSTER_RECORD"
"""Environment variable: the file in which handlers note what they did."""
ACKS = "CLUSTER_ACKS"
"""Environment variable: the file in which the producer notes what was accepted."""
WORK_SECONDS = 0.05

tasks = Tasks()


@tasks.task()
def pack(order: int) -> None:
    """Pack what was ordered. It may run twice after a kill: the second one finds it packed."""
    _record().add(f"began {order} {os.getpid()}")
    time.sleep(WORK_SECONDS)
    _record().add(f"packed {order} {os.getpid()}")


@cache
def _record() -> LineWriter:
    return LineWriter(Path(os.environ[RECORD]))
