"""A client's connection to the queue's owner, whichever process that is at the moment.

When the connection breaks, the link's thread looks for the next owner (`membership.py` has this
very process become it, if it may) and sends again what was not answered, with a mark that it was
sent before. So a call that was under way when the owner died goes on, and its caller notices
nothing but the time. While there is no owner, a call waits `connect_timeout` from when it was made,
or from when the connection broke, and is then a `NoOwnerError`.

Whose thread: the link's own, but for what begins and ends it; the lock is that of `requests.py`.
"""

from __future__ import annotations

import logging
import math
import os
import select
import socket
import threading
from contextlib import suppress
from typing import Protocol

from ..errors import NoOwnerError
from ..runtime.clock import SystemClock
from . import address
from .faults import failure_of
from .greeting import GREETING_SECONDS, READ_BYTES, RefusedError, greet
from .messages import Answer, Welcome
from .pending import Pending
from .requests import Requests

LOOK_SECONDS_MIN = 0.005
LOOK_SECONDS_MAX = 0.1
"""How soon, and how seldom at most, a client looks again for an owner."""
LEADER_SECONDS = 0.001
"""How soon to look again whether a thread that leads has seen the end of a connection."""
END_SECONDS = 1.0
"""How long `close` waits for the thread."""


class Seeker(Protocol):
    """What the link asks when it has no owner."""

    def seek(self) -> bool:
        """Becomes the owner, if that may be; whether this process now is. On the link's thread."""

    def met(self, welcome: Welcome) -> None:
        """An owner was found."""

    def died(self) -> None:
        """The link's thread ends by an error."""

    def report(self, level: int, message: str, error: BaseException | None = None) -> None:
        """Has a log record made."""


class Link(Requests):
    """The connection of one client. Thread-safe.

    Args:
        directory: the log's, absolute.
        connect_timeout: seconds that a call waits while there is no owner.
    """

    def __init__(self, directory: str, connect_timeout: float, seeker: Seeker) -> None:
        super().__init__()
        self._directory = directory
        self._connect_timeout = connect_timeout
        self._seeker = seeker
        self._lost_at = SystemClock.monotonic()
        self._refusal: str | None = None  # what one said, or that it says nothing
        self._thread: threading.Thread = threading.Thread(
            target=self._run, name="jobqueue-share", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, why: str = "the queue is closed; make a new one to go on") -> None:
        """End the connection; what is not answered is a `QueueClosedError`. Never waits for long.

        From the link's own thread too.
        """
        if self._is_forked:
            return
        self.stop(why)
        if self._thread.ident is not None and threading.current_thread() is not self._thread:
            self._thread.join(END_SECONDS)

    def stop(self, why: str) -> None:
        """Have the thread end soon. Takes no lock."""
        if self._ended is None:
            self._ended = why
        self.wake()

    def note(self, why: str) -> None:
        """Note why there is no owner; on the link's thread."""
        self._why = why

    def forked(self) -> None:
        """This is a forked child: the connection is the parent's. Takes no lock."""
        self._is_forked = True
        # guard: a forked child lets go of its parent's connection
        for sock in (self._socket, self._sleeper, self._waker):
            if sock is not None and sock.fileno() >= 0:
                os.close(sock.detach())

    # ── the link's thread ────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        delay = LOOK_SECONDS_MIN
        try:
            while self._ended is None:
                if self._socket is not None:
                    self._exchange()
                    delay = LOOK_SECONDS_MIN
                    continue
                if self._find():
                    continue
                self._expire()
                self._sleep(delay)
                delay = min(2 * delay, LOOK_SECONDS_MAX)
        except BaseException as error:  # noqa: BLE001  # told below, and nobody waits in vain
            self._ended = f"the thread that speaks to the queue's owner died: {error!r}"
            self._seeker.report(logging.ERROR, self._ended, error)
            self._seeker.died()
        finally:
            self._end()

    def _sleep(self, seconds: float | None) -> None:
        ready, _, _ = select.select([self._sleeper], [], [], seconds)
        if ready:
            self._sleeper.recv(READ_BYTES)

    def _find(self) -> bool:
        """Find an owner; whether there is anything to do at once."""
        try:
            sock = address.connect(self._directory)
            if sock is None:
                self._refusal = None
            elif self._greet(sock):
                return True
            if self._seeker.seek():
                with self._lock:
                    is_idle = not self._pending
                if is_idle:
                    self._sleep(None)
                return True
        except OSError as error:
            self._why = str(error)
        return False

    def _greet(self, sock: socket.socket) -> bool:
        """Say who this is; the connection counts once the owner has answered."""
        self._refusal = "the queue's owner does not answer"
        patience = SystemClock.monotonic() + GREETING_SECONDS
        try:
            welcome, self._splitter = greet(sock, lambda sock: self._await_word(sock, patience))
        except RefusedError as error:
            sock.close()
            self._refusal = str(error)
            return False
        self._refusal = None
        self._seeker.met(welcome)
        self._send_again(sock)
        return True

    def _await_word(self, sock: socket.socket, patience: float) -> None:
        """Wait for what an owner says; calls and `close` do not wait for that any longer."""
        poll = select.poll()
        poll.register(self._sleeper, select.POLLIN)
        poll.register(sock, select.POLLIN)
        while True:
            if self._ended is not None:
                raise RefusedError(self._ended)
            self._expire()
            if SystemClock.monotonic() > patience:
                raise RefusedError(f"{self._refusal}, for {GREETING_SECONDS:g} s")
            for fd, _ in poll.poll(1000 * LOOK_SECONDS_MAX):
                if fd == sock.fileno():
                    return
                self._sleeper.recv(READ_BYTES)

    def _send_again(self, sock: socket.socket) -> None:
        """Send what is not answered, in the order in which it was asked."""
        with self._lock:
            self._socket = sock
            self._has_left = False
            self._unsent.clear()
            for pending in self._pending.values():
                pending.left_at = None
                frame = pending.frame()
                pending.sent = True
                self._write(frame)
            self._lead_poll = select.poll()
            self._lead_poll.register(sock, select.POLLIN)
        self._leave_lead(None)  # one of those who wait is to lead

    def _exchange(self) -> None:
        """See to a connection until the owner is gone: read if no other thread does, and send."""
        sock = self._socket
        assert sock is not None  # its caller looks
        poll = select.poll()
        poll.register(self._sleeper, select.POLLIN)
        poll.register(sock, 0)  # of its end it is told anyway
        while self._ended is None and not self._is_broken:
            if self._has_left:
                self._expire()
            poll.modify(sock, self._events())
            for fd, event in poll.poll(1000 * LOOK_SECONDS_MAX if self._has_left else None):
                if fd != sock.fileno():
                    self._sleeper.recv(READ_BYTES)
                elif event & ~select.POLLOUT:
                    self._read_beside(sock)
            if self._unsent:
                self.send_unsent(wakes=False)
        self._lose(sock)

    def _events(self) -> int:
        with self._lock:
            reads = self._unled and self._leader is None
            return (select.POLLIN if reads else 0) | (select.POLLOUT if self._unsent else 0)

    def _read_beside(self, sock: socket.socket) -> None:
        """Read on the link's thread, unless another one leads: that one sees the end, too."""
        if self._take_lead(None):
            try:
                self._is_broken = not self._read(sock, socket.MSG_DONTWAIT) or self._is_broken
            finally:
                self._leave_lead(None)
        else:
            self._sleep(LEADER_SECONDS)

    def _lose(self, sock: socket.socket) -> None:
        """The owner is gone."""
        with self._lock:
            self._socket, self._is_broken = None, False
            self._unsent.clear()
            self._lost_at = SystemClock.monotonic()
        self._why = "its owner ended, and no other process has the queue's log open"
        with suppress(OSError):  # it is gone already
            sock.shutdown(socket.SHUT_RDWR)  # so that a leader comes back, if there is one
        while self._leader is not None:
            self._sleep(LEADER_SECONDS)
        sock.close()

    def _expire(self) -> None:
        """Let the calls go that have waited for an owner long enough."""
        since = SystemClock.monotonic() - self._connect_timeout
        with self._lock:
            # guard: no call waits for an owner without end
            #   without: old = []
            old = [each for each in self._pending.values() if self._waits_since(each) <= since]
            for each in old:
                self._pop(each.number)
        for each in old:
            each.tell(Answer(each.number, failure_of(self._no_owner(each))))

    def _waits_since(self, pending: Pending) -> float:
        """With the lock: since when a call has no owner."""
        if self._socket is None:
            return max(self._lost_at, pending.began)
        return math.inf if pending.left_at is None else pending.left_at

    def _no_owner(self, pending: Pending) -> NoOwnerError:
        known = "; an owner that ended had it, and may have carried it out" if pending.sent else ""
        why = self._refusal or self._why
        return NoOwnerError(
            f"{pending.call} was not answered within {self._connect_timeout:g} s "
            f"(connect_timeout){known}: {self._directory}: {why}; start a process that runs "
            f"the queue, one with Config(share='auto')"
        )

    def _end(self) -> None:
        """Nothing is answered any more."""
        if self._socket is not None:
            self._lose(self._socket)
        with self._lock:
            left, self._pending = list(self._pending.values()), {}
            self._ended = self._ended or "the queue is closed"
        for sock in (self._sleeper, self._waker):
            sock.close()
        for each in left:
            each.tell(Answer(each.number, failure_of(self._closed())))
