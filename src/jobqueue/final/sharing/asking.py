"""How a client asks and gets its answer: by a thread that sleeps, or by a coroutine.

Whose thread: a caller's, which may be interrupted anywhere, or an event loop's; no lock.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from ..callers.room_wait import CANCEL_POLL_SECONDS
from .faults import error_of
from .messages import Answer, Failure
from .requests import Waiting

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    import msgspec

    from .calls import Call
    from .link import Link
    from .pending import Pending

    Failed = Callable[[Failure], BaseException]

_NOT_SENT = Answer(
    0,
    Failure(
        "EnqueueCancelledError",
        "the job was not accepted: the wait was cancelled, while no process ran the queue",
    ),
)
P = ParamSpec("P")
R = TypeVar("R")


class Mailbox:
    """The answers for one event loop, and what it asks: many at once cost one wake-up, one send."""

    def __init__(self, loop: asyncio.AbstractEventLoop, link: Link) -> None:
        self._loop = weakref.ref(loop)  # it has this box as long as it lives
        self._link = link
        self._answers: deque[tuple[asyncio.Future[Answer], Answer]] = deque()
        self._sends = False  # whether it is going to

    def put(self, future: asyncio.Future[Answer], answer: Answer) -> None:
        """Any thread: an answer is there."""
        self._answers.append((future, answer))
        loop = self._loop()
        # If there are others, the loop has yet to take the last of them, and takes this one then.
        if len(self._answers) == 1 and loop is not None:
            try:
                loop.call_soon_threadsafe(self._hand_out)
            except RuntimeError:  # the loop is closed: nobody waits there any more
                pass

    def _hand_out(self) -> None:
        """The loop's thread."""
        while self._answers:
            future, answer = self._answers.popleft()
            if not future.done():  # the coroutine was not cancelled meanwhile
                future.set_result(answer)

    def send_soon(self) -> None:
        """The loop's thread: send what has been asked in this turn of the loop, at its end."""
        loop = self._loop()
        if not self._sends and loop is not None:
            self._sends = True
            loop.call_soon(self._send)

    def _send(self) -> None:
        self._sends = False
        self._link.send_unsent()


class Asking:
    """Asks over one link. Thread-safe."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._boxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Mailbox] = WeakKeyDictionary()

    def call(self, call: Call[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Have a call of the table carried out."""
        return call.value_of(self.ask(call.name, call.written(*args, **kwargs)))

    async def acall(self, call: Call[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """As `call`, awaited."""
        return call.value_of(await self.aask(call.name, call.written(*args, **kwargs)))

    def ask(
        self,
        name: str,
        arguments: msgspec.Raw,
        *,
        cancel: threading.Event | None = None,
        failed: Failed = error_of,
    ) -> msgspec.Raw:
        """Ask, and wait for the answer.

        Args:
            cancel: gives up waiting for room when set.
            failed: makes the error of a failure.
        """
        waiting = Waiting()
        pending = self.link.ask(name, arguments, waiting.tell, is_led=True)
        try:
            if cancel is not None:
                self._wait_unless(waiting, pending, cancel)
            else:
                self.link.wait(waiting, None)
        except BaseException:
            # guard: a call that was interrupted waits for room no more
            self.link.forget(pending)
            raise
        assert waiting.answer is not None  # it was told
        return _value(waiting.answer, failed)

    def _wait_unless(self, waiting: Waiting, pending: Pending, cancel: threading.Event) -> None:
        while not self.link.wait(waiting, CANCEL_POLL_SECONDS):
            if cancel.is_set():
                if self.link.give_up(pending):
                    self.link.wait(waiting, None)  # the owner says which came first
                elif waiting.answer is None:
                    waiting.answer = _NOT_SENT
                return

    def wait(self, name: str, arguments: msgspec.Raw, timeout: float | None) -> msgspec.Raw | None:
        """Ask for what may take long; `None` if it is not answered in time."""
        waiting = Waiting()
        pending = self.link.ask(name, arguments, waiting.tell, is_led=True)
        try:
            is_there = self.link.wait(waiting, timeout)
        finally:
            if waiting.answer is None:
                self.link.forget(pending)
        if not is_there or waiting.answer is None:
            return None
        return _value(waiting.answer, error_of)

    async def aask(
        self, name: str, arguments: msgspec.Raw, *, failed: Failed = error_of
    ) -> msgspec.Raw:
        """Ask, and await the answer. If that is cancelled, the call waits for room no more."""
        import asyncio

        box = self._boxes.get(loop := asyncio.get_running_loop())
        if box is None:
            box = self._boxes[loop] = Mailbox(loop, self.link)
        future: asyncio.Future[Answer] = loop.create_future()
        pending = self.link.ask(
            name, arguments, lambda answer: box.put(future, answer), at_once=False
        )
        box.send_soon()
        try:
            answer = await future
        except asyncio.CancelledError:
            self.link.forget(pending)
            raise
        return _value(answer, failed)


def _value(answer: Answer, failed: Failed) -> msgspec.Raw:
    if answer.failure is not None:
        raise failed(answer.failure)
    return answer.value
