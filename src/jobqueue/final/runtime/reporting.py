"""What is told of failures: in the log records of `logging`, and as text with the job.

Log handlers and filters are the user's code, and run on the thread that makes a record. They may
raise anything, also `SystemExit`. They may be slow, or never come back. They may enqueue a job, or
close the queue. So a queue makes all its records in one place, on a thread that does nothing else:
`Reporter`.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from ..exact import exact_str
from .clock import SystemClock
from .parking import Parker
from .starting import start_elsewhere

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

ERROR_CHARACTERS_MAX = 2 * 1024
TRACEBACK_BYTES_MAX = 8 * 1024
RECORDS_MAX = 1000
"""How many records wait at most; those that come after them are dropped, and counted."""
STUCK_SECONDS = 1.0
"""How long a worker waits at most until the record of its attempt is made."""
IDLE_SECONDS = 0.1
"""How long the thread that makes records is kept for the next one."""
_NO_RECORD = -1  # a level that no logger has
_NEVER = float("inf")
_OWN = ("jobqueue.final.", "jobqueue.postgres.")
# What C defines, for classes of users may override the attributes.
_trace: Any = vars(BaseException)["__traceback__"]
_name: Any = vars(type)["__name__"]
logger = logging.getLogger("jobqueue")
handlers_logger = logging.getLogger("jobqueue.job")
"""What handlers make records with, not the queue."""

Failure = tuple[str, str]
"""Error and traceback, as text."""


class About(NamedTuple):
    """Which job a record tells of: its attributes of these names."""

    job_id: str | None = None
    handler: str | None = None
    attempt: int | None = None
    priority: str | None = None


NO_JOB = About()


def begun_in_handler(error: BaseException) -> BaseException:
    """The error, with a traceback that begins in the handler, if it got that far.

    Frame and error are the handler's, so neither the name of its module nor a method of the
    error's class is relied on.
    """
    trace = trace_of(error)
    while trace is not None and _is_own(trace.tb_frame):
        trace = trace.tb_next
    return error if trace is None else BaseException.with_traceback(error, trace)


def trace_of(error: BaseException) -> TracebackType | None:
    """An error's traceback, whatever its class makes of that."""
    trace: TracebackType | None = _trace.__get__(error)
    return trace


def _is_own(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return isinstance(module, str) and module.startswith(_OWN)


def describe(error: BaseException) -> Failure:
    """Error and traceback as text that any log can hold.

    The text comes from the handler's world, so its own `str` may fail, or hold what UTF-8 cannot.
    """
    name = _name_of(type(error))
    try:
        text = exact_str(str(error))
    except BaseException as inner:  # noqa: BLE001  # the error's own __str__ is broken; say so in its place
        text = f"<its text cannot be had: {_name_of(type(inner))}>"
    try:
        trace = "".join(traceback.format_exception(error))
    except BaseException as inner:  # noqa: BLE001  # as above: one of its causes' __str__ is broken
        trace = f"<no traceback: {_name_of(type(inner))}>"
    summary = (f"{name}: {text}" if text else name)[:ERROR_CHARACTERS_MAX]
    end = trace.encode("utf-8", "backslashreplace")[-TRACEBACK_BYTES_MAX:]
    return _encodable(summary), end.decode(errors="ignore")  # it may begin within a character


def _name_of(kind: type) -> str:
    """The name of a class, whatever its metaclass makes of that."""
    name: str = _name.__get__(kind)
    return name


def _encodable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class _Record:
    """What a log record is made of, and who waits for it."""

    __slots__ = ("about", "error", "level", "message", "parker", "thread", "time", "trace")

    def __init__(self, level: int, message: str, error: BaseException | None, about: About) -> None:
        self.about = about
        self.level = level
        self.message = message
        self.error = error
        self.trace = None if error is None else trace_of(error)  # its handle may raise it meanwhile
        self.parker: Parker | None = None
        self.time = SystemClock.time()
        self.thread = threading.current_thread()

    def let_go(self) -> None:
        """Keep the error as text only: its frames hold what the handler held."""
        if self.error is not None:
            self.message = f"{self.message}\n{describe(self.error)[1]}"
            self.error = self.trace = None

    def make(self, queue: str | None) -> None:
        """Make the record and have the user's log handlers see it. They may do anything."""
        if not logger.isEnabledFor(self.level):
            return
        error = self.error
        trace = None if error is None else (type(error), error, self.trace)
        made = logger.makeRecord(logger.name, self.level, __file__, 0, self.message, (), trace)
        made.thread, made.threadName = self.thread.ident, self.thread.name
        made.relativeCreated -= (made.created - self.time) * 1000
        made.created, made.msecs = self.time, self.time % 1 * 1000 // 1
        vars(made).update(self.about._asdict(), queue=queue)
        logger.handle(made)


class Reporter:
    """Makes the log records of one queue, one after the other, on a thread of its own. Thread-safe.

    A record has the thread started. It ends when there was none for a while, and by `close`.

    Guarantees: no call raises, whatever log handlers do. No lock is held while a record is made. At
    most `RECORDS_MAX` records wait.
    Relies on: no lock of the queue is held by the caller of `report_and_wait` or `close`.

    Attributes:
        queue: what its records have as `queue`.
    """

    def __init__(self, queue: str | None = None) -> None:
        self.queue = queue
        self._records: deque[_Record] = deque()  # `append` and `popleft` are atomic
        self._dropped = 0
        self._call_soon: Callable[[Callable[[], object]], object] | None = None
        self._parker = Parker()  # the thread's; woken when there is something to look at
        self._begun = threading.Lock()  # held by the one thread that makes the records
        self._thread: threading.Thread | None = None
        self._ended = Parker()  # of the callers of `close`
        self._making_since = _NEVER  # when the record at hand was begun
        self._closing = False
        self._closed = False

    # ── any thread ───────────────────────────────────────────────────────────────────────────

    def open(self, call_soon: Callable[[Callable[[], object]], object]) -> None:
        """From now on the thread can be started.

        Args:
            call_soon: has a thread that sees no signals call a function: a signal handler may have
                interrupted its thread while that was starting another, and would wait for itself.
        """
        self._call_soon = call_soon
        if self._records:
            self._wake()

    def report(
        self,
        level: int,
        message: str,
        error: BaseException | None = None,
        about: About = NO_JOB,
    ) -> None:
        """Have a log record made soon; does not wait for it. A signal handler may call it."""
        self._add(_Record(level, message, error, about))

    def prepare(self) -> None:
        """Have the thread started for a record that will come; on a worker's thread only.

        So it is there before anybody hears of what the record tells, and may look at the threads.
        """
        if self._thread is None and not self._closing and self._call_soon is not None:
            # guard: a worker starts no thread by itself
            #   without: self._start()
            start_elsewhere(self._call_soon, self._start)

    def report_and_wait(
        self, level: int, message: str, error: BaseException, about: About = NO_JOB
    ) -> None:
        """The same, and wait until it is made; on a worker's thread only.

        So a job that fails again and again makes no records faster than log handlers take them, and
        they see the frames of the error. If they are stuck, this does not wait, or not for long.
        """
        record = _Record(level, message, error, about)
        # guard: a worker does not wait for a log handler that is stuck
        if SystemClock.monotonic() - self._making_since > STUCK_SECONDS:
            record.let_go()
            self._add(record)
            return
        record.parker = Parker()
        if not (self._add(record) and record.parker.park(STUCK_SECONDS)):
            record.let_go()

    def catch_up(self) -> None:
        """Wait until what was reported so far is made; no longer than a second."""
        if self._records or self._making_since != _NEVER:
            end = _Record(_NO_RECORD, "", None, NO_JOB)
            end.parker = Parker()
            if self._add(end):
                end.parker.park(STUCK_SECONDS)

    def is_own_thread(self) -> bool:
        """Whether a log handler of the user's is calling."""
        return self._thread is threading.current_thread()

    def _add(self, record: _Record) -> bool:
        """Whether the record is in the queue."""
        if self._closed:
            return False
        # guard: records that nobody makes are bounded
        if len(self._records) >= RECORDS_MAX:
            self._dropped += 1  # one too few, if two threads do so at once
            return False
        self._records.append(record)
        self._wake()
        return True

    def _wake(self) -> None:
        if self._thread is not None:
            self._parker.unpark()
        elif self._call_soon is not None:
            self._call_soon(self._start)

    def _start(self) -> bool:
        """Start the thread if it is not there; `False` if the system gives no more threads.

        Two of them do no harm: the second one ends at once.
        """
        if self._thread is None:
            try:
                threading.Thread(target=self._run, name="jobqueue-report", daemon=True).start()
            except RuntimeError:  # the next record tries again, or `close`
                self._making_since = 0.0  # so that no worker waits
                return False
        self._parker.unpark()
        return True

    def close(self, seconds: float) -> None:
        """Have the records made that wait, and end the thread; what is left then is dropped.

        Args:
            seconds: how long to wait for that.
        """
        self._closing = True
        if self.is_own_thread():  # a log handler closes the queue: it goes on when that is done
            return
        if (self._records or self._thread is not None) and self._start():
            if self._ended.park(seconds):
                self._ended.unpark()  # for another `close`, should this one be interrupted
        else:  # no thread can be had, as when the interpreter ends; or there is nothing to tell
            self._make_all()
        self._closed = True
        # guard: records that are left at the deadline are dropped
        self._records.clear()

    # ── its own thread ───────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while not self._closed and self._begun.acquire(blocking=False):
            self._thread = threading.current_thread()
            self._serve()
            self._begun.release()
            # Else a record has come, and the thread that was started for it has left already.
            if not (self._records or self._closing):
                break

    def _serve(self) -> None:
        """Make records until there were none for a while, or `close`."""
        while True:
            self._make_all()
            if self._dropped:
                self._tell_dropped()
            if self._closing:
                self._closed = True
                self._ended.unpark()
                return
            if not self._parker.park(IDLE_SECONDS):
                self._thread = None  # before the look, so that a record that comes now is seen
                if not self._records:
                    return
                self._thread = threading.current_thread()

    def _make_all(self) -> None:
        while self._records:
            # guard: a record that was just taken out is not taken for made
            self._making_since = SystemClock.monotonic()
            try:
                record = self._records.popleft()
            except IndexError:  # `close` has dropped them meanwhile
                self._making_since = _NEVER
                return
            self._make(record)
            del record  # its error's frames hold what the handler held

    def _tell_dropped(self) -> None:
        count, self._dropped = self._dropped, 0
        message = f"{count} log records were dropped: the log handlers are too slow for them"
        self._make(_Record(logging.WARNING, message, None, NO_JOB))

    def _make(self, record: _Record) -> None:
        self._making_since = SystemClock.monotonic()
        try:
            record.make(self.queue)
        except BaseException:  # noqa: BLE001  # a filter or handler of the user's is broken; it may raise anything
            _tell_of_broken_handler()
        self._making_since = _NEVER
        if record.parker is not None:
            record.parker.unpark()


def _tell_of_broken_handler() -> None:
    """As `logging` does it; on its thread, from an `except`."""
    if logging.raiseExceptions:
        try:
            traceback.print_exc(file=sys.stderr)
        except BaseException:  # noqa: BLE001  # nor can that be told: stderr or the error's __str__ is broken
            pass
