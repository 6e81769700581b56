"""The calls of a client that are not answered yet, and how its threads get their answers.

A call is a request that is kept until it is answered. Of the threads that wait for answers one
leads: it reads them all, and hands each to who waits for it. When it has its own it passes the lead
on. So a thread that asks alone is woken by the owner itself and by no other thread, which would
take as long as the whole call does. A thread of the link's own (`link.py`) leads for those that do
not wait, coroutines and callbacks.

Guarantees: `ask` never blocks: what the owner does not take at once is kept, and sent by the link's
thread. Each request is answered once, if by nothing else by the link's end.
Relies on: a leader may be interrupted anywhere by an exception from outside. What it has read may
be lost then, so the connection is given up, and all is asked again.
Whose thread: callers', and the link's. `_lock` guards the requests, the connection and who leads;
it is never held while a thread sleeps, nor while somebody is told an answer.
"""

from __future__ import annotations

import math
import select
import socket
import threading
from typing import TYPE_CHECKING

import msgspec

from ..errors import QueueClosedError
from ..runtime.clock import SystemClock
from ..runtime.parking import Parker
from .faults import CLOSING
from .frames import FrameError, Splitter, framed
from .greeting import READ_BYTES
from .messages import GIVE_UP, Answer, Request, pack, read_answer
from .pending import Pending

if TYPE_CHECKING:
    from collections.abc import Callable


LEFT_SECONDS = 0.1
"""How soon a leader looks again if the owner has left calls to the next one."""


class Waiting:
    """A thread that waits for one answer."""

    __slots__ = ("_parker", "answer", "park", "wake")

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self._parker = Parker()
        self.park = self._parker.park
        self.wake = self._parker.unpark

    def tell(self, answer: Answer) -> None:
        """Any thread: here it is."""
        self.answer = answer
        self.wake()


class Requests:
    """The requests of one client, and its connection. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # what it guards is told above
        self._pending: dict[int, Pending] = {}
        self._numbers = 0
        self._socket: socket.socket | None = None  # set once the owner has greeted
        self._splitter = Splitter()
        self._unsent = bytearray()
        self._is_broken = False  # whether the connection is to be given up
        self._leader: int | None = None  # the thread that reads, and alone has `_splitter`
        self._sleepers: dict[Waiting, None] = {}  # they wait for an answer, or to lead
        self._unled = 0  # requests that no thread waits for
        self._lead_poll = select.poll()  # the leader's
        self._has_left = False  # whether an owner that closes has left calls
        self._why = "no process has the queue's log open"
        self._ended: str | None = None
        self._is_forked = False
        self._sleeper, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    # ── callers' threads ─────────────────────────────────────────────────────────────────────

    def ask(
        self,
        call: str,
        arguments: msgspec.Raw,
        tell: Callable[[Answer], object],
        *,
        is_led: bool = False,
        at_once: bool = True,
    ) -> Pending:
        """Send a request, now or once there is an owner. Does not wait.

        Args:
            is_led: whether the calling thread is going to `wait` for the answer.
            at_once: `False` if the caller sees to it that `send_unsent` is called soon.

        Raises:
            QueueClosedError: the link is closed, or the parent process's.
            ValueError: the request is too large.
        """
        now = SystemClock.monotonic()
        if self._is_forked:
            raise self._closed()
        with self._lock:
            # guard: a client that is closed asks nothing more
            if self._ended is not None:
                raise self._closed()
            self._numbers += 1
            pending = Pending(self._numbers, call, arguments, tell, now, is_led=is_led)
            frame = pending.frame()
            self._pending[pending.number] = pending
            self._unled += not is_led
            is_sent = self._socket is not None
            if is_sent:
                pending.sent = True  # guard: what was sent is marked when it is sent again
                if at_once:
                    self._write(frame)
                else:
                    self._unsent += frame
            is_first = self._unled == 1 and not is_led
        if is_first or not is_sent:
            self.wake()
        return pending

    def wait(self, waiting: Waiting, seconds: float | None) -> bool:
        """Sleep until there is an answer, and read meanwhile for all; whether there is one."""
        try:
            return self._wait(waiting, seconds)
        finally:
            # guard: who leaves passes the lead on
            self._leave_lead(waiting)

    def _wait(self, waiting: Waiting, seconds: float | None) -> bool:
        deadline = None if seconds is None else SystemClock.monotonic() + seconds
        while waiting.answer is None:
            left = None if deadline is None else deadline - SystemClock.monotonic()
            if left is not None and left <= 0:
                return False
            if self._take_lead(waiting):
                # The leader before may have read its answer since the last look.
                if waiting.answer is None:
                    self._lead(left)
                self._leave_lead(waiting)
            elif waiting.answer is None:
                waiting.park(left)
        return True

    def _take_lead(self, waiting: Waiting | None) -> bool:
        """Become the thread that reads; if that cannot be, `waiting` is woken when it may."""
        with self._lock:
            if self._leader is None and self._socket is not None and not self._is_broken:
                self._leader = threading.get_ident()
                return True
            if waiting is not None:
                self._sleepers[waiting] = None
            return False

    def _leave_lead(self, waiting: Waiting | None) -> None:
        """Lead no more, if this thread does; have another one lead, if there is none."""
        with self._lock:
            if waiting is not None:
                self._sleepers.pop(waiting, None)
            if self._leader == threading.get_ident():
                self._leader = None
            if self._leader is None and self._sleepers:
                next(iter(self._sleepers)).wake()
            elif self._leader is None and self._unled:
                self.wake()

    def _lead(self, seconds: float | None) -> None:
        """Read what comes next; only by the leader."""
        sock, is_whole = self._socket, False
        if self._has_left:  # the link's thread may answer, too, that there is no owner
            seconds = min(LEFT_SECONDS, math.inf if seconds is None else seconds)
        try:
            if sock is None:
                pass
            elif seconds is not None and not self._lead_poll.poll(max(1.0, 1000 * seconds)):
                is_whole = True
            else:
                is_whole = self._read(sock, 0)
        finally:
            # guard: a connection whose reader was hit is not read any further
            if not is_whole:
                self._is_broken = True
                self.wake()

    def give_up(self, pending: Pending) -> bool:
        """Tell that a caller waits for room, or for an end, no more.

        Returns:
            Whether an answer is still to come.
        """
        with self._lock:
            if self._pending.get(pending.number) is not pending:
                return False
            if not pending.sent or self._socket is None:
                # guard: what was not sent is not sent after it was given up
                self._pop(pending.number)
                return False
            number = msgspec.Raw(pack((pending.number,)))
            self._write(framed(pack(Request(0, GIVE_UP, False, number))))
            return True

    def forget(self, pending: Pending) -> None:
        """Give up a request whose answer nobody needs."""
        self.give_up(pending)
        with self._lock:
            self._pop(pending.number)

    def _pop(self, number: int) -> Pending | None:
        """With the lock: the request is not to be answered any more."""
        pending = self._pending.pop(number, None)
        if pending is not None:
            self._unled -= not pending.is_led
        return pending

    def _write(self, data: bytes) -> None:
        """With the lock: send, or keep what the owner does not take at once."""
        if not self._unsent and self._socket is not None:
            try:
                sent = self._socket.send(data, socket.MSG_DONTWAIT)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # it is gone: the thread reads that, and all is sent to the next one
                return
            if sent == len(data):
                return
            data = data[sent:]
        self._unsent += data
        self.wake()

    def send_unsent(self, *, wakes: bool = True) -> None:
        """Send what the owner takes at once of what is left to be sent.

        Args:
            wakes: whether to wake the link's thread for the rest.
        """
        with self._lock:
            if self._socket is None:
                return  # all is sent again once there is an owner
            try:
                sent = self._socket.send(self._unsent, socket.MSG_DONTWAIT) if self._unsent else 0
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:  # it is gone: that is read next
                sent = len(self._unsent)
            del self._unsent[:sent]
            is_left = bool(self._unsent)
        if is_left and wakes:
            self.wake()  # for the link's thread, which goes on when the owner takes more

    def wake(self) -> None:
        """Have the thread look. Any thread; takes no lock, so a finalizer may call it."""
        try:
            self._waker.send(b"\0")
        except OSError:  # it is full, so the thread will wake anyway; or the link has ended
            pass

    @property
    def is_closed(self) -> bool:
        """Whether it asks nothing any more."""
        return self._ended is not None or self._is_forked

    def _closed(self) -> QueueClosedError:
        if self._is_forked:
            return QueueClosedError(
                "this queue belongs to the parent process; make one of your own after the fork"
            )
        return QueueClosedError(self._ended or "")

    # ── the leader ───────────────────────────────────────────────────────────────────────────

    def _read(self, sock: socket.socket, flags: int) -> bool:
        """Hand out the answers that have come; `False` if the owner is gone. By the leader."""
        try:
            data = sock.recv(READ_BYTES, flags)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        if not data:
            return False
        try:
            for body in self._splitter.split(data):
                self._hand_out(read_answer(body))
        except (FrameError, msgspec.MsgspecError) as error:
            self._why = f"the queue's owner sent what is no answer: {error}"
            return False
        return True

    def _hand_out(self, answer: Answer) -> None:
        # guard: a call that an owner leaves is the next one's
        if answer.failure is not None and answer.failure.kind == CLOSING:
            self._leave(answer.number)
            return
        with self._lock:
            pending = self._pop(answer.number)
        if pending is not None:
            pending.tell(answer)

    def _leave(self, number: int) -> None:
        """An owner that closes has left a call to the next one. It may take a while to end."""
        with self._lock:
            pending = self._pending.get(number)
            if pending is not None and pending.left_at is None:
                pending.left_at = SystemClock.monotonic()
                if not self._has_left:
                    self._has_left = True
                    # guard: an owner that drains is not waited for without end
                    self.wake()  # the link's thread, which looks how long it has been
