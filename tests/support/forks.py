"""Forked children of the process of the tests, that do one thing and tell what came of it."""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CHILD_SECONDS_MAX = 20


def in_fork(function: Callable[[], object]) -> Any:
    """Call a function in a forked child; returns what it returned, as JSON holds it.

    The child ends at once afterwards, by `os._exit`; one that hangs is killed by an alarm.
    """
    reading, writing = os.pipe()
    failures: list[BaseException | None] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda said: failures.append(said.exc_value)
    try:
        pid = os.fork()  # what a function that is called at a fork raises is unraisable
    finally:
        sys.unraisablehook = hook
    if pid == 0:
        _be_the_child(function, writing, failures)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        answer = pipe.read()
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code == 0, f"the child ended with {code}: {answer.decode()}"
    return json.loads(answer)


def _be_the_child(
    function: Callable[[], object], writing: int, failures: list[BaseException | None]
) -> None:
    code = 1
    try:
        if failures:
            raise BaseExceptionGroup("at the fork", [each for each in failures if each])
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(CHILD_SECONDS_MAX)
        answer = json.dumps(function())
        code = 0
    except BaseException as error:
        answer = "".join(traceback.format_exception(error))
    finally:
        os.write(writing, answer.encode())
        os._exit(code)
