"""An adapter for each tier, so that one test can be run against all of them.

The tests use a tier through `Tier` and what its queues have in common: `metrics` and `close`.
"""

from __future__ import annotations

import queue
import tempfile
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import pytest

from jobqueue import final, improved
from jobqueue.final.testing import ManualClock
from tests.support import insides
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from tests.support.postgres import Databases

HIGH, MEDIUM, LOW = 0, 1, 2


class Metrics(Protocol):
    """The counts that all tiers give."""

    queued: int
    processing: int
    completed: int
    failed: int
    retried: int


class Queue(Protocol):
    """What the queues of all tiers can do alike; the rest is the adapter's."""

    def metrics(self) -> Any: ...
    def close(self) -> object: ...
    def __enter__(self) -> Any: ...
    def __exit__(self, *exc_info: Any) -> None: ...


class Tier(ABC):
    """One tier in one test.

    Attributes:
        ran: the names of the jobs made by `enqueue_plain` and `enqueue_failing`, as they run.
        gate: what held handlers wait for; opened at the test's end.
    """

    Config: type[Any]
    EnqueueTimeoutError: type[Exception]
    QueueClosedError: type[Exception]
    differs: ClassVar[Mapping[tuple[str, Any], Any]] = {}
    """Values of settings that this one takes and others refuse, with the default of that one."""

    def __init__(self) -> None:
        self.ran: queue.Queue[str] = queue.Queue()
        self.gate = threading.Event()
        self._queues: list[Queue] = []

    # What differs

    @abstractmethod
    def make(self, config: Any, *, manual: bool) -> Queue:
        """A queue with this config, on real time or, if `manual`, on that of `advance`."""

    @abstractmethod
    def advance(self, seconds: float) -> None:
        """Move the manual time on."""

    @abstractmethod
    def enqueue(
        self,
        jq: Any,
        name: str,
        handler: Callable[[], object],
        priority: int = MEDIUM,
        timeout: float | None = None,
    ) -> None:
        """Enqueue a job that calls `handler`."""

    @abstractmethod
    def enqueue_thing(self, jq: Any, thing: object) -> None:
        """Enqueue what may be no job."""

    # What is the same

    def open(self, *, manual: bool = False, **config: Any) -> Queue:
        """A queue that is closed at the test's end; with a manual clock, without its retries."""
        config.setdefault("shutdown_timeout", 0.0 if manual else PATIENCE)
        jq = self.make(self.config(**config), manual=manual)
        self._queues.append(jq)
        return jq

    def config(self, **fields: Any) -> Any:
        """A config with exact delays."""
        return self.Config(**fields)

    def enqueue_plain(
        self, jq: Queue, name: str, priority: int = MEDIUM, timeout: float | None = None
    ) -> None:
        """Enqueue a job that does nothing but tell that it ran."""
        self.enqueue(jq, name, partial(self.ran.put, name), priority, timeout)

    def enqueue_failing(self, jq: Queue, name: str, times: int = 1_000_000) -> None:
        """Enqueue a job that tells that it ran, and fails so many times before it succeeds."""
        left = iter(range(times))

        def fail() -> None:
            self.ran.put(name)
            if next(left, None) is not None:
                raise ConnectionError(name)

        self.enqueue(jq, name, fail)

    def hold(self, jq: Queue, workers: int = 1) -> None:
        """Keep so many workers busy until the gate opens."""
        held = threading.Semaphore(0)

        def wait() -> None:
            held.release()
            self.gate.wait()

        for n in range(workers):
            self.enqueue(jq, f"holds-{n}", wait, HIGH)
        for _ in range(workers):
            assert held.acquire(timeout=PATIENCE)

    def next_ran(self, count: int) -> list[str]:
        """The names of the jobs that run next."""
        return [self.ran.get(timeout=PATIENCE) for _ in range(count)]

    def until(self, jq: Queue, condition: Callable[[Metrics], bool]) -> None:
        """Wait until the queue's metrics are so."""
        assert eventually(lambda: condition(jq.metrics())), jq.metrics()

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


class Improved(Tier):
    Config = improved.Config
    EnqueueTimeoutError = improved.EnqueueTimeoutError
    QueueClosedError = improved.QueueClosedError

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def make(self, config: Any, *, manual: bool) -> Queue:
        if manual:
            return improved.JobQueue(config, _clock=lambda: self._now)
        return improved.JobQueue(config)

    def advance(self, seconds: float) -> None:
        self._now += seconds
        for jq in self._queues:
            assert isinstance(jq, improved.JobQueue)
            with insides.work(jq):  # workers that wait for a retry look at the clock again
                insides.work(jq).notify_all()

    def enqueue(
        self,
        jq: Any,
        name: str,
        handler: Callable[[], object],
        priority: int = MEDIUM,
        timeout: float | None = None,
    ) -> None:
        jq.enqueue(improved.Job(name, handler, improved.Priority(priority)), timeout=timeout)

    def enqueue_thing(self, jq: Any, thing: object) -> None:
        jq.enqueue(thing)


class Final(Tier):
    """The final tier in memory, with handlers that take no payload."""

    Config = final.Config
    EnqueueTimeoutError = final.EnqueueTimeoutError
    QueueClosedError = final.QueueClosedError

    def __init__(self) -> None:
        super().__init__()
        self._clock = ManualClock()

    def config(self, **fields: Any) -> Any:
        return final.Config(jitter=0.0, **fields)

    def make(self, config: Any, *, manual: bool) -> Queue:
        return final.JobQueue(config, clock=self._clock if manual else None)

    def advance(self, seconds: float) -> None:
        self._clock.advance(seconds)

    def enqueue(
        self,
        jq: Any,
        name: str,
        handler: Callable[[], object],
        priority: int = MEDIUM,
        timeout: float | None = None,
    ) -> None:
        job = final.Job(id=name, priority=final.Priority(priority))
        jq.enqueue_with_handler(job, lambda payload: handler(), timeout=timeout)

    def enqueue_thing(self, jq: Any, thing: object) -> None:
        jq.enqueue(thing)


class Shared(Final):
    """The final tier as a client has it: the owner, in this process too, runs the handlers.

    `close` is the owner's, with all that was accepted finished, and then the client's.
    """

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, Callable[[], object]] = {}
        self._directories = tempfile.TemporaryDirectory()

    def make(self, config: Any, *, manual: bool) -> Queue:
        if manual:
            pytest.skip("a shared queue has no clock that is moved by hand")
        pytest.importorskip("msgspec", reason="processes speak by it")
        number = len(self._queues)
        config = replace(config, persist_path=f"{self._directories.name}/{number}", share="auto")
        return Pair(config, lambda payload, context: self._handlers[context.job.id]())

    def enqueue(
        self,
        jq: Any,
        name: str,
        handler: Callable[[], object],
        priority: int = MEDIUM,
        timeout: float | None = None,
    ) -> None:
        self._handlers[name] = handler
        jq.client.enqueue(final.Job(id=name, priority=final.Priority(priority)), timeout=timeout)

    def enqueue_thing(self, jq: Any, thing: object) -> None:
        jq.client.enqueue(thing)

    def close(self) -> None:
        super().close()
        self._directories.cleanup()


class Postgres(Final):
    """The final tier's jobs in PostgreSQL. `close` finishes all that was accepted, as in memory."""

    server: Databases
    differs: ClassVar = {("queue_size", None): None}  # lanes may have no bound, as by default

    def __init__(self) -> None:
        super().__init__()
        self._handlers: dict[str, Callable[[], object]] = {}
        self._made: list[str] = []

    def config(self, **fields: Any) -> Any:
        from jobqueue.postgres import PostgresConfig

        return PostgresConfig("postgresql://127.0.0.1:1/not_there", jitter=0.0, **fields)

    def make(self, config: Any, *, manual: bool) -> Queue:
        if manual:
            pytest.skip("the time of a database is not moved by hand")
        self._made.append(self.server.make())
        config = replace(config, dsn=self._made[-1])
        return Drained(config.open(handler=lambda _, context: self._handlers[context.job.id]()))

    def enqueue(
        self,
        jq: Any,
        name: str,
        handler: Callable[[], object],
        priority: int = MEDIUM,
        timeout: float | None = None,
    ) -> None:
        self._handlers[name] = handler
        jq.queue.enqueue(final.Job(id=name, priority=final.Priority(priority)), timeout=timeout)

    def enqueue_thing(self, jq: Any, thing: object) -> None:
        jq.queue.enqueue(thing)

    def close(self) -> None:
        super().close()
        for dsn in self._made:
            self.server.empty(dsn)


class Drained:
    """A queue whose `close` drains, as that of one in memory does."""

    def __init__(self, queue: final.JobQueue) -> None:
        self.queue = queue

    def metrics(self) -> final.Metrics:
        return self.queue.metrics()

    def close(self) -> object:
        return self.queue.close(drain=True)

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()


class Pair:
    """The owner of a shared queue and a client of it, both in this process."""

    def __init__(self, config: final.Config, handler: Callable[..., object]) -> None:
        self.owner = final.JobQueue(config, handler=handler)
        self.client = final.JobQueue(replace(config, share="client"))

    def metrics(self) -> final.Metrics:
        return (self.owner if self.owner.closed else self.client).metrics()

    def close(self) -> object:
        report = self.owner.close(drain=True)
        self.client.close()
        return report

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: Any) -> None:
        self.close()
