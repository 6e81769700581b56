"""Handlers for processes, and how a test hears from them and lets them go on.

A test cannot share an event with them, but a `Stage`: two named pipes in a directory whose path is
the job's payload.
"""

from __future__ import annotations

import json
import os
import pickle
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from jobqueue.final import RejectJobError, RetryJobError
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
    """Whether a process runs; one that no process has waited for has ended all the same."""
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state.strip()) and not state.startswith("Z")


def until_gone(*pids: int) -> None:
    """Wait until processes have ended."""
    for pid in pids:
        eventually(lambda pid=pid: not is_running(pid))  # type: ignore[misc]  # a plain default


# --- what comes of an attempt ---------------------------------------------------------------------


def echo(payload: bytes) -> bytes:
    return payload


def pid(payload: bytes) -> int:
    return os.getpid()


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


def signals(payload: bytes) -> list[str]:
    """What a program that this starts does with SIGINT and SIGTERM."""
    code = "import signal; print(signal.getsignal(2), signal.getsignal(15), sep='|')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.strip().split("|")


def terminate_own_child(payload: bytes) -> int:
    """The exit code of a forked child that was sent SIGTERM."""
    child = os.fork()
    if child == 0:
        threading.Event().wait(PATIENCE)
        os._exit(0)
    os.kill(child, signal.SIGTERM)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
