"""Other job queues under the same load: one call a job, four workers, handlers that do nothing.

Each is driven as its documentation tells, at the level of durability that its row says. It polls as
often as it can be told to. Each function returns jobs per second and is run in a process of
its own: most leave threads or settings behind. Libraries without workers get four threads that
take, count and acknowledge.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from benchmarks.loads import PAYLOAD, WORKERS, produce

TEXT = PAYLOAD.decode()
POLL_SECONDS = 0.001
SECONDS_MAX = 60.0
"""A peer that has not run its few jobs by then has lost some."""

Enqueue = Callable[[], object]
Opened = Callable[[Path, Callable[..., None]], Iterator[Enqueue]]


class Countdown:
    """A handler that tells when it has been called so many times."""

    def __init__(self, calls: int) -> None:
        self._left = calls
        self._lock = threading.Lock()  # guards `_left`
        self.done = threading.Event()

    def __call__(self, *_: object) -> None:
        with self._lock:
            self._left -= 1
            if not self._left:
                self.done.set()


def jobs_per_second(opened: Opened, directory: Path, jobs: int, producers: int) -> float:
    """Start the peer, put so many jobs through it, stop it; only the jobs are timed."""
    logging.disable(logging.WARNING)
    os.environ["TASKITO_LOG_LEVEL"] = "ERROR"
    handled = Countdown(jobs)
    with redirect_stdout(StringIO()), contextmanager(opened)(directory, handled) as enqueue:
        errors: list[Exception] = []

        def one(_number: int) -> None:
            try:
                enqueue()
            except Exception as error:
                errors.append(error)
                handled.done.set()

        start = time.perf_counter()
        produce(producers, jobs, one)
        if not handled.done.wait(SECONDS_MAX):
            raise TimeoutError(f"some of {jobs} jobs had not run after {SECONDS_MAX:.0f} s")
        if errors:
            raise errors[0]
        return jobs / (time.perf_counter() - start)


@contextmanager
def _four_threads(step: Callable[[], object]) -> Iterator[None]:
    """Workers for a library that has none: call `step` until the block ends."""
    end = threading.Event()

    def work() -> None:
        while not end.is_set():
            step()

    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for thread in threads:
            thread.join()


def _huey(huey: Any, handled: Callable[..., None]) -> Iterator[Enqueue]:
    @huey.task()  # type: ignore[untyped-decorator]  # it has no types
    def job(payload: bytes) -> None:
        handled(payload)

    consumer = huey.create_consumer(
        workers=WORKERS, periodic=False, initial_delay=POLL_SECONDS, max_delay=POLL_SECONDS
    )
    consumer.start()
    yield lambda: job(PAYLOAD)
    consumer.stop(graceful=True)


def _localqueue(
    directory: Path, handled: Callable[..., None], durability: Any
) -> Iterator[Enqueue]:
    from localqueue import SimpleQueue, Worker

    queue = SimpleQueue(str(directory / "queue.db"), durability=durability)
    workers = [Worker(queue, handled, poll_interval=0.05) for _ in range(WORKERS)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    yield lambda: queue.put(TEXT)
    for worker in workers:
        worker.stop()
    for thread in threads:
        thread.join()
    queue.close()


# ── in memory ────────────────────────────────────────────────────────────────────────────────


def huey_memory(_directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from huey import MemoryHuey

    yield from _huey(MemoryHuey(immediate=False, results=False), handled)


def queuelib_disk(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    """Pushes and pops: it is for one thread, and its buffers are lost with the process."""
    from queuelib import FifoDiskQueue

    queue = FifoDiskQueue(str(directory / "queue"))

    def enqueue() -> None:
        queue.push(PAYLOAD)
        queue.pop()
        handled()

    yield enqueue
    queue.close()


def dramatiq_stub(_directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    import dramatiq
    from dramatiq.brokers.stub import StubBroker

    broker = StubBroker()
    dramatiq.set_broker(broker)

    @dramatiq.actor  # type: ignore[untyped-decorator]  # it has no types
    def job(payload: str) -> None:
        handled(payload)

    worker = dramatiq.Worker(broker, worker_threads=WORKERS)
    worker.start()
    yield lambda: job.send(TEXT)
    worker.stop()
    broker.close()


def taskiq_memory(_directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    """Its calls are coroutines, so producers hand them to a loop in a thread, a call at a time."""
    from taskiq import InMemoryBroker

    broker = InMemoryBroker(await_inplace=False)

    @broker.task  # type: ignore[untyped-decorator]  # it is not there when types are checked
    async def job(payload: str) -> None:
        handled(payload)

    with _loop_in_thread() as call:
        call(broker.startup())
        yield lambda: call(job.kiq(TEXT))
        call(broker.shutdown())


def arq_fakeredis(_directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    """Over a Redis that is a part of this process; as above, on a loop in a thread."""
    import asyncio

    from arq import func
    from arq import worker as module
    from arq.connections import ArqRedis
    from fakeredis import FakeAsyncRedis

    async def job(_context: object, payload: str) -> None:
        handled(payload)

    async def opened() -> tuple[Any, asyncio.Future[None]]:
        worker = module.Worker(
            [func(job, name="job")],
            redis_pool=ArqRedis(FakeAsyncRedis().connection_pool),
            handle_signals=False,
            max_jobs=WORKERS,
            poll_delay=POLL_SECONDS,
            keep_result=0,
        )
        return worker, asyncio.ensure_future(worker.async_run())

    async def closed() -> None:
        await asyncio.gather(worker.close(), running, return_exceptions=True)  # both are cancelled

    module.log_redis_info = _log_nothing  # of what it asks for there, this Redis has nothing
    with _loop_in_thread() as call:
        worker, running = call(opened())
        yield lambda: call(worker.pool.enqueue_job("job", TEXT))
        call(closed())


async def _log_nothing(*_: object) -> None:
    """In place of a line of log."""


@contextmanager
def _loop_in_thread() -> Iterator[Callable[[Coroutine[Any, Any, Any]], Any]]:
    """An event loop in a thread; gives what runs a coroutine there and waits for its result."""
    import asyncio

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# ── what a killed process had accepted is still there ────────────────────────────────────────


def localqueue_relaxed(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from localqueue import DurabilityMode

    yield from _localqueue(directory, handled, DurabilityMode.RELAXED)


def litequeue(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from litequeue import LiteQueue

    path = directory / "queue.db"
    local = threading.local()  # a connection must not be shared

    def own() -> LiteQueue:
        if not hasattr(local, "queue"):
            local.queue = LiteQueue(path, timeout=60)
        queue: LiteQueue = local.queue
        return queue

    def step() -> None:
        queue = own()
        message = queue.pop()
        if message is None:
            time.sleep(POLL_SECONDS)
        else:
            handled()
            queue.done(message.message_id)

    own()
    with _four_threads(step):
        yield lambda: own().put(TEXT)


def taskito(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from taskito import Queue

    queue = Queue(
        db_path=str(directory / "queue.db"),
        workers=WORKERS,
        scheduler_poll_interval_ms=1,
        scheduler_batch_size=100,
        push_dispatch=True,
    )

    @queue.task()  # type: ignore[untyped-decorator]  # it has no types
    def job(payload: str) -> None:
        handled(payload)

    worker = threading.Thread(target=queue.run_worker, daemon=True)
    worker.start()
    yield lambda: job.delay(TEXT)
    queue._inner.request_shutdown()  # what its signal handler calls; nothing public does
    worker.join(10)


# ── what has been accepted is on the disk ────────────────────────────────────────────────────


def localqueue_durable(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from localqueue import DurabilityMode

    yield from _localqueue(directory, handled, DurabilityMode.DURABLE)


def huey_sqlite(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from huey import SqliteHuey

    path = str(directory / "queue.db")
    yield from _huey(SqliteHuey(filename=path, results=False, fsync=True), handled)


def persist_queue(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from persistqueue import Empty, SQLiteAckQueue

    queue = SQLiteAckQueue(str(directory / "queue"), multithreading=True)

    def step() -> None:
        try:
            item = queue.get(timeout=0.05)
        except Empty:
            return
        handled()
        queue.ack(item)

    with _four_threads(step):
        yield lambda: queue.put(PAYLOAD)
    queue.close()


def dura(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from dura import DurableEngine, run_worker

    engine = DurableEngine(directory / "queue.db")
    end = threading.Event()
    settings = {"handlers": {"job": handled}, "stop_event": end, "poll_interval": POLL_SECONDS}
    threads = [
        threading.Thread(
            target=run_worker, args=(engine,), kwargs={"worker_id": f"worker-{n}", **settings}
        )
        for n in range(WORKERS)
    ]
    for thread in threads:
        thread.start()
    yield lambda: engine.spawn_task(name="job", params={"payload": TEXT})
    end.set()
    for thread in threads:
        thread.join()
    engine.close()


def dbos(directory: Path, handled: Callable[..., None]) -> Iterator[Enqueue]:
    from dbos import DBOS

    DBOS(
        config={
            "name": "benchmark",
            "system_database_url": f"sqlite:///{directory / 'queue.db'}",
            "run_admin_server": False,
            "log_level": "ERROR",
        }
    )

    @DBOS.workflow()  # type: ignore[untyped-decorator]  # its types are not looked at
    def job(payload: str) -> None:
        handled(payload)

    DBOS.launch()
    queue = DBOS.register_queue("jobs", worker_concurrency=WORKERS, polling_interval_sec=0.01)
    yield lambda: queue.enqueue(job, TEXT)
    DBOS.destroy()
