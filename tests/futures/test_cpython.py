"""CPython's own tests of executors, run against ours.

They are the `ThreadPool…` tests of `test.test_concurrent_futures`: one module up to 3.11, a package
from 3.12 on. Where an interpreter comes without its tests, these are skipped.

Each makes its executor by `executor_type(max_workers=…)`. `Pool` is that: an executor with a queue
of its own.
"""

from __future__ import annotations

import importlib
import re
import sys
import unittest
from pathlib import Path
from typing import Any, ClassVar
from unittest import mock

import pytest

import jobqueue
from jobqueue import Config, JobQueue
from jobqueue.futures import JobQueueExecutor

NAME = "test.test_concurrent_futures"
MODULES = ("executor", "test_thread_pool", "test_shutdown", "test_wait", "test_as_completed")
CLASSES = {
    "ThreadPoolExecutorTest": ("ThreadPoolExecutorTest",),
    "ThreadPoolShutdownTest": ("ThreadPoolShutdownTest",),
    "ThreadPoolWaitTests": ("ThreadPoolWaitTests",),
    # Made by a loop over the kinds of executors; the name differs between the versions.
    "ThreadPoolAsCompletedTest": ("ThreadPoolAsCompletedTest", "ThreadPoolAsCompletedTests"),
}

CONSTRUCTOR = "about arguments of a ThreadPoolExecutor's constructor"
THREADS = "looks at the private attributes _threads or _max_workers"
THREAD_NAMES = "about the names of a ThreadPoolExecutor's threads"
OWN_POOL = "makes a ThreadPoolExecutor by that name, so it would say nothing of ours"
LEFT_OUT = {
    "test_max_workers_negative": CONSTRUCTOR,
    "test_default_workers": CONSTRUCTOR,
    "test_saturation": THREADS,
    "test_idle_thread_reuse": THREADS,
    "test_threads_terminate": THREADS,
    "test_context_manager_shutdown": THREADS,
    "test_del_shutdown": THREADS,
    "test_shutdown_no_wait": THREADS,
    "test_thread_names_assigned": THREAD_NAMES,
    "test_thread_names_default": THREAD_NAMES,
    "test_hang_global_shutdown_lock": OWN_POOL,
}


class Pool(JobQueueExecutor):
    """An executor that is made as a `ThreadPoolExecutor` is: its queue is its own."""

    made: ClassVar[list[Pool]] = []

    def __init__(self, max_workers: int = 4) -> None:
        self.queue = JobQueue(Config(num_workers=max_workers))
        super().__init__(self.queue)
        self.made.append(self)


def in_a_process(run: Any) -> Any:
    """Runs a script of a test in an interpreter, as `assert_python_ok` does, with our executor."""
    source, root = (str(Path(p).resolve()) for p in (Path(jobqueue.__file__).parents[1], "."))
    make = f"import sys; sys.path[:0] = {[source, root]!r}\nfrom {__name__} import Pool\n"

    def run_with_pool(flag: str, script: str) -> Any:
        script, count = re.subn(
            "from concurrent.futures import (Pool|ThreadPoolExecutor)\n", "\n", script
        )
        assert count == 1
        return run(flag, make + script.replace("ThreadPoolExecutor(", "Pool("))

    return run_with_pool


def cpython_tests() -> dict[str, Any]:
    """The names of CPython's modules of tests; none if it was installed without them."""
    try:
        package = importlib.import_module(NAME)
    except ModuleNotFoundError:
        return {}
    if not hasattr(package, "__path__"):
        return vars(package)
    names: dict[str, Any] = {}
    for module in MODULES:
        names |= vars(importlib.import_module(f"{NAME}.{module}"))
    return names


FOUND = cpython_tests()


def ours(name: str, theirs: type) -> type:
    """A class of CPython's tests, whose executors are ours, without those that are left out."""

    class Ours(theirs):  # type: ignore[misc]
        executor_type = Pool

        def setUp(self) -> None:
            module = sys.modules[theirs.__module__]
            if hasattr(module, "assert_python_ok"):
                changed = in_a_process(module.assert_python_ok)
                patch = mock.patch.object(module, "assert_python_ok", changed)
                patch.start()
                self.addCleanup(patch.stop)
            super().setUp()

        def tearDown(self) -> None:
            while Pool.made:
                Pool.made.pop().queue.close()
            super().tearDown()

    for test, reason in LEFT_OUT.items():
        if hasattr(theirs, test):
            setattr(Ours, test, unittest.skip(reason)(lambda _: None))
    Ours.__name__ = Ours.__qualname__ = name
    return pytest.mark.slow(Ours)


for wanted, names in CLASSES.items():
    for each in names:
        if each in FOUND:
            globals()[wanted] = ours(wanted, FOUND[each])


@pytest.mark.skipif(not FOUND, reason=f"this interpreter was installed without {NAME}")
def test_all_of_cpythons_classes_are_found() -> None:
    assert [wanted for wanted in CLASSES if wanted not in globals()] == []


@pytest.mark.skipif(not FOUND, reason=f"this interpreter was installed without {NAME}")
def test_nothing_is_left_out_that_is_not_there() -> None:
    """On the newest version; an older one may lack some of them."""
    theirs = {test for names in CLASSES.values() for each in names for test in dir(FOUND.get(each))}
    gone = set(LEFT_OUT) - theirs
    assert not gone or sys.version_info < (3, 13)
