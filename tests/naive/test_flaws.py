"""The flaws that the naive tier has on purpose. Each test fails once its flaw is mended."""

from __future__ import annotations

import queue
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from jobqueue.naive import Job, JobQueue
from tests.support import insides

PATIENCE = 10.0  # seconds until a wait for what is bound to happen counts as failed


class BusyQueue:
    """A queue whose only worker is held by a job until `release`."""

    def __init__(self) -> None:
        self.jq = JobQueue(1)
        self.ended = threading.Event()  # set by the job that holds the worker
        self._gate = threading.Event()
        held = threading.Event()

        def hold() -> None:
            held.set()
            self._gate.wait()
            self.ended.set()

        self.jq.enqueue(Job("holds the worker", hold))
        assert held.wait(PATIENCE)

    def release(self) -> None:
        self._gate.set()


@pytest.fixture
def busy() -> Iterator[BusyQueue]:
    busy = BusyQueue()
    yield busy
    busy.release()
    assert returns(busy.jq.close)


def returns(call: Callable[[], object]) -> bool:
    """Whether this call comes back."""
    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    return not thread.is_alive()


def test_flaw_1_a_fast_producer_is_never_slowed_and_all_its_jobs_stay_in_memory(
    busy: BusyQueue,
) -> None:
    class Payload:
        def handle(self) -> None: ...

    payloads: list[weakref.ref[Payload]] = []

    def produce() -> None:
        for n in range(20_000):
            payload = Payload()
            payloads.append(weakref.ref(payload))
            busy.jq.enqueue(Job(str(n), payload.handle))

    assert returns(produce)
    assert sum(payload() is not None for payload in payloads) == 20_000


def test_flaw_2_an_urgent_job_waits_behind_everything(busy: BusyQueue) -> None:
    ran: queue.Queue[str] = queue.Queue()

    for n in range(50):
        busy.jq.enqueue(Job(f"report-{n}", partial(ran.put, "report")))
    busy.jq.enqueue(Job("alarm", partial(ran.put, "alarm")))
    busy.release()

    assert [ran.get(timeout=PATIENCE) for _ in range(51)] == ["report"] * 50 + ["alarm"]


def test_flaw_3_a_failed_job_is_gone() -> None:
    tries: queue.Queue[str] = queue.Queue()
    done = threading.Event()

    def fail() -> None:
        tries.put("try")
        raise ConnectionError

    with JobQueue(1) as jq:
        jq.enqueue(Job("fails once", fail))
        jq.enqueue(Job("afterwards", done.set))
        assert done.wait(PATIENCE)
        left = insides.line(jq).qsize()

    assert tries.qsize() == 1
    assert left == 0  # neither tried again nor kept for later


def test_flaw_4_close_returns_while_a_job_is_in_flight(busy: BusyQueue) -> None:
    assert returns(busy.jq.close)
    assert not busy.ended.is_set()


def test_flaw_4_close_loses_the_jobs_in_the_line(busy: BusyQueue) -> None:
    ran = threading.Event()

    busy.jq.enqueue(Job("lost", ran.set))
    assert returns(busy.jq.close)
    busy.release()
    for worker in insides.worker_threads(busy.jq):
        worker.join(PATIENCE)
        assert not worker.is_alive()

    assert not ran.is_set()  # and no worker is left that could run it


FIRST_RUN = """
import os, signal, sys, threading
from pathlib import Path
from jobqueue.naive import Job, JobQueue

held = threading.Event()
jq = JobQueue(1)
jq.enqueue(Job("in flight", lambda: (held.set(), threading.Event().wait())))
jq.enqueue(Job("in the line", lambda: Path("ran").write_text("a job of the first run")))
held.wait()
if sys.argv[1] == "is killed":
    os.kill(os.getpid(), signal.SIGKILL)
"""

SECOND_RUN = """
import threading
from pathlib import Path
from jobqueue.naive import Job, JobQueue

done = threading.Event()
with JobQueue(1) as jq:  # one worker: what it found left over would run before this job
    jq.enqueue(Job("of the second run", done.set))
    done.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize(("end", "code"), [("exits", 0), ("is killed", -signal.SIGKILL)])
def test_flaw_5_nothing_survives_the_process(tmp_path: Path, end: str, code: int) -> None:
    def run(script: str) -> int:
        command = [sys.executable, "-c", script, end]
        return subprocess.run(command, cwd=tmp_path, timeout=60, check=False).returncode

    assert run(FIRST_RUN) == code
    assert run(SECOND_RUN) == 0
    assert list(tmp_path.iterdir()) == []  # no trace of the first run's jobs: they never ran
