"""The connections of one queue: a pool, and one that listens. It is the engine's `Driver`.

What is lost comes back by itself: the pool makes new connections, and the listener is tried again
until the queue is closed. Then whoever waits for notices is told to look, for some were missed.

Whose thread: the queue's loop alone; no lock.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import asyncpg
from pgqueuer.core.tm import TaskManager

from . import schema
from .errors import AGAIN, LOST, NotConnectedError, opened

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..final.engine import Reporter
    from .config import PostgresConfig

    Use = Callable[[asyncpg.Connection[Any]], Awaitable[Any]]

_ENGINE = schema.settings().channel
AGAIN_SECONDS_MAX = 1.0
ANSWER_SECONDS, ANSWER_SECONDS_MIN = 10.0, 0.5
"""After which a connection that does not answer is given up; at the least, if somebody waits."""


class Link:
    """What a queue reaches its database by.

    Attributes:
        connected: whether the listener has its connection.
        reconnects: how often it got it back.
        closed: set when nothing is to be tried any more.
    """

    def __init__(self, config: PostgresConfig, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._callbacks: dict[str, list[Callable[[str], object]]] = {}
        self._on_return: list[Callable[[], object]] = []
        self._again: asyncio.Task[None] | None = None
        self._listener: asyncpg.Connection[Any] | None = None
        self._is_asked = asyncio.Lock()  # held while the listener is: it does one thing at a time
        self.connected = False
        self.reconnects = 0
        self.closed = asyncio.Event()
        self.shutdown = asyncio.Event()  # the engine's; nobody sets it
        self.tm = TaskManager()

    async def open(self) -> None:
        """Connect.

        Raises:
            NotConnectedError, SchemaError, ConfigError: what is wrong, and what to do.
        """
        config = self._config
        with opened(config.dsn):
            self._pool = await asyncpg.create_pool(
                config.dsn,
                min_size=0,  # else it logs each vain try to have one, while the server is gone
                max_size=config.pool_size,
                reset=_keep,
                command_timeout=60.0,
                timeout=ANSWER_SECONDS,
                server_settings={"application_name": "jobqueue"},
            )
            try:
                async with self._pool.acquire() as connection:
                    await schema.check(connection)
                await self._listen()
            except BaseException:
                self._pool.terminate()
                raise

    async def close(self) -> None:
        """Let go of all connections."""
        self.closed.set()
        if self._again is not None:
            self._again.cancel()
        for each in (self._listener, self._pool):
            if each is not None:
                each.terminate()

    # ── calls ────────────────────────────────────────────────────────────────────────────────

    def connection(self) -> Any:
        """Within this there is a connection; entering it may raise one of `errors.LOST`."""
        return self._pool.acquire()

    async def once(self, use: Use, held: list[Any] | None = None) -> Any:
        """Do something with a connection; raises `errors.LOST` if that is gone.

        Args:
            held: gets the connection.
        """
        async with self._pool.acquire() as connection:
            if held is not None:
                held.append(connection)
            try:
                return await use(connection)
            except (asyncpg.DataError, asyncpg.CharacterNotInRepertoireError) as error:
                raise ValueError(f"PostgreSQL cannot hold a value: {error}") from None

    async def answered(self, use: Use) -> Any:
        """The same, for who cannot wait until the network gives a dead connection up.

        What takes long is waited for as long as the database answers others.

        Raises:
            TimeoutError: it has not answered for `connect_timeout`; or another of `errors.LOST`.
        """
        held: list[Any] = []
        task = asyncio.get_running_loop().create_task(self.once(use, held))
        task.add_done_callback(_seen)  # whoever is cancelled does not ask how it has ended
        seconds = max(self._config.connect_timeout / 2, ANSWER_SECONDS_MIN)
        try:
            while not task.done():
                done, _ = await asyncio.wait({task}, timeout=seconds)
                if not done and not await self.check(seconds) and not task.done():
                    raise TimeoutError
            return task.result()
        finally:
            if not task.done():
                for connection in held:  # else it asks the server to stop, and waits for that
                    connection.terminate()
                task.cancel()

    async def for_caller(self, use: Use, *, again: Use | None = None) -> Any:
        """Do something, and try it again for `connect_timeout` while the connection is gone.

        Args:
            again: what to do in its place once it may have been done.

        Raises:
            NotConnectedError: it did not come back in time.
        """
        loop, patience = asyncio.get_running_loop(), self._config.connect_timeout
        deadline, delay = loop.time() + patience, 0.02
        while True:
            try:
                return await self.answered(use)
            except AGAIN as error:
                use = use if again is None else again
                if loop.time() + delay > deadline or self.closed.is_set():
                    raise self._gave_up(error) from None
            await asyncio.sleep(delay)
            delay = min(2 * delay, AGAIN_SECONDS_MAX)

    def _gave_up(self, error: BaseException) -> NotConnectedError:
        where, seconds = self._config.where, self._config.connect_timeout
        if not isinstance(error, LOST):
            return NotConnectedError(
                f"the database {where} has refused the call for {seconds:g} s: {error}"
            )
        return NotConnectedError(
            f"the database {where} could not be reached for {seconds:g} s "
            f"({type(error).__name__}); the call may have been carried out: look by the job's id"
        )

    async def until_done(self, use: Use, *, again: Use | None = None) -> Any:
        """Do something, and try it again until the queue is closed; `None` if that comes first."""
        delay = 0.02
        while not self.closed.is_set():
            try:
                return await self.answered(use)
            except AGAIN:
                use = use if again is None else again
            await self.pause(delay)
            delay = min(2 * delay, AGAIN_SECONDS_MAX)
        return None

    async def pause(self, seconds: float) -> None:
        """Sleep, but not beyond the end."""
        try:
            await asyncio.wait_for(self.closed.wait(), seconds)
        except TimeoutError:
            pass

    # ── what the engine asks of its driver ───────────────────────────────────────────────────

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Rows."""
        rows = await self.answered(lambda connection: connection.fetch(query, *args))
        return [dict(row) for row in rows]

    async def execute(self, query: str, *args: object) -> str:
        """A statement without rows."""
        done: str = await self.answered(lambda connection: connection.execute(query, *args))
        return done

    async def notify(self, channel: str, payload: str) -> None:
        """A notice to all who listen."""
        await self._pool.execute("SELECT pg_notify($1, $2)", channel, payload)

    async def add_listener(self, channel: str, callback: Callable[[Any], object]) -> None:
        """Have `callback(payload)` called for each notice from now on.

        Those of the engine's own channel are not asked for: it tells each process of each change.
        What it needs to know it is told by `tell`.
        """
        known = self._callbacks.setdefault(channel, [])
        known.append(callback)
        if channel == _ENGINE or len(known) > 1:
            return
        async with self._is_asked:
            listener = self._listener
            if listener is None:  # it is added when the connection is back
                return
            try:
                await self._hear(listener, channel)
            except LOST:
                listener.terminate()
                self._lost()

    async def __aenter__(self) -> Link:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    # ── the connection that listens ──────────────────────────────────────────────────────────

    def on_return(self, function: Callable[[], object]) -> None:
        """Have it called when the connection is back: notices were missed."""
        self._on_return.append(function)

    def _told(self, _connection: object, _pid: object, channel: str, payload: str) -> None:
        self.tell(channel, payload)

    def tell(self, channel: str, payload: str) -> None:
        """Call what listens there."""
        for callback in self._callbacks.get(channel, ()):
            callback(payload)

    async def _listen(self) -> None:
        listener = await asyncpg.connect(
            self._config.dsn,
            timeout=ANSWER_SECONDS,
            server_settings={"application_name": "jobqueue listens"},
        )
        try:
            listener.add_termination_listener(lambda _: self._lost())
            async with self._is_asked:  # so that no channel is added between these and the next
                for channel in self._callbacks.keys() - {_ENGINE}:
                    await self._hear(listener, channel)
                self._listener, self.connected = listener, True
        except BaseException:
            listener.terminate()
            raise

    async def _hear(self, listener: asyncpg.Connection[Any], channel: str) -> None:
        """Have it listen there; a connection that does not answer raises `TimeoutError`."""
        await asyncio.wait_for(listener.add_listener(channel, self._told), ANSWER_SECONDS)

    def _lost(self) -> None:
        """The listener's connection is gone."""
        if self.closed.is_set() or (self._again is not None and not self._again.done()):
            return
        self._listener, self.connected = None, False
        self._reporter.report(
            logging.WARNING, f"the connection to {self._config.where} is lost; it is tried again"
        )
        self._again = asyncio.get_running_loop().create_task(self._listen_again())

    async def _listen_again(self) -> None:
        delay = 0.02
        while not self.closed.is_set():
            await self.pause(delay)
            try:
                await self._listen()
            except (*LOST, asyncpg.PostgresError):  # also one that just starts
                delay = min(2 * delay, AGAIN_SECONDS_MAX)
                continue
            self.reconnects += 1
            self._reporter.report(
                logging.INFO, f"the connection to {self._config.where} is there again"
            )
            for function in self._on_return:
                function()
            return

    async def check(self, seconds: float = ANSWER_SECONDS) -> bool:
        """Whether the listener still has its connection: a dead one may say nothing."""
        async with self._is_asked:
            listener = self._listener
            if listener is None:
                return False
            try:
                await asyncio.wait_for(listener.execute("SELECT 1"), seconds)
            except LOST:
                listener.terminate()
                self._lost()
                return False
            return True


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


async def _keep(connection: object) -> None:
    """In place of the pool's reset, which is a round trip each time; nothing is set here."""
    del connection
