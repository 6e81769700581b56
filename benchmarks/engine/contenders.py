"""The queues, each used as its documentation tells.

All have four slots a worker process, and handlers that are plain functions, which run in threads.
Imports are inside: a process loads what it measures.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from .notes import FILE, Notebook, note
from .producers import Blocking, OnALoop, Producer, Sender

SLOTS = 4
_NAME = "note"


@dataclass(frozen=True)
class Place:
    """Where jobs are kept.

    Attributes:
        dsn: of the database, which is this contender's alone.
        redis: the socket of a Redis; "" if none can be had.
    """

    dsn: str
    redis: str = ""


@dataclass(frozen=True)
class Contender:
    """One queue.

    Attributes:
        install: makes its tables, once.
        produce: opens what a process enqueues with.
        work: runs jobs until the process is killed; it is told a time in seconds after which a
            silent worker is to count as dead (`None`: the library's own default), and calls the
            function that it is given when it is about to begin.
        on_postgres: whether the server's processor time tells what it costs.
        share: of the jobs that others are given, so that its turns do not last for minutes.
    """

    install: Callable[[Place], None]
    produce: Callable[[Place], AbstractContextManager[Producer]]
    work: Callable[[Place, float | None, Callable[[], None]], None]
    on_postgres: bool = True
    share: float = 1.0


def _book() -> Notebook:
    return Notebook(os.environ[FILE])


# ── this project's, on PgQueuer ──────────────────────────────────────────────────────────────


def _ours_install(place: Place) -> None:
    from jobqueue.postgres import schema

    schema.install(place.dsn)


@contextmanager
def _ours_produce(place: Place) -> Iterator[Producer]:
    from jobqueue import Job
    from jobqueue.postgres import PostgresConfig

    def job(text: str) -> Job:
        return Job(text.encode(), handler=_NAME)

    with PostgresConfig(place.dsn).open({_NAME: note}, start=False) as queue:
        yield Blocking(
            lambda text: queue.enqueue(job(text)),
            lambda texts: queue.enqueue_many(map(job, texts)),
        )


def _ours_work(place: Place, dead_after: float | None, begin: Callable[[], None]) -> None:
    from jobqueue.postgres import PostgresConfig

    book = _book()
    config = PostgresConfig(place.dsn, num_workers=SLOTS)
    if dead_after is not None:
        config = replace(config, heartbeat_timeout=dead_after)
    with config.open({_NAME: lambda payload: book.note(payload.decode())}):
        begin()
        threading.Event().wait()


# ── PgQueuer ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _PgQueuerSender:
    queries: Any

    async def send(self, text: str) -> None:
        await self.queries.enqueue(_NAME, text.encode())

    async def send_many(self, texts: Sequence[str]) -> None:
        count = len(texts)
        await self.queries.enqueue([_NAME] * count, [t.encode() for t in texts], [0] * count)


@asynccontextmanager
async def _pgqueuer_sender(place: Place) -> AsyncIterator[Sender]:
    import asyncpg
    from pgqueuer.queries import Queries

    connection = await asyncpg.connect(place.dsn)
    try:
        yield _PgQueuerSender(Queries.from_asyncpg_connection(connection))
    finally:
        await connection.close()


def _pgqueuer_install(place: Place) -> None:
    async def install() -> None:
        async with _pgqueuer_sender(place) as sender:
            assert isinstance(sender, _PgQueuerSender)
            await sender.queries.install()

    asyncio.run(install())


def _pgqueuer_produce(place: Place) -> AbstractContextManager[Producer]:
    return OnALoop(lambda: _pgqueuer_sender(place))


def _pgqueuer_work(batch: int) -> Callable[[Place, float | None, Callable[[], None]], None]:
    def work(place: Place, dead_after: float | None, begin: Callable[[], None]) -> None:
        async def run() -> None:
            import asyncpg
            from pgqueuer import PgQueuer
            from pgqueuer.db import AsyncpgDriver

            engine = PgQueuer(AsyncpgDriver(await asyncpg.connect(place.dsn)))
            book = _book()

            @engine.entrypoint(_NAME)
            async def handler(job: Any) -> None:
                await asyncio.to_thread(book.note, job.payload.decode())

            begin()
            given: dict[str, Any] = {}
            if dead_after is not None:
                # Who waits looks for dead workers when it wakes up: at the latest after this.
                span = timedelta(seconds=dead_after)
                given = {"heartbeat_timeout": span, "dequeue_timeout": span / 2}
            await engine.run(batch_size=batch, **given)

        asyncio.run(run())

    return work


# ── Procrastinate ────────────────────────────────────────────────────────────────────────────


def _procrastinate_app(place: Place, *, blocking: bool) -> Any:
    from procrastinate import App, PsycopgConnector, SyncPsycopgConnector

    connector = SyncPsycopgConnector if blocking else PsycopgConnector
    app = App(connector=connector(conninfo=place.dsn))
    app.task(name=_NAME)(note)
    return app


def _procrastinate_install(place: Place) -> None:
    with _procrastinate_app(place, blocking=True).open() as app:
        app.schema_manager.apply_schema()


@contextmanager
def _procrastinate_produce(place: Place) -> Iterator[Producer]:
    with _procrastinate_app(place, blocking=True).open() as app:
        task = app.tasks[_NAME]
        yield Blocking(
            lambda text: task.defer(text=text),
            lambda texts: task.batch_defer(*({"text": text} for text in texts)),
        )


def _procrastinate_work(place: Place, dead_after: float | None, begin: Callable[[], None]) -> None:
    app = _procrastinate_app(place, blocking=False)
    given: dict[str, Any] = {}
    if dead_after is not None:
        given = {"update_heartbeat_interval": dead_after / 2, "stalled_worker_timeout": dead_after}

        # What its documentation has users write: a periodic task that looks for stalled jobs.
        @app.periodic(cron="* * * * * *")  # type: ignore[untyped-decorator]  # an `Any`
        @app.task(queueing_lock="retry", pass_context=True)  # type: ignore[untyped-decorator]
        async def retry_stalled(context: Any, timestamp: int) -> None:
            del context, timestamp
            stalled = await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=dead_after)
            for job in stalled:
                await app.job_manager.retry_job(job)

    begin()
    app.run_worker(concurrency=SLOTS, install_signal_handlers=False, **given)


# ── Chancy ───────────────────────────────────────────────────────────────────────────────────


def _chancy(place: Place, dead_after: float | None = None) -> Any:
    from chancy import Chancy

    plugins: list[Any] = []
    if dead_after is not None:
        from chancy.plugins.leadership import Leadership
        from chancy.plugins.recovery import Recovery

        plugins = [
            Leadership(poll_interval=1, timeout=round(dead_after)),
            Recovery(poll_interval=1),
        ]
    return Chancy(place.dsn, plugins=plugins, log=_silent())


def _silent() -> Any:
    import logging

    logger = logging.getLogger("bench.chancy")
    logger.setLevel(logging.CRITICAL)
    return logger


def _chancy_install(place: Place) -> None:
    async def install() -> None:
        from chancy import Chancy, Queue

        async with _chancy(place) as chancy:
            await chancy.migrate()
            await chancy.declare(
                Queue(
                    "default",
                    concurrency=SLOTS,
                    executor=Chancy.Executor.Threaded,
                    eager_polling=True,
                )
            )

    asyncio.run(install())


@contextmanager
def _chancy_produce(place: Place) -> Iterator[Producer]:
    from chancy.job import Job

    def job(text: str) -> Any:
        return Job.from_func(note, kwargs={"text": text})

    with _chancy(place) as chancy:
        yield Blocking(
            lambda text: chancy.sync_push(job(text)),
            lambda texts: list(chancy.sync_push_many(list(map(job, texts)))),
        )


def _chancy_work(place: Place, dead_after: float | None, begin: Callable[[], None]) -> None:
    async def run() -> None:
        from chancy import Worker

        given: dict[str, Any] = {}
        if dead_after is not None:
            whole = round(dead_after)
            given = {"heartbeat_poll_interval": 1, "heartbeat_timeout": whole}
        async with (
            _chancy(place, dead_after) as chancy,
            Worker(chancy, register_signal_handlers=False, **given) as worker,
        ):
            begin()
            await worker.wait_for_shutdown()

    asyncio.run(run())


# ── Celery ───────────────────────────────────────────────────────────────────────────────────


def _celery(broker: str, dead_after: float | None = None) -> Any:
    from celery import Celery

    app = Celery("bench", broker=broker)
    app.conf.update(
        task_ignore_result=True,
        task_acks_late=True,  # as its documentation tells: else a kill loses what runs
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    if dead_after is not None and broker.startswith("redis"):
        app.conf.broker_transport_options = {
            "visibility_timeout": dead_after,
            "unacked_restore_interval": 1,
            "unacked_restore_throttle": 1,
        }
    app.task(name=_NAME)(note)
    return app


def _redis_broker(place: Place) -> str:
    return f"redis+socket://{place.redis}"


def _postgres_broker(place: Place) -> str:
    return "sqla+" + place.dsn.replace("postgresql:", "postgresql+psycopg:", 1)


def _celery_on(broker: Callable[[Place], str], *, on_postgres: bool) -> Contender:
    def install(place: Place) -> None:
        with _celery(broker(place)).connection_for_write() as connection:
            connection.default_channel.queue_declare("celery")

    @contextmanager
    def produce(place: Place) -> Iterator[Producer]:
        app = _celery(broker(place))
        task = app.tasks[_NAME]

        def many(texts: Sequence[str]) -> None:
            with app.producer_pool.acquire(block=True) as producer:
                for text in texts:
                    task.apply_async((text,), producer=producer)

        with app:
            yield Blocking(task.delay, many)

    def work(place: Place, dead_after: float | None, begin: Callable[[], None]) -> None:
        app = _celery(broker(place), dead_after)
        begin()
        app.worker_main(
            ["--quiet", "worker", "--pool=threads", f"--concurrency={SLOTS}", "--loglevel=ERROR"]
        )

    return Contender(install, produce, work, on_postgres, share=0.2 if on_postgres else 1.0)


OURS = "jobqueue.postgres"
PLAIN = "PgQueuer"
CONTENDERS = {
    OURS: Contender(_ours_install, _ours_produce, _ours_work),
    PLAIN: Contender(_pgqueuer_install, _pgqueuer_produce, _pgqueuer_work(SLOTS)),
    "Procrastinate": Contender(_procrastinate_install, _procrastinate_produce, _procrastinate_work),
    "Chancy": Contender(_chancy_install, _chancy_produce, _chancy_work),
    "Celery, same PostgreSQL": _celery_on(_postgres_broker, on_postgres=True),
    "Celery, Redis": _celery_on(_redis_broker, on_postgres=False),
}
