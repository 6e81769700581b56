"""One process that runs handlers, as the queue that owns it sees it: start, talk, kill, end.

It is started anew (not forked), so it inherits neither locks nor files; only what is imported in
it is there. It is not started by `multiprocessing`. The exit and the forks of `multiprocessing`
know nothing of threads that are still at work, and its daemons may have no children.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from contextlib import ExitStack
from multiprocessing import spawn
from typing import TYPE_CHECKING

from . import wire
from .imports import import_path

if TYPE_CHECKING:
    from collections.abc import Callable

_no_fork = threading.Lock()
"""Held while a process is started: a fork in between would keep copies of what is to be closed."""
os.register_at_fork(
    before=_no_fork.acquire, after_in_parent=_no_fork.release, after_in_child=_no_fork.release
)

_PF_EXITING = 4  # Linux: a flag of a thread, in proc(5)
_EXIT_SECONDS_MAX = 1.0
"""How long a process that hung up may take to end by itself."""
_MAIN_SECONDS_MAX = 0.2
"""How long its main thread may have ended before the others, as at any end of a process."""
_KILLED_SECONDS_MAX = 5.0
"""How long a killed process may take to end: the kernel may be busy with it for a while."""


class Ended(Exception):  # noqa: N818  # not an error that gets out: it is caught at once
    """The process is gone, or as good as gone."""


class WorkerProcess:
    """A process and the connections to it. One thread talks to it at a time; any may kill it.

    Args:
        known: the set that it adds itself to, so that any fork that could copy its files knows
            of it.

    Raises:
        OSError: it could not be started.
    """

    def __init__(self, known: set[WorkerProcess]) -> None:
        self.loaded: set[int] = set()
        """The handlers it has imported."""
        self.attempts = 0
        """How many attempts that can be told to stop it was given."""
        # guard: no fork while a process is started
        #   without: with ExitStack() as opened, ExitStack() as its:
        with ExitStack() as opened, _no_fork, ExitStack() as its:
            work, its_work = _pair(opened, its)
            self._orders, its_orders = _pair(opened, its)
            lifeline, our_end = os.pipe()
            opened.callback(os.close, our_end)
            its.callback(os.close, lifeline)
            self._process = _start(its_work.fileno(), its_orders.fileno(), lifeline)
            self._orders.setblocking(False)
            self._channel = wire.Channel(work, self._is_gone)
            self._on_wait: Callable[[], None] | None = None
            self._opened = opened.pop_all()
            known.add(self)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def is_quiet(self) -> bool:
        """Whether it sent nothing that was not asked for. Only while it has nothing to do."""
        return self._channel.is_quiet()

    def call(
        self,
        kind: int,
        number: int,
        body: bytes,
        on_wait: Callable[[], None] | None = None,
        on_progress: Callable[[bytes], None] | None = None,
        on_jobs: Callable[[bytes], bytes] | None = None,
    ) -> tuple[int, bytes]:
        """Send a frame and wait for its answer: kind and body.

        Args:
            on_wait: called each second of a long wait.
            on_progress: called with the body of each `PROGRESS` that comes before the answer.
            on_jobs: called with that of each `HOLD_BACK`; what it returns goes back.

        Raises:
            Ended: it is gone.
            GarbledError: what came is no answer.
        """
        self._on_wait = on_wait
        self._send(kind, number, body)
        try:
            while True:
                kind, number, body = self._channel.receive()
                if kind == wire.PROGRESS and on_progress is not None:
                    on_progress(body)
                elif kind == wire.HOLD_BACK and on_jobs is not None:
                    self._send(wire.HELD, number, on_jobs(body))
                else:
                    return kind, body
        except EOFError:
            raise Ended from None

    def _send(self, kind: int, number: int, body: bytes) -> None:
        try:
            self._channel.send(kind, number, body)
        except OSError:
            pass  # what the process sent before it died can still be received

    def _is_gone(self) -> bool:
        """Whether nothing will come from it any more. Asked each second of a long wait."""
        if self._on_wait is not None:
            self._on_wait()
        return not self.is_alive() or self._has_lost_main()

    def _has_lost_main(self) -> bool:
        """Whether its main thread ended while others go on: it runs for ever, and does nothing."""
        tasks = f"/proc/{self.pid}/task"
        try:
            ends = {each: _is_ending(f"{tasks}/{each}/stat") for each in os.listdir(tasks)}
        except OSError:  # there is none on this system, or a thread has just ended
            return False
        return ends.get(str(self.pid), False) and not all(ends.values())

    def order(self, number: int) -> None:
        """Tell it to stop an attempt that it runs, or of the closing. Any thread; never blocks."""
        try:
            self._orders.send(wire.ORDER.pack(number))
        except OSError:  # it is gone, or was stopped and has thousands of orders left unread
            pass

    def kill(self) -> None:
        """Have it end at once. Any thread."""
        self._process.kill()

    def ask_to_exit(self) -> None:
        """Have it end by itself. Only while it has nothing to do."""
        try:
            self._channel.send(wire.EXIT, 0)
        except OSError:
            pass

    def wait(self, seconds: float = _KILLED_SECONDS_MAX) -> bool:
        """Wait at most so long for its end; returns whether it came. Any thread."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def reap(self, seconds: float = _EXIT_SECONDS_MAX) -> str:
        """Wait at most so long for its end, then kill it; returns how it ended."""
        reason = None
        is_stuck = not self.wait(min(seconds, _MAIN_SECONDS_MAX)) and self._has_lost_main()
        if is_stuck or not self.wait(seconds):
            reason = "lost its connection to the queue"
            if is_stuck or self._has_lost_main():
                reason = "lost its main thread, which ended while others went on"
            self._process.kill()
            self.wait(_KILLED_SECONDS_MAX)
        last_words = self._last_words()
        self._opened.close()
        code = self._process.returncode
        if code is None:
            return "was killed and does not end"
        if reason is not None and code == -signal.SIGKILL:  # it did not end by itself meanwhile
            return f"{reason}, and was killed"
        if code == wire.GAVE_UP:
            return f"gave up: {last_words or 'something closed its connection to the queue'}"
        if code >= 0:
            return f"exited with code {code}"
        return f"was ended by {_signal_name(-code)}"

    def _last_words(self) -> str:
        """Why it gave up, if it said so."""
        try:
            return self._orders.recv(wire.REASON_BYTES_MAX).decode(errors="backslashreplace")
        except OSError:
            return ""

    def forked(self) -> None:
        """This is a forked child: the process is the parent's, and has to notice its end."""
        self._opened.close()  # guard: a forked child closes its copies
        self._process.returncode = 0  # a child of the parent's: it cannot be waited for here


def _is_ending(path: str) -> bool:
    """Whether a thread has ended, or is about to as its whole process does; Linux tells that."""
    with open(path, "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return bool(int(fields[6]) & _PF_EXITING)


def _pair(opened: ExitStack, its: ExitStack) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    return opened.enter_context(ours), its.enter_context(theirs)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _start(work: int, orders: int, lifeline: int) -> subprocess.Popen[bytes]:
    """Start a Python that has this one's import path, and serves these file descriptors."""
    code = (
        f"import sys; sys.path[:] = {import_path()!r}; from {__package__}.child import main; "
        f"main({work}, {orders}, {lifeline}, {wire.FORM})"
    )
    # Signals to the whole group are for the owner, also until the new process ignores them itself.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, wire.GROUP_SIGNALS)
    try:
        return subprocess.Popen(
            [os.fsdecode(spawn.get_executable()), *_interpreter_flags(), "-c", code],
            pass_fds=(work, orders, lifeline),
            stdin=subprocess.DEVNULL,
            env={**os.environ, wire.MARK: str(os.getpid())},
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _interpreter_flags() -> list[str]:
    """The flags that this interpreter was started with."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # as multiprocessing does
    return flags
