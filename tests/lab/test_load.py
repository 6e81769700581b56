"""Work for queues to do."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from lab import load

# As on a Python that has none of the other packages.
ALONE = f"""
import runpy, sys
sys.modules.update(dict.fromkeys(("rich", "matplotlib", "msgspec")))
runpy.run_path({load.__file__!r}, run_name="__main__")
"""


def test_a_millisecond_is_some_loops() -> None:
    assert load.loops_per_millisecond() > 10


def test_work_waits_as_long_as_it_is_told_and_takes_no_processor_for_it() -> None:
    start = time.perf_counter()
    cpu_seconds = load.work(b"[30, 0]")
    assert time.perf_counter() - start >= 0.03
    assert cpu_seconds < 0.02


def test_work_takes_processor_time_for_its_loops() -> None:
    assert load.work(b"[0, 100000]") > load.work(b"[0, 10]")


def test_waiting_jobs_of_several_workers_wait_at_the_same_time() -> None:
    done = load.measure(load.Load("thread", workers=4, jobs=4, wait_milliseconds=50, loops=0))
    assert done.jobs_per_second > 1 / 0.05
    assert done.run_milliseconds >= 49  # by the wall clock, which may be set meanwhile


@pytest.mark.slow
def test_processor_time_of_processes_counts() -> None:
    loops = 50 * load.loops_per_millisecond()
    done = load.measure(load.Load("process", workers=1, jobs=2, wait_milliseconds=0, loops=loops))
    assert done.cores > 0.1


@pytest.mark.slow
def test_it_runs_where_nothing_but_the_package_is() -> None:
    loads = [{"executor": "thread", "workers": 2, "jobs": 2, "wait_milliseconds": 1, "loops": 9}]
    done = subprocess.run(
        [sys.executable, "-P", "-c", ALONE],
        input=json.dumps(loads),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["gil"] == load.is_gil_enabled()
    assert answer["yields"][0]["jobs_per_second"] > 0
