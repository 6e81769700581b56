"""`run`: serves a program that is nothing but a worker, from its first signal to its exit code.

The main thread sleeps until a signal comes, the queue fails, or somebody closes it. A thread of its
own closes the queue meanwhile, so that the main thread can see a second signal at once.

What does not work, and why: a Python function that handles a signal runs on the main thread between
two steps of Python code. If the main thread has just begun to wait for a lock, or in a system call,
the function runs after that wait: a signal that comes a moment before is seen too late. And if the
function sets an event on which the main thread waits, it may find that event's lock taken by its
own thread. So the kernel's signal handler itself writes a byte into a socket
(`signal.set_wakeup_fd`), and the main thread sleeps in a read from that.

Guarantees: no signal that comes after `Signals` was entered is lost. The handlers that were there
before are there again afterwards, also in a forked child.
Relies on: the main thread, which calls everything that does not say otherwise.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

from .config import name_in_records
from .errors import LogWriteError
from .job_queue import JobQueue
from .model.shutdown_report import ShutdownReport
from .runtime.reporting import STUCK_SECONDS, Reporter

if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

__all__ = ["Signals", "exit_code", "run", "serve"]

_NUMBERS = (signal.SIGTERM, signal.SIGINT)
_WOKEN = 0  # in place of a signal's number: there is something else to look at
_IDS_SHOWN_MAX = 10
_mask = threading.local()


def run(queue: JobQueue) -> int:
    """Serve a program that is nothing but a worker: wait for SIGTERM or SIGINT, then close.

    Its signal handlers are installed first, and the earlier ones put back in the end. The queue is
    started if it was not. A second signal gives up what still runs, at once. The wait ends without
    a signal, too, if somebody else closes the queue or its log fails. If systemd waits to be told
    (`NOTIFY_SOCKET`), it is told that the program is ready, and that it stops.

    Call it in the main thread, as `sys.exit(jobqueue.run(queue))`.

    Args:
        queue: an open one; it is closed in the end, as by `close()`.

    Returns:
        The program's exit code: 0 if `close` left nothing unfinished and lost nothing, else 1. It
        is 1, too, if the queue's log failed. What became of the jobs is logged.

    Raises:
        RuntimeError: it is not called in the main thread, which alone can handle signals.
        TypeError: it is no `JobQueue`.
        QueueClosedError: the queue is closed.
    """
    if not isinstance(queue, JobQueue):
        raise TypeError(
            f"run() takes an open JobQueue, not {queue!r}; write: with tasks.open(config) as "
            f"queue: sys.exit(jobqueue.run(queue))"
        )
    with Signals() as signals:
        return serve(queue, signals)


def serve(queue: JobQueue, signals: Signals) -> int:
    """Do what `run` does, with signals that have been listened to for a while."""
    reporter = Reporter(name_in_records(queue.config))
    reporter.open(lambda start: start())
    try:
        return _Server(queue, signals, reporter).run()
    finally:
        reporter.close(STUCK_SECONDS)


def exit_code(report: ShutdownReport, *, failed: bool = False) -> int:
    """What a program ends with whose queue was closed with this report."""
    return 1 if report.unfinished or report.lost or failed else 0


class _Server:
    """Waits, closes, and tells of it. No log record is made on the main thread: see `Reporter`."""

    def __init__(self, queue: JobQueue, signals: Signals, reporter: Reporter) -> None:
        self._queue = queue
        self._life = queue._served()
        self._signals = signals
        self._report = reporter.report

    def run(self) -> int:
        """See `run`."""
        self._queue.start()
        self._life.at_stop(self._signals.wake)
        self._notify("READY=1")
        number = self._signals.wait()
        self._notify("STOPPING=1")
        if number:
            what = f"{_name(number)}: closing; another one gives up what still runs"
            self._report(logging.INFO, what)
        elif self._life.failed:
            self._report(logging.ERROR, "the queue has failed, as told before; closing")
        report = self._close()
        code = exit_code(report, failed=self._life.failed)
        self._report(logging.WARNING if code else logging.INFO, _told(report))
        return code

    def _close(self) -> ShutdownReport:
        """Close it on another thread; a signal meanwhile gives up what still runs."""
        closed: Future[ShutdownReport] = Future()

        def close() -> None:
            try:
                closed.set_result(self._queue.close())
            except LogWriteError as loss:  # a record has told of it
                closed.set_result(loss.report)
            except BaseException as error:  # noqa: BLE001  # raised on the main thread instead
                closed.set_exception(error)
            finally:
                self._signals.wake()

        threading.Thread(target=close, name="jobqueue-run-close", daemon=True).start()
        while not closed.done():
            number = self._signals.wait()
            if number and not closed.done():
                what = f"{_name(number)} again: what still runs is given up"
                self._report(logging.WARNING, what)
                self._life.hurry()
        return closed.result()

    def _notify(self, state: str) -> None:
        """Tell systemd, if it has said where; see sd_notify(3)."""
        address = os.environ.get("NOTIFY_SOCKET", "")
        if not address:
            return
        if address.startswith("@"):  # an abstract one, which has no name in the file system
            address = f"\0{address[1:]}"
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.connect(address)
                sender.sendall(state.encode())
        except OSError as error:
            what = f"the supervisor at NOTIFY_SOCKET could not be told {state}: {error}"
            self._report(logging.WARNING, what)


def _told(report: ShutdownReport) -> str:
    """What became of the jobs."""
    parts = [f"jobs that ended meanwhile: {report.completed}", f"that are left: {report.remaining}"]
    if report.unfinished:
        shown = ", ".join(map(repr, report.unfinished[:_IDS_SHOWN_MAX]))
        more = len(report.unfinished) - _IDS_SHOWN_MAX
        shown += f" and {more} more" if more > 0 else ""
        parts.append(f"that were given up while they ran: {len(report.unfinished)} ({shown})")
    if report.lost:
        parts.append(f"that are lost: {report.lost}")
    return f"the queue is closed; {', '.join(parts)}"


def _name(number: int) -> str:
    return signal.Signals(number).name


class Signals:
    """SIGTERM and SIGINT as something to wait for, while it is entered; in the main thread.

    Raises:
        RuntimeError: on entering, in another thread.
    """

    def __init__(self) -> None:
        self._before: dict[int, Any] = {}
        self._wakeup_before = -1
        self._forked = False

    def __enter__(self) -> Signals:
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError(
                "run() handles signals, which Python does in the main thread alone; call it there, "
                "or wait for something of your own and call queue.close()"
            )
        self._end, self._start = socket.socketpair()
        self._start.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._start.fileno(), warn_on_full_buffer=False)
        for number in _NUMBERS:
            self._before[number] = signal.signal(number, _leave_to_the_socket)
        _entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._forked:
            _entered.remove(self)
            self._restore(self._wakeup_before)
            self._end.close()
            self._start.close()

    def _restore(self, wakeup: int) -> None:
        for number, handler in self._before.items():
            # One that was not installed by Python code cannot be put back by it.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        signal.set_wakeup_fd(wakeup)

    def forked(self) -> None:
        """In a forked child: its signals are its own, and not to be told to the parent."""
        self._forked = True
        self._restore(-1)
        self._end.close()
        self._start.close()

    def wait(self) -> int:
        """Sleep until one of the signals comes, or `wake` is called.

        Returns:
            The signal's number; 0 if there is something else to look at.
        """
        while True:
            number = self._end.recv(1)[0]
            if number in (*_NUMBERS, _WOKEN):  # others have handlers of the program's own
                return number

    def wake(self) -> None:
        """Have `wait` return. Any thread, with any lock; it never waits. Nothing after the end."""
        try:
            self._start.send(bytes([_WOKEN]))
        except OSError:  # it is full, so there is enough to look at; or all is over
            pass


def _leave_to_the_socket(number: int, frame: FrameType | None) -> None:
    """Do nothing: the byte in the socket is there already."""
    del number, frame


_entered: list[Signals] = []
"""Those that forks have to let go of; changed by the main thread."""


def _block_signals() -> None:
    """Hold signals back until a forked child has handlers of its own again."""
    if _entered:
        _mask.before = signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)


def _unblock_signals() -> None:
    before = _mask.__dict__.pop("before", None)
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _forked() -> None:
    while _entered:
        # guard: a forked child's signals are its own
        _entered.pop().forked()
    _unblock_signals()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_block_signals, after_in_parent=_unblock_signals, after_in_child=_forked
    )
