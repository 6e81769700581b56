"""What the tests of this tier share: queues that are closed for them, time, and a gate."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

import pytest

from jobqueue.improved import Config, Job, JobQueue, Metrics, Priority
from tests.support import insides

PATIENCE = 10.0  # seconds until a wait for what is bound to happen counts as failed


class Rig:
    """Builds queues and jobs for one test.

    Attributes:
        ran: the ids of jobs, in the order in which they ran.
        gate: what handlers wait on that a test holds back; opened at the test's end.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.ran: queue.Queue[str] = queue.Queue()
        self.gate = threading.Event()
        self._now = 0.0
        self._queues: list[JobQueue] = []

    def open(self, **config: Any) -> JobQueue:
        """A queue on real time."""
        config.setdefault("shutdown_timeout", PATIENCE)
        return self._keep(JobQueue(Config(**config)))

    def frozen(self, **config: Any) -> JobQueue:
        """A queue whose retries wait for `advance`, and whose `close` does not wait for them."""
        config.setdefault("shutdown_timeout", 0.0)
        return self._keep(JobQueue(Config(**config), _clock=lambda: self._now))

    def _keep(self, jq: JobQueue) -> JobQueue:
        self._queues.append(jq)
        return jq

    def advance(self, seconds: float) -> None:
        """Let time pass for all frozen queues, whose workers look at the clock again."""
        self._now += seconds
        for jq in self._queues:
            with insides.work(jq):
                insides.work(jq).notify_all()

    def job(self, name: str, priority: Priority = Priority.MEDIUM) -> Job:
        """A job that does nothing but tell that it ran."""
        return Job(name, partial(self.ran.put, name), priority)

    def failing(self, name: str, *, times: int = 1_000_000, priority: int = 1) -> Job:
        """A job that tells that it ran, and fails so many times before it succeeds."""
        left = iter(range(times))

        def fail() -> None:
            self.ran.put(name)
            if next(left, None) is not None:
                raise ConnectionError(name)

        return Job(name, fail, Priority(priority))

    def hold(self, jq: JobQueue, workers: int = 1) -> None:
        """Keep so many workers busy until the gate opens."""
        held = threading.Semaphore(0)

        def wait() -> None:
            held.release()
            self.gate.wait()

        for n in range(workers):
            jq.enqueue(Job(f"holds-{n}", wait, Priority.HIGH))
        for _ in range(workers):
            assert held.acquire(timeout=PATIENCE)

    def next_ran(self, count: int) -> list[str]:
        """The ids of the jobs that run next."""
        return [self.ran.get(timeout=PATIENCE) for _ in range(count)]

    def await_metrics(self, jq: JobQueue, condition: Callable[[Metrics], bool]) -> Metrics:
        """Wait until the outcome of an attempt has made the metrics so."""
        with insides.progress(jq):
            assert insides.progress(jq).wait_for(lambda: condition(insides.counted(jq)), PATIENCE)
            return insides.counted(jq)

    def waits(self, condition: threading.Condition) -> queue.Queue[float | None]:
        """Tells of each wait on `condition` from now on: the timeout it was called with.

        It tells under the lock: who gets the lock afterwards finds the other thread waiting.
        """
        told: queue.Queue[float | None] = queue.Queue()
        wait = condition.wait

        def telling_wait(timeout: float | None = None) -> bool:
            told.put(timeout)
            return wait(timeout)

        self._monkeypatch.setattr(condition, "wait", telling_wait)
        return told

    def call(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> Future[object]:
        """Make a call in a thread of its own."""
        future: Future[object] = Future()

        def run() -> None:
            try:
                future.set_result(function(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def close(self) -> None:
        """Let all handlers go, and all queues."""
        self.gate.set()
        for jq in self._queues:
            jq.close()
