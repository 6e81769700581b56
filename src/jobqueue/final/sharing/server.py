"""The owner's server: carries out the calls of the other processes of a shared queue.

One thread, with an event loop that sleeps until one of the sockets has something, or another thread
has. It is `asyncio`'s, since the awaited calls of a queue are there already (`aio/calls.py`): what
waits for room, for the log or for the end of a job is an entry in a list and no thread, so that a
thousand clients may wait. Jobs to be enqueued that come in one turn of the loop are let in together
(`arrivals.py`). Calls that would wait for the log without such an entry (`cancel`, `requeue`,
`flush`, …) run on a few threads of the server's own, a few at a time for each client.

A client that leaves, by whatever way, leaves nothing behind: what it waits for is given up, but for
what was accepted. Of the end of a job that nobody asks for any more, one empty entry stays until
the job has ended.

Guarantees: nothing that a client sends, or does not read, holds up another one or the queue. What
an owner that ends has not answered, its client repeats with the next one; so the server then
answers nothing that would not be true there.
Relies on: the queue's mutex, taken here as by any caller; never held while something is sent.
"""

from __future__ import annotations

import asyncio
import logging
import os
import selectors
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.queue_state import State
from ..errors import EnqueueCancelledError, JobQueueError, QueueClosedError
from ..life.process_hooks import watch
from . import address
from .arrivals import Arrivals
from .calls import Served
from .faults import CLOSING, failure_of
from .frames import framed
from .greeting import settings_of
from .messages import VERSION, Failure, Request, Welcome, pack
from .reception import Reception
from .visitor import Visitor
from .watches import Watches

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..config import Config
    from ..life.wiring import Parts
    from ..steering import Steering

CLIENTS_MAX = 8192
"""How many connections there are at most; further ones are closed."""
ACCEPTED_AT_ONCE = 64
READ_BYTES = 256 * 1024
LOOK_SECONDS = 5.0
"""How often the server looks for clients that do not go on."""
HELPERS = 4
"""Threads for calls that wait for the log."""
FAREWELL_SECONDS = 0.2
"""How long the last answers may take to leave."""
NO_DESCRIPTOR_SECONDS = 0.5
"""After which a connection is accepted again, if the process had no file descriptor for it."""


class Server:
    """Serves one queue's clients, from being made until the queue stops its threads.

    Args:
        directory: the log's, absolute.
        takes_jobs: whether clients may enqueue.

    Raises:
        OSError: it cannot listen.
    """

    is_over = True  # to the interpreter's exit: the queue is closed there, and that stops this

    def __init__(
        self, desk: Steering, parts: Parts, config: Config, directory: str, *, takes_jobs: bool
    ) -> None:
        self.pid = os.getpid()
        self.buffer = memoryview(bytearray(READ_BYTES))
        self._parts = parts
        self._directory = directory
        self._settings = settings_of(config)
        self._takes_jobs = takes_jobs
        self._state = parts.state
        self._visitors: set[Visitor] = set()
        self._has_left = asyncio.Event()
        self._helpers = ThreadPoolExecutor(HELPERS, thread_name_prefix="jobqueue-share")
        self._listener = address.listen(directory)
        self._selector = selectors.DefaultSelector()
        self._loop = asyncio.SelectorEventLoop(self._selector)
        self._loop.set_exception_handler(self._report_fault)
        served = Served(desk, parts.queries, parts.schedules)
        watches = Watches(served, self._loop.call_soon_threadsafe)
        self._reception = Reception(self, served, Arrivals(desk, parts), watches)
        self._thread = threading.Thread(target=self._run, name="jobqueue-share", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._release()
            raise
        watch(self)
        parts.life.at_end.append(self.stop)

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def stop(self) -> None:
        """Listen no more, and end the thread; the clients look for the next owner."""
        if self._thread.ident is None or threading.current_thread() is self._thread:
            return
        try:
            self._loop.call_soon_threadsafe(self._loop.stop)
        except RuntimeError:  # it has ended already
            pass
        self._thread.join(2 * FAREWELL_SECONDS + 1.0)

    def forked(self) -> None:
        """This is a forked child: the clients are the parent's, and are to see its end."""
        # guard: a forked child keeps no connection of its parent open
        for sock in (self._listener, *(each.sock for each in self._visitors)):
            if sock.fileno() >= 0:
                os.close(sock.detach())
        self._selector.close()

    def close_aside(self, timeout: float | None, *, drain: bool | None) -> None:
        """See `Lifecycle.close_aside`: the queue's close does it."""

    def give_up(self) -> None:
        """See `Lifecycle.give_up`: there is nothing that it waits for."""

    def holds_log(self, directory: str) -> bool:
        """Whether it has this log open: the queue has."""
        del directory
        return False

    # ── its own thread ───────────────────────────────────────────────────────────────────────

    def now(self) -> float:
        """Monotonic time in seconds."""
        return self._loop.time()

    @property
    def is_ending(self) -> bool:
        """Whether the queue takes no more jobs since it closes."""
        return self._state.now >= State.CLOSING

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.add_reader(self._listener.fileno(), self._accept)
            self._loop.call_later(LOOK_SECONDS, self._look_around)
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._say_farewell())
            self._release()

    def _release(self) -> None:
        self._helpers.shutdown(wait=False, cancel_futures=True)
        self._listener.close()
        self._loop.close()

    async def _say_farewell(self) -> None:
        """Let the last answers leave, and end all connections."""
        self._loop.remove_reader(self._listener.fileno())
        self._listener.close()
        address.remove(self._directory)
        for visitor in list(self._visitors):
            visitor.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                while self._visitors:
                    self._has_left.clear()
                    await self._has_left.wait()
        for visitor in list(self._visitors):
            visitor.send_away()
        tasks = asyncio.all_tasks(self._loop) - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # no file descriptor is left: not asked again at once
                self._report(logging.WARNING, f"a client of the queue has to wait: {error}", error)
                self._loop.remove_reader(self._listener.fileno())
                self._loop.call_later(NO_DESCRIPTOR_SECONDS, self._accept_again)
                return
            # guard: another user's process is refused
            if not (self._is_own_user(sock) and len(self._visitors) < CLIENTS_MAX):
                sock.close()
                continue
            self._admit(sock)

    def _accept_again(self) -> None:
        self._loop.add_reader(self._listener.fileno(), self._accept)

    @staticmethod
    def _is_own_user(sock: socket.socket) -> bool:
        try:
            return address.peer_of(sock).uid == os.geteuid()
        except OSError:  # it is gone already
            return False

    def _admit(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        visitor = Visitor(self, sock)
        self._visitors.add(visitor)
        self._loop.create_task(self._connect(visitor))

    async def _connect(self, visitor: Visitor) -> None:
        try:
            await self._loop.connect_accepted_socket(lambda: visitor, visitor.sock)
        except OSError:  # it is gone already
            self._visitors.discard(visitor)
            visitor.sock.close()

    def _look_around(self) -> None:
        """Send away the clients that do not go on."""
        now = self.now()
        # guard: who leaves a message half sent is not waited for without end
        for visitor in [each for each in self._visitors if each.is_stalled(now)]:
            visitor.send_away()
        self._loop.call_later(LOOK_SECONDS, self._look_around)

    # What visitors call.

    def came(self, visitor: Visitor) -> None:
        """A client has said who it is."""
        welcome = Welcome(VERSION, self.pid, self._settings, self._takes_jobs)
        visitor.write(framed(pack(welcome)))

    def take(self, visitor: Visitor, request: Request) -> None:
        """A client calls."""
        self._reception.take(visitor, request)

    def come_to_rest(self) -> None:
        """All has been read that one client has sent so far."""
        self._reception.come_to_rest()

    def left(self, visitor: Visitor) -> None:
        """A connection has ended: give up what its client waits for."""
        self._visitors.discard(visitor)
        self._has_left.set()
        # guard: a client that is gone waits for nothing
        for number in list(visitor.under_way):
            self._reception.give_up(visitor, number)
        visitor.under_way.clear()

    # What the reception calls.

    @property
    def takes_jobs(self) -> bool:
        """Whether clients may enqueue."""
        return self._takes_jobs

    def soon(self, function: Callable[[], None]) -> None:
        """Have a function called once all that has come has been read."""
        self._loop.call_soon(function)

    def start(self, visitor: Visitor, number: int, awaited: Awaitable[msgspec.Raw]) -> None:
        """Answer a call once something awaited is there."""
        visitor.under_way[number] = self._loop.create_task(self._answer(visitor, number, awaited))

    def in_helper(self, function: Callable[[], msgspec.Raw]) -> Awaitable[msgspec.Raw]:
        """Have one of the server's threads call a function."""
        return self._loop.run_in_executor(self._helpers, function)

    async def _answer(self, visitor: Visitor, number: int, awaited: Awaitable[msgspec.Raw]) -> None:
        try:
            value = await awaited
        except asyncio.CancelledError:
            self._gave_up(visitor, number)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the caller's to see
            self.fail(visitor, number, error)
        else:
            visitor.answer(number, value)
        visitor.under_way.pop(number, None)
        visitor.look_at_load()

    def _gave_up(self, visitor: Visitor, number: int) -> None:
        """Answer a call that waits no more: its client asked for that, or is gone."""
        error: Exception = EnqueueCancelledError("the call was cancelled as it waited")
        if self.is_ending:
            error = self._state.closed_error()
        self.fail(visitor, number, error)

    def fail(self, visitor: Visitor, number: int, error: BaseException) -> None:
        """Answer with an error; one that only tells that this owner ends is not the caller's."""
        # guard: a queue that closes is not told as closed to clients
        if self.is_ending and isinstance(error, QueueClosedError):
            visitor.fail(number, Failure(CLOSING, str(error)))
        else:
            visitor.fail(number, failure_of(error))

    def _report(self, level: int, message: str, error: BaseException | None = None) -> None:
        self._parts.placement.reporter.report(level, message, error)

    def _report_fault(self, _: object, context: dict[str, Any]) -> None:
        """The loop met an error that nobody took."""
        error = context.get("exception")
        if isinstance(error, (OSError, JobQueueError)):  # a connection broke
            return
        message = f"the queue's server met an error: {context.get('message')}"
        self._report(logging.ERROR, message, error)
