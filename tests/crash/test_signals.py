"""Signal handlers that call the queue, wherever they interrupt it."""

from __future__ import annotations

import errno
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from jobqueue.final import Config, Job, JobQueue, QueueClosedError, ShutdownReport, Status
from jobqueue.final.runtime.clock import SystemClock
from jobqueue.final.wal.files import Files
from tests.support import insides
from tests.support.children import Child, read_acks
from tests.support.handlers import Blocker, Recorder, in_thread
from tests.support.leading import left_to_callers
from tests.support.waiting import PATIENCE, eventually

pytestmark = pytest.mark.usefixtures("no_tracer")

SIGNAL = signal.SIGUSR1


class InterruptingClock(SystemClock):
    """Sends the signal to the main thread when that reads the time: under the queue's mutex.

    Attributes:
        armed: how often it does so.
    """

    def __init__(self) -> None:
        self.armed = 0
        self.monotonic = self._monotonic

    def _monotonic(self) -> float:
        if self.armed and threading.current_thread() is threading.main_thread():
            self.armed -= 1
            signal.raise_signal(SIGNAL)
        return time.monotonic()


class Outcomes(list[object]):
    """What a signal's handler returned or raised, call by call.

    Attributes:
        insisted: whether the signal is sent until it is handled, which counts as one call.
        begun: set when it is being handled.
    """

    def __init__(self) -> None:
        super().__init__()
        self.insisted = False
        self.begun = threading.Event()


@contextmanager
def on_signal(function: Callable[[], object]) -> Iterator[Outcomes]:
    """Have the signal call a function; yields what comes of it."""
    outcomes = Outcomes()

    def handle(_number: int, _frame: FrameType | None) -> None:
        if outcomes.insisted and outcomes.begun.is_set():
            return
        outcomes.begun.set()
        try:
            outcomes.append(function())
        except Exception as error:
            outcomes.append(error)

    before = signal.signal(SIGNAL, handle)
    try:
        yield outcomes
    finally:
        signal.signal(SIGNAL, before)


def _interrupt_main_thread(outcomes: Outcomes) -> None:
    """Send the signal until it is handled.

    One that comes just before its thread starts to wait is not seen until the wait ends:
    CPython looks for signals first and waits then. Without the GIL that is not rare.
    """
    outcomes.insisted = True

    def is_handled() -> bool:
        if not outcomes.begun.is_set():
            _signal_main_thread()
        return outcomes.begun.is_set()

    eventually(is_handled)


def _signal_main_thread() -> None:
    ident = threading.main_thread().ident
    assert ident is not None
    signal.pthread_kill(ident, SIGNAL)


@pytest.fixture(params=["memory", "log"])
def config(request: pytest.FixtureRequest, tmp_path: Path) -> Config:
    path = tmp_path if request.param == "log" else None
    return Config(persist_path=path, num_workers=1, queue_size=2)


# --- inside of the queue's own code -------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
def test_enqueue_from_a_handler_that_interrupted_the_queue_is_refused(
    config: Config, many: bool
) -> None:
    """Fault 15 of docs/reliability.md."""
    clock = InterruptingClock()
    with JobQueue(config, handler=len, clock=clock) as jq:

        def enqueue() -> object:
            return jq.enqueue_many([Job(id="inner")]) if many else jq.enqueue(Job(id="inner"))

        with on_signal(enqueue) as outcomes:
            clock.armed = 1
            outer = jq.enqueue(Job(b"abc", id="outer"))

        (refusal,) = outcomes
        assert isinstance(refusal, RuntimeError)
        assert "signal handler" in str(refusal)
        assert outer.result(PATIENCE) == 3
        assert jq.metrics().enqueued == 1
        assert jq.enqueue(Job(b"ab", id="inner")).result(PATIENCE) == 2


CALLS: dict[str, Callable[[JobQueue], object]] = {
    "status": lambda jq: jq.status("outer"),
    "info": lambda jq: jq.info("outer"),
    "handle": lambda jq: jq.handle("outer"),
    "cancel": lambda jq: jq.cancel("outer"),
    "join": lambda jq: jq.join(),
    "flush": lambda jq: jq.flush(),
    "pause": lambda jq: jq.pause(),
    "resume": lambda jq: jq.resume(),
    "register": lambda jq: jq.register("name", len),
    "metrics": lambda jq: jq.metrics(),
    "dead_letters": lambda jq: jq.dead_letters(),
    "start": lambda jq: jq.start(),
}


@pytest.mark.parametrize("call", CALLS)
def test_no_call_from_a_handler_that_interrupted_the_queue_hangs(config: Config, call: str) -> None:
    clock = InterruptingClock()
    with JobQueue(config, handler=len, clock=clock) as jq:
        with on_signal(lambda: CALLS[call](jq)) as outcomes:
            clock.armed = 1
            outer = jq.enqueue(Job(b"abc", id="outer"))

        assert len(outcomes) == 1
        assert outer.result(PATIENCE) == 3
        assert jq.metrics().completed == 1


def test_close_from_a_handler_that_interrupted_the_queue_is_carried_out_when_it_is_left(
    config: Config,
) -> None:
    """Fault 15 of docs/reliability.md."""
    clock = InterruptingClock()
    recorder = Recorder()
    jq = JobQueue(config, handler=recorder, clock=clock)
    with on_signal(lambda: jq.close(PATIENCE, drain=True)) as outcomes:
        clock.armed = 1
        outer = jq.enqueue(Job(id="outer"))

    assert isinstance(outcomes[0], ShutdownReport)
    eventually(lambda: _is_closed(jq))
    report = jq.close(PATIENCE)
    assert (report.unfinished, report.remaining) == ((), 0)
    assert outer.status is Status.COMPLETED
    assert recorder.ids() == ["outer"]


def _is_closed(jq: JobQueue) -> bool:
    try:
        jq.start()
    except QueueClosedError:
        return True
    return False


def test_close_twice_from_handlers_that_interrupted_the_queue_closes_once(config: Config) -> None:
    clock = InterruptingClock()
    jq = JobQueue(config, handler=len, clock=clock)
    with on_signal(lambda: jq.close(PATIENCE)) as outcomes:
        clock.armed = 1
        jq.enqueue(Job(id="outer"))
        eventually(lambda: _is_closed(jq))
        _signal_main_thread()

    eventually(lambda: len(outcomes) == 2)
    assert jq.close() == jq.close()


class InterruptingFiles(Files):
    """Sends the signal to the main thread when that fsyncs a batch, so often.

    Attributes:
        armed: how often it does so.
    """

    armed = 0

    def sync(self, fd: int) -> int:
        if self.armed and threading.current_thread() is threading.main_thread():
            self.armed -= 1
            signal.raise_signal(SIGNAL)
        return super().sync(fd)


@pytest.fixture
def led(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[JobQueue, InterruptingFiles]:
    """A queue whose callers fsync by themselves where nobody else is at it."""
    files = InterruptingFiles()
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)
    jq = JobQueue(Config(persist_path=tmp_path / "log", durability="fsync"), handler=len)
    left_to_callers(jq)
    return jq, files


WAITING_CALLS: dict[str, Callable[[JobQueue], object]] = {
    "enqueue": lambda jq: jq.enqueue(Job(id="inner")),
    "enqueue_many": lambda jq: jq.enqueue_many([Job(id="inner")]),
    "cancel": lambda jq: jq.cancel("outer"),
    "join": lambda jq: jq.join(),
    "flush": lambda jq: jq.flush(),
    "result": lambda jq: jq.handle("outer").result(),
}


@pytest.mark.parametrize("call", WAITING_CALLS)
def test_no_handler_that_interrupted_an_fsync_waits_for_it(
    led: tuple[JobQueue, InterruptingFiles], call: str
) -> None:
    jq, files = led
    with jq, on_signal(lambda: WAITING_CALLS[call](jq)) as outcomes:
        files.armed = 1
        outer = jq.enqueue(Job(b"abc", id="outer"))

        (refusal,) = outcomes
        assert isinstance(refusal, RuntimeError)
        assert outer.result(PATIENCE) == 3
        assert jq.metrics().enqueued == 1


def test_close_from_a_handler_that_interrupted_an_fsync_is_carried_out_when_that_is_done(
    led: tuple[JobQueue, InterruptingFiles],
) -> None:
    jq, files = led
    with on_signal(lambda: jq.close(PATIENCE, drain=True)) as outcomes:
        files.armed = 1
        outer = jq.enqueue(Job(b"abc", id="outer"))

    assert isinstance(outcomes[0], ShutdownReport)
    eventually(lambda: _is_closed(jq))
    assert jq.close(PATIENCE).remaining == 0
    assert outer.status is Status.COMPLETED


def test_an_os_error_of_a_handler_that_interrupted_an_fsync_is_no_failed_fsync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # TimeoutError, which alarms like to raise, is an OSError.
    if sys.platform != "linux":
        pytest.skip("elsewhere it is taken for the disk's")
    fdatasync: Callable[[int], int] = getattr(*insides.fdatasync())
    armed = threading.Event()

    def interrupted(fd: int) -> int:
        if armed.is_set() and threading.current_thread() is threading.main_thread():
            armed.clear()
            raise TimeoutError(errno.ETIMEDOUT, "the alarm's")
        return fdatasync(fd)

    with JobQueue(Config(persist_path=tmp_path / "log", durability="fsync"), handler=len) as jq:
        left_to_callers(jq)
        monkeypatch.setattr(*insides.fdatasync(), interrupted)
        armed.set()

        with pytest.raises(TimeoutError, match="the alarm's"):
            jq.enqueue(Job(b"abc", id="outer"))

        assert jq.handle("outer").wait(PATIENCE) is Status.COMPLETED
        assert jq.enqueue(Job(b"ab")).result(PATIENCE) == 2


# --- where the interrupted call only waits ------------------------------------------------------


def test_a_handler_may_enqueue_while_its_thread_waits_for_room(config: Config) -> None:
    with JobQueue(config, handlers={"a": len, "b": len}, start=False) as jq:
        for _ in range(2):
            jq.enqueue(Job(handler="a"))

        def enqueue() -> object:
            handle = jq.enqueue(Job(id="inner", handler="b"), delay=0.001)
            jq.start()
            return handle

        with on_signal(enqueue) as outcomes:
            signaller = in_thread(_when_blocked, jq, outcomes)
            outer = jq.enqueue(Job(b"abc", handler="a"))
            signaller.result(PATIENCE)

        assert len(outcomes) == 1
        assert outer.result(PATIENCE) == 3
        assert jq.handle("inner").wait(PATIENCE) is Status.COMPLETED


def _when_blocked(jq: JobQueue, outcomes: Outcomes) -> None:
    eventually(lambda: insides.producers(jq))
    _interrupt_main_thread(outcomes)


def test_a_handler_may_close_while_its_thread_waits_for_room(config: Config) -> None:
    jq = JobQueue(config, handler=len, start=False)
    for _ in range(2):
        jq.enqueue(Job())
    with on_signal(jq.close) as outcomes:
        signaller = in_thread(_when_blocked, jq, outcomes)
        with pytest.raises(QueueClosedError):
            jq.enqueue(Job())
        signaller.result(PATIENCE)

    assert outcomes == [ShutdownReport(completed=0, unfinished=(), remaining=2)]


def test_a_handler_may_close_while_its_thread_joins(config: Config) -> None:
    jq = JobQueue(config, handler=len, start=False)
    jq.enqueue(Job())

    def when_joining() -> None:
        eventually(lambda: insides.waiting_for_rest(jq))
        _interrupt_main_thread(outcomes)

    with on_signal(jq.close) as outcomes:
        signaller = in_thread(when_joining)
        assert jq.join(PATIENCE) is False
        signaller.result(PATIENCE)

    assert outcomes == [ShutdownReport(completed=0, unfinished=(), remaining=1)]


def test_a_handler_may_close_while_its_thread_waits_for_a_job(config: Config) -> None:
    jq = JobQueue(config, handler=len, start=False)
    handle = jq.enqueue(Job(id="a"))

    def when_waiting() -> None:
        eventually(lambda: insides.waiters(handle))
        _interrupt_main_thread(outcomes)

    with on_signal(jq.close) as outcomes:
        signaller = in_thread(when_waiting)
        with pytest.raises(QueueClosedError):
            handle.result(PATIENCE)
        signaller.result(PATIENCE)

    assert outcomes == [ShutdownReport(completed=0, unfinished=(), remaining=1)]


def test_a_handler_that_closes_while_its_thread_closes_does_not_hang(config: Config) -> None:
    blocker = Blocker()
    jq = JobQueue(config, handler=blocker)
    jq.enqueue(Job(id="a"))
    blocker.await_entered()

    def when_closing() -> None:
        eventually(lambda: insides.waiting_for_rest(jq))
        _interrupt_main_thread(outcomes)

    def close() -> object:
        try:
            return jq.close(PATIENCE)
        finally:
            blocker.gate.set()

    with on_signal(close) as outcomes:
        signaller = in_thread(when_closing)
        report = jq.close(PATIENCE)
        signaller.result(PATIENCE)

    assert len(outcomes) == 1
    assert isinstance(outcomes[0], ShutdownReport)
    assert report == ShutdownReport(completed=1, unfinished=(), remaining=0)


# --- a storm of them ----------------------------------------------------------------------------


@pytest.mark.slow
def test_in_a_storm_of_handlers_that_enqueue_each_job_is_refused_or_runs_once(
    tmp_path: Path,
) -> None:
    recorder = Recorder()
    accepted: list[str] = []
    refused: list[BaseException] = []
    jq = JobQueue(Config(persist_path=tmp_path, num_workers=2, queue_size=8), handler=recorder)

    def handle(_number: int, _frame: FrameType | None) -> None:
        try:
            accepted.append(jq.enqueue(Job(), timeout=0).id)
        except Exception as error:
            refused.append(error)

    before = signal.signal(signal.SIGALRM, handle)
    try:
        for n in range(3000):
            # One for each call, soon: however slow the machine, the calls get on.
            signal.setitimer(signal.ITIMER_REAL, (1 + n % 200) * 1e-6)
            job_id = jq.enqueue(Job(), timeout=PATIENCE).id
            accepted.append(job_id)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert len(accepted) + len(refused) > 3010
    assert {type(error).__name__ for error in refused} <= {"RuntimeError", "EnqueueTimeoutError"}
    assert jq.join(PATIENCE)
    assert jq.metrics().completed == len(accepted)
    jq.close()
    assert sorted(recorder.ids()) == sorted(accepted)


# --- SIGTERM, and SIGTERM again -----------------------------------------------------------------

OTHER_LEVELS = [("closes", "async"), ("exits", "write")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "durability"),
    [
        ("closes", "write"),
        ("exits", "fsync"),
        *(pytest.param(*each, marks=pytest.mark.daily) for each in OTHER_LEVELS),
    ],
)
def test_a_second_sigterm_during_shutdown_loses_nothing_and_ends_by_the_deadline(
    tmp_path: Path, how: str, durability: str
) -> None:
    """Fault 14 of docs/reliability.md."""
    log, acks = tmp_path / "jobs.db", tmp_path / "acks"
    with Child("serve_until_terminated", log, acks, durability, how) as child:
        assert child.line() == "serving"
        child.signal(signal.SIGTERM)
        assert child.line() == "terminating"
        start = time.monotonic()
        child.signal(signal.SIGTERM)
        assert child.line() == "terminating"
        code = child.end()
        assert time.monotonic() - start < PATIENCE

    assert code == 0, child.stderr
    accepted = {line.split()[1] for line in read_acks(acks) if line.startswith("accepted")}
    recorder = Recorder()
    with JobQueue(Config(persist_path=log, num_workers=1), handler=recorder) as jq:
        assert jq.join(PATIENCE)
        assert {jq.status(job_id) for job_id in accepted} == {Status.COMPLETED}
    assert "stuck" in recorder.ids()
