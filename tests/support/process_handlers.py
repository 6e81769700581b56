"""Handlers for processes, and how a test hears from them and lets them go on.

A test cannot share an event with them, but a `Stage`: two named pipes in a directory whose path is
the job's payload.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import pickle
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from unittest.mock import patch

from jobqueue.final import (
    DuplicateJobError,
    Job,
    Priority,
    RejectJobError,
    RetryJobError,
    Unique,
    current_job,
)
from jobqueue.final.processes.wire import Channel
from jobqueue.final.runtime.parking import Parker
from tests.support import insides
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from jobqueue.final import JobContext


class Stage:
    """The test's side of it."""

    def __init__(self, directory: Path) -> None:
        self.payload = os.fsencode(directory)
        for name in ("said", "go"):
            os.mkfifo(directory / name)
        self._said = os.open(directory / "said", os.O_RDWR)
        self._go = os.open(directory / "go", os.O_RDWR)
        self._rest = b""

    def hear(self) -> Any:
        """What a handler said next."""
        while b"\n" not in self._rest:
            assert select.select([self._said], [], [], PATIENCE)[0], "no handler said anything"
            self._rest += os.read(self._said, 4096)
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def let_go(self) -> None:
        """Let one handler go on."""
        os.write(self._go, b"\n")

    def close(self) -> None:
        os.close(self._said)
        os.close(self._go)


def say(payload: bytes, what: object) -> None:
    """Tell the test, which is there."""
    with open(os.path.join(os.fsdecode(payload), "said"), "wb", buffering=0) as pipe:
        pipe.write(json.dumps(what).encode() + b"\n")


def await_go(payload: bytes) -> None:
    """Wait until the test lets one go on."""
    with open(os.path.join(os.fsdecode(payload), "go"), "rb", buffering=0) as pipe:
        assert pipe.read(1)


def is_running(pid: int) -> bool:
    """Whether a process runs; one that no process has waited for has ended all the same.

    If its main thread has ended and others have not, "l" stands behind the "Z".
    """
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and (not state.startswith("Z") or "l" in state)


def until_gone(*pids: int) -> None:
    """Wait until processes have ended."""
    for pid in pids:
        eventually(lambda pid=pid: not is_running(pid))  # type: ignore[misc]  # a plain default


# --- what comes of an attempt ---------------------------------------------------------------------


def echo(payload: bytes) -> bytes:
    return payload


def pid(payload: bytes) -> int:
    return os.getpid()


def names_in_records(payload: bytes, context: JobContext) -> object:
    """What the records of the context's logger have."""
    return dict(context.logger.extra or {})


def nothing(payload: bytes) -> None:
    return None


def as_told(payload: bytes) -> object:
    """Return, or raise, what is in the payload."""
    outcome = pickle.loads(payload)
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def raise_in_depth(payload: bytes) -> NoReturn:
    _deeper()


def _deeper() -> NoReturn:
    raise ValueError("from the depth")


def return_lambda(payload: bytes) -> object:
    return lambda: None


class Unloadable:
    """Is pickled without complaint; only the other side sees that it is nothing."""

    def __reduce__(self) -> tuple[object, ...]:
        return _refuse_to_load, (os.getpid(),)


def _refuse_to_load(pid: int) -> object:
    raise ValueError("not here")


def return_unloadable(payload: bytes) -> object:
    return Unloadable()


class LockedError(Exception):
    """Cannot be pickled."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.lock = threading.Lock()


class TwoArgumentsError(Exception):
    """Is pickled, but not unpickled: the usual mistake."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class LockedRejectError(LockedError, RejectJobError):
    pass


class LockedRetryError(RetryJobError):
    def __init__(self, text: str) -> None:
        super().__init__(text, delay=0)
        self.lock = threading.Lock()


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """None of its attributes can be set, which also its unpickling tries."""

    code: int


class SealedError(Exception):
    """As a frozen one, but it knows how to be unpickled."""

    def __init__(self, code: int) -> None:
        super().__init__(code)

    def __setattr__(self, name: str, value: object) -> None:
        raise TypeError(f"{name} cannot be set")


def raise_frozen(payload: bytes) -> NoReturn:
    raise FrozenError(51)


def raise_sealed(payload: bytes) -> NoReturn:
    raise SealedError(51)


class _Nameless(type):
    @property
    def __name__(cls) -> str:  # type: ignore[override]  # that it fails is what is wanted
        raise ValueError("no name")


class NamelessError(Exception, metaclass=_Nameless):
    """Cannot even be named."""


def raise_nameless(payload: bytes) -> NoReturn:
    raise NamelessError


class Unpackable:
    """Cannot be pickled, and the reason has no text."""

    def __reduce__(self) -> tuple[object, ...]:
        raise _MuteError


class _MuteError(Exception):
    def __str__(self) -> str:
        raise SystemExit


def return_unpackable(payload: bytes) -> object:
    return Unpackable()


class Exiting:
    """Ends the program that unpickles it."""

    def __reduce__(self) -> tuple[object, ...]:
        return sys.exit, ("not here",)


def return_exiting(payload: bytes) -> object:
    return Exiting()


def raise_with_lock(payload: bytes) -> NoReturn:
    raise LockedError("locked")


def raise_two_arguments(payload: bytes) -> NoReturn:
    raise TwoArgumentsError("one", "two")


def reject_with_lock(payload: bytes) -> NoReturn:
    raise LockedRejectError("never")


def retry_with_lock(payload: bytes, context: JobContext) -> int:
    if context.attempt == 0:
        raise LockedRetryError("later")
    return context.attempt


def retry_at_once(payload: bytes, context: JobContext) -> int:
    if context.attempt == 0:
        raise RetryJobError("later", delay=0)
    return context.attempt


def exit_with_3(payload: bytes) -> NoReturn:
    os._exit(3)


def die(payload: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_of_nameless_signal(payload: bytes) -> None:
    os.kill(os.getpid(), signal.SIGRTMIN + 1)


def lose_main_thread(payload: bytes) -> None:
    """End the main thread as C code can, while another goes on."""
    leave_thread(payload)
    ctypes.CDLL(None).pthread_exit(None)


def set_alarm(payload: bytes) -> int:
    """Have an exception raised in the main thread after the attempt; another thread goes on."""

    def ring(_number: int, _frame: object) -> NoReturn:
        raise TimeoutError("late")

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    return leave_thread(payload)


def _sockets() -> list[int]:
    """The sockets of this process, all of which are the queue's."""
    numbers = map(int, os.listdir("/dev/fd"))
    return [number for number in numbers if _is_socket(number)]


def _is_socket(number: int) -> bool:
    try:
        return stat.S_ISSOCK(os.fstat(number).st_mode)
    except OSError:  # the one that listed them
        return False


def write_garbage(payload: bytes) -> None:
    """Write to file descriptors that this did not open; then hold for longer than any test."""
    for number in _sockets():
        os.write(number, b"garbage " * 10)
    threading.Event().wait()


def write_garbage_afterwards(payload: bytes) -> int:
    """Leave a thread that does so when it is let go."""

    def write() -> None:
        await_go(payload)
        for number in _sockets():
            os.write(number, b"\0")
        say(payload, "written")

    threading.Thread(target=write, daemon=True).start()
    return os.getpid()


def close_all(payload: bytes) -> None:
    """Do as a program does that makes itself a daemon."""
    os.closerange(3, 1000)


def give_sockets_away(payload: bytes) -> tuple[int, int]:
    """Start a program that keeps this process's sockets open."""
    program = subprocess.Popen(["sleep", "60"], pass_fds=_sockets())
    return os.getpid(), program.pid


def leave_thread(payload: bytes) -> int:
    """Leave a thread behind that would keep the process for ever."""
    threading.Thread(target=threading.Event().wait).start()
    return os.getpid()


def die_at_first(payload: bytes, context: JobContext) -> tuple[int, int]:
    if context.attempt == 0:
        say(payload, os.getpid())
        os.kill(os.getpid(), signal.SIGKILL)
    return context.attempt, os.getpid()


def fork_and_die(payload: bytes) -> None:
    """Die, but for a child that has copies of all that was open."""
    if os.fork() == 0:
        say(payload, os.getpid())
        await_go(payload)
        os._exit(0)
    os.kill(os.getpid(), signal.SIGKILL)


# --- in the middle of an attempt ------------------------------------------------------------------


def tell_context(payload: bytes, context: JobContext) -> dict[str, object]:
    job = context.job
    return {
        "id": job.id,
        "payload": job.payload,
        "headers": dict(job.headers),
        "priority": job.priority,
        "retries": job.retries,
        "attempt": context.attempt,
        "deadline": context.deadline,
        "cancelled": context.cancelled,
    }


def hold(payload: bytes) -> int:
    """Go on when let go."""
    say(payload, os.getpid())
    await_go(payload)
    return os.getpid()


def hold_with_context(payload: bytes, context: JobContext) -> bool:
    say(payload, os.getpid())
    await_go(payload)
    return context.cancelled


def wait_long(payload: bytes, context: JobContext) -> bool:
    say(payload, os.getpid())
    return context.wait(1000)


def wait_in_vain(payload: bytes, context: JobContext) -> tuple[bool, float]:
    """Wait as many seconds as the payload says; what came of it, and how long it took."""
    since = time.monotonic()
    asked = context.wait(float(payload))
    return asked, time.monotonic() - since


def wait_long_then_raise(payload: bytes, context: JobContext) -> None:
    if wait_long(payload, context):
        raise ValueError("told to stop")


def compute(payload: bytes) -> None:
    """Keep the interpreter's lock, in one call of C code, for longer than any test takes."""
    say(payload, os.getpid())
    sum(range(10**15))


def signals(payload: bytes) -> dict[str, str]:
    """What a program that this starts does with the signals that a group is sent."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2")
    code = f"import signal; print(*map(signal.getsignal, {[*map(signal_number, names)]}), sep='|')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return dict(zip(names, run.stdout.strip().split("|"), strict=True))


def signal_number(name: str) -> int:
    return signal.Signals[name].value


def terminate_own_child(payload: bytes) -> int:
    """The exit code of a forked child that was sent SIGTERM."""
    child = os.fork()
    if child == 0:
        threading.Event().wait(PATIENCE)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def wait_for_ever(payload: bytes) -> None:
    threading.Event().wait()


def return_generator(payload: bytes) -> object:
    return (byte for byte in payload)


def tell_current(payload: bytes) -> tuple[object, ...]:
    """A plain handler that asks for its context."""
    context = current_job()
    assert context is not None
    job = context.job
    return job.id, job.payload, job.priority, dict(job.headers), context.attempt, job.handler


def progress_and_wait(payload: bytes) -> None:
    context = current_job()
    assert context is not None
    for done in range(1000):
        context.progress(done, 1000, "counting")
    say(payload, "told")
    await_go(payload)
    context.progress(1000, 1000, "done")


def threads_of_first_progress(payload: bytes, context: JobContext) -> list[str]:
    """The names of the threads that it starts."""
    before = set(threading.enumerate())
    context.progress(1)
    return [each.name for each in threading.enumerate() if each not in before]


def progress_after_alarm(payload: bytes, context: JobContext) -> None:
    """An alarm of the handler's ends its first call as that wakes the thread that sends."""
    signal.signal(signal.SIGALRM, _raise_timeout)

    def alarmed(parker: Parker) -> None:
        signal.raise_signal(signal.SIGALRM)

    with suppress(TimeoutError), patch.object(Parker, "unpark", alarmed):
        context.progress(1)
    context.progress(2)
    say(payload, "told")
    await_go(payload)


def progress_in_a_fork(payload: bytes, context: JobContext) -> int:
    """How a fork ends that tells progress, if it was made as another thread was sending some."""
    lock = insides.progress_lock(context)  # no call keeps it so long
    is_held, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            is_held.set()
            may_go.wait(PATIENCE)

    thread = threading.Thread(target=hold)
    thread.start()
    is_held.wait(PATIENCE)
    child = os.fork()
    if child == 0:
        signal.alarm(5)
        context.progress(1)
        os._exit(0)
    may_go.set()
    thread.join()
    return os.waitpid(child, 0)[1]


def _raise_timeout(number: int, frame: object) -> NoReturn:
    raise TimeoutError


def tell_from_signal_handler(payload: bytes, context: JobContext) -> str:
    """A signal comes while a call waits for the owner's answer; its handler makes calls, too."""
    refusals: list[str] = []

    def beat(number: int, frame: object) -> None:
        context.progress(1, message="beat")
        try:
            context.enqueue(Job(id="beaten"))
        except RuntimeError as error:
            refusals.append(str(error))

    signal.signal(signal.SIGALRM, beat)
    receive = Channel.receive

    def signalled(channel: Channel) -> tuple[int, int, bytes]:
        signal.raise_signal(signal.SIGALRM)
        return receive(channel)

    with patch.object(Channel, "receive", signalled):
        context.enqueue(Job(id="child", handler="echo"))
    (refusal,) = refusals
    return refusal


def await_cancel(payload: bytes) -> bool:
    context = current_job()
    assert context is not None
    say(payload, "waits")
    return context.wait(30)


def measures(payload: bytes) -> int:
    """How long it is."""
    return len(payload)


def fans_out(payload: bytes, context: JobContext) -> int:
    """Enqueues three jobs with its own completion; with payload 1 the first attempt fails."""
    name = context.job.id
    context.enqueue(Job(id=f"{name} 0", handler="len"))
    context.enqueue_many(
        [
            Job(b"x", id=f"{name} 1", handler="len", priority=Priority.LOW, key="k"),
            Job(
                id=f"{name} 2", handler="len", after=[f"{name} 0"], unique=Unique("handler+payload")
            ),
        ]
    )
    if payload == b"1" and context.attempt == 0:
        raise ValueError
    return 3


def is_refused(_payload: bytes, context: JobContext) -> list[str]:
    """Enqueues jobs that cannot be, and two that can; returns what it was told."""
    context.enqueue(Job(id="held", handler="len"))
    refused = [
        [Job(id="held", handler="len")],
        [Job(id="known", handler="len")],
        [Job(id="twice", handler="len"), Job(id="twice", handler="len")],
        [Job(id="free", handler="len"), Job(id="late", handler="len", after=["nobody"])],
        [Job(id="no handler")],
        [Job(bytes(2000), id="large", handler="len")],
    ]
    told = []
    for jobs in refused:
        try:
            context.enqueue_many(jobs)
        except Exception as error:
            told.append(f"{type(error).__name__}: {error}")
    context.enqueue(Job(id="free", handler="len"))
    if context.attempt == 0:
        raise ValueError
    return told


def enqueues_in_a_fork(_payload: bytes, context: JobContext) -> int:
    """Has a fork enqueue a job; returns its exit code, 7 if that was refused."""
    pid = os.fork()
    if pid == 0:
        try:
            context.enqueue(Job(handler="len"))
        except RuntimeError:
            os._exit(7)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def is_struck_while_it_enqueues(_payload: bytes, context: JobContext) -> list[str]:
    """An alarm's handler raises again and again while it enqueues jobs; returns their ids.

    After each it tries its own id, which is taken: it is told so, whatever came before.
    """

    def strike(number: int, frame: object) -> None:
        raise InterruptedError

    taken: list[str] = []
    signal.signal(signal.SIGALRM, strike)
    for number in range(200):
        job_id = f"job {number}"
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.00005 + number % 7 * 0.00002)
            context.enqueue(Job(id=job_id, handler="len"))
            signal.setitimer(signal.ITIMER_REAL, 0)
            taken.append(job_id)
        except InterruptedError:
            pass
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            context.enqueue(context.job)
        except DuplicateJobError:
            continue
        taken.append("an id that is taken")
    return taken


def wait_for_closing(payload: bytes, context: JobContext) -> list[bool]:
    """Sleep twice: the closing ends the first sleep, and a cancel the second."""
    say(payload, context.closing)
    came = [context.wait(1000)]
    say(payload, context.closing)
    return [*came, context.wait(1000)]


def see_closing(payload: bytes, context: JobContext) -> list[bool]:
    """Wait until the test lets it go on, and say what it sees then."""
    say(payload, os.getpid())
    await_go(payload)
    return [context.closing, context.wait(1000)]
