"""What the improved tier leaves open on purpose. Each test fails once its flaw is mended."""

from __future__ import annotations

import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from jobqueue.improved import Job, JobQueue, Priority
from tests.improved.rig import Rig

HIGH, MEDIUM, LOW = Priority

KILLED_RUN = """
import os, signal, threading
from pathlib import Path
from jobqueue.improved import Config, Job, JobQueue

def fail():
    with Path("attempts").open("a") as file:
        file.write("first run\\n")
    raise ConnectionError

def die():
    os.kill(os.getpid(), signal.SIGKILL)

jq = JobQueue(Config(num_workers=1, base_delay=3600.0))
jq.enqueue(Job("order-7", fail))
jq.enqueue(Job("dies", die))  # behind it, while it waits for its first retry of three
jq.enqueue(Job("waits", lambda: Path("ran").touch()))
threading.Event().wait()
"""

NEXT_RUN = """
from pathlib import Path
from jobqueue.improved import Config, Job, JobQueue, Metrics

def fail():
    with Path("attempts").open("a") as file:
        file.write("next run\\n")
    raise ConnectionError

with JobQueue(Config(num_workers=1, base_delay=0.0)) as jq:
    assert jq.metrics() == Metrics(0, 0, 0, 0, 0)
    if again:
        jq.enqueue(Job("order-7", fail))
"""


def run(script: str, folder: Path) -> int:
    """Run a script in a process of its own, and return its exit code."""
    command = [sys.executable, "-c", script]
    return subprocess.run(command, cwd=folder, timeout=60, check=False).returncode


@pytest.mark.slow
def test_flaw_1_no_job_survives_the_process(tmp_path: Path) -> None:
    assert run(KILLED_RUN, tmp_path) == -signal.SIGKILL
    assert run("again = False" + NEXT_RUN, tmp_path) == 0

    assert (tmp_path / "attempts").read_text() == "first run\n"  # none of its three retries
    assert not (tmp_path / "ran").exists()


def test_flaw_2_a_flood_of_high_starves_all_others(rig: Rig) -> None:
    jq = rig.open(num_workers=1)

    def flood(left: int) -> None:
        rig.ran.put("HIGH")
        if left > 1:
            jq.enqueue(Job("HIGH", partial(flood, left - 1), HIGH))

    rig.hold(jq)
    jq.enqueue(rig.job("LOW", LOW))
    jq.enqueue(rig.job("MEDIUM", MEDIUM))
    jq.enqueue(Job("HIGH", partial(flood, 1_000), HIGH))
    rig.gate.set()

    assert rig.next_ran(1_002) == ["HIGH"] * 1_000 + ["MEDIUM", "LOW"]


def test_flaw_3_a_job_cannot_be_asked_how_it_fares(rig: Rig) -> None:
    jq = rig.open()

    assert {name for name in dir(JobQueue) if not name.startswith("_")} == {
        "close",
        "enqueue",
        "metrics",
    }
    handle: object = jq.enqueue(rig.job("a"))  # type: ignore[func-returns-value] # None is the test
    assert handle is None


@pytest.mark.slow
def test_flaw_4_a_restart_forgets_how_often_a_job_has_failed(tmp_path: Path) -> None:
    assert run(KILLED_RUN, tmp_path) == -signal.SIGKILL
    assert run("again = True" + NEXT_RUN, tmp_path) == 0

    assert (tmp_path / "attempts").read_text() == "first run\n" + "next run\n" * 4
