"""What holds for every test: Hypothesis' settings, which tests are left out, that no test leaves a
thread behind, and that the GIL is off where a run without it was asked for.
"""

from __future__ import annotations

import gc
import os
import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, cast

import pytest
from hypothesis import HealthCheck, settings

from tests.support import gil, left_out
from tests.support.postgres import databases, dsn  # noqa: F401  # fixtures

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from _typeshed import TraceFunction

THREAD_END_SECONDS_MAX = 10.0
MEASURING = "COVERAGE_PROCESS_CONFIG"
"""Environment variable by which a coverage run has Python programs measure themselves."""
_measuring = pytest.StashKey[str]()

# A busy machine makes examples slow, which says nothing about the code: no deadline. In CI
# the examples are the same in every run, so that a red run is about what was changed.
settings.register_profile(
    "local",
    deadline=None,
    max_examples=left_out.often(50, 100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("local"), derandomize=True, database=None)
settings.load_profile("ci" if os.environ.get("CI") else "local")


def pytest_report_header() -> str:
    return f"GIL: {'on' if gil.is_gil_on() else 'off'}"


def pytest_configure(config: pytest.Config) -> None:
    """Tests begin with a seed of this module's: `pytest_runtest_setup`."""
    config.option.randomly_reset_seed = False


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Chance is the same in each run with one `--randomly-seed`.

    Left to pytest-randomly, the generators of all that is installed would be seeded, three times
    for each test. No test draws from any but this one.
    """
    seed = getattr(item.config.option, "randomly_seed", None)
    if seed is not None:
        random.seed(f"{seed} {item.nodeid}")


def pytest_sessionstart(session: pytest.Session) -> None:
    """A run that passes with the GIL says nothing of one without.

    Programs that tests start do not measure themselves: that takes longer than most of them do. And
    what measures has a lock, which an exception leaves taken and for which a signal handler waits
    in vain. Nor is the process measured that hands out the tests to others: it runs none.
    """
    if gil.is_gil_unwanted() and gil.is_gil_on():
        pytest.exit(gil.WRONG, returncode=pytest.ExitCode.USAGE_ERROR)
    if getattr(session.config.option, "numprocesses", None):  # of pytest-xdist
        sys.settrace(None)
        threading.settrace(cast("TraceFunction", None))
    elif MEASURING in os.environ:
        session.config.stash[_measuring] = os.environ.pop(MEASURING)


class LeftOut(pytest.Directory):
    """Tests that this run leaves out; it says so, and why."""

    def collect(self) -> NoReturn:
        pytest.skip(left_out.REASON)


def pytest_collect_directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    config = parent.config
    if path != left_out.LAB_TESTS:
        return None
    started_in = config.invocation_params.dir
    named = [(started_in / arg.partition("::")[0]).resolve() for arg in config.args]
    if not left_out.is_lab_left_out(left_out.ROOT, named):
        return None
    return LeftOut.from_parent(parent, path=path)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out those that are for once a day, unless the command names them."""
    if os.environ.get(left_out.RUN_ALL) or any("::" in arg for arg in config.args):
        return
    daily = [item for item in items if item.get_closest_marker("daily")]
    items[:] = [item for item in items if item not in daily]
    config.hook.pytest_deselected(items=daily)


def pytest_collection_finish() -> None:
    """Leave what is there by now, all modules and tests, out of each collection of garbage.

    Otherwise one takes from 0.15 s on, and tests ask for some hundreds of them.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, object, object]:
    """Let a process that runs tests beside others send on what a test has logged or printed.

    What is sent has to be UTF-8. Some tests log texts that cannot be: a lone surrogate is escaped.
    """
    data = yield
    if isinstance(data, dict):
        for part in ("longrepr", "sections"):
            if data.get(part):
                data[part] = _escaped(data[part])
    return data


def _escaped(report: object) -> object:
    if isinstance(report, str):
        return report.encode(errors="backslashreplace").decode()
    if isinstance(report, dict):
        return {_escaped(key): _escaped(value) for key, value in report.items()}
    if isinstance(report, (list, tuple)):
        return type(report)(map(_escaped, report))
    return report


@pytest.fixture(autouse=True)
def _gil_stays_off() -> Iterator[None]:
    """Fail a test that has brought the GIL back: an extension module can."""
    yield
    if gil.is_gil_unwanted() and gil.is_gil_on():
        pytest.fail(gil.WRONG)


@pytest.fixture(autouse=True)
def _no_thread_is_left_behind() -> Iterator[None]:
    """Fail a test after which one of the package's threads lives on.

    It would slow every later test, and its failure would be reported by another test than
    the one that caused it.
    """
    before = set(threading.enumerate())
    yield
    left = _still_alive([t for t in threading.enumerate() if t not in before and _is_ours(t)])
    if left:
        pytest.fail(f"threads left behind: {', '.join(sorted(left))}")


def _is_ours(thread: threading.Thread) -> bool:
    return thread.name.startswith("jobqueue-")


def _still_alive(threads: list[threading.Thread]) -> list[str]:
    """Give the threads, all together, their time to end; name those that have not."""
    deadline = time.monotonic() + THREAD_END_SECONDS_MAX
    for thread in threads:
        if thread.is_alive():  # not if an exception hit the thread that was to start it
            thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


@pytest.fixture(autouse=True)
def _long_tests_are_not_traced(request: pytest.FixtureRequest) -> None:
    """What they show is seldom a line that no quick test runs; else a module asks for `traced`.

    These are slow tests, and those of Hypothesis, which run the same lines with each example.
    """
    is_long = any(request.node.get_closest_marker(name) for name in ("slow", "hypothesis"))
    if is_long and "traced" not in request.fixturenames:
        request.getfixturevalue("no_tracer")


@pytest.fixture(scope="module")
def measured_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """Have processes that the tests of a module start measure themselves in a coverage run."""
    measuring = request.config.stash.get(_measuring, None)
    with pytest.MonkeyPatch.context() as patch:
        if measuring is not None:
            patch.setenv(MEASURING, measuring)
        yield


@pytest.fixture(scope="module")
def traced(measured_children: None) -> None:
    """Have slow tests of a module count in a coverage run, with the processes that they start."""


@pytest.fixture
def no_tracer() -> Iterator[None]:
    """Take the tracer, as that of a coverage run, off this thread and those that a test starts.

    It has locks of its own: a signal handler that meets one taken, by its own thread, waits for
    ever. And on CPython 3.11 a traced thread that enters a function while a signal waits for
    the main thread looks for what to do again and again: with a lock that the main thread waits
    for, neither gets on.

    It is also for tests that run the same lines very often: under coverage they take from three to
    eighteen times as long, and show no other lines than the tests that run them once.
    """
    tracer, threads_tracer = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(cast("TraceFunction", None))
    yield
    sys.settrace(tracer)
    threading.settrace(cast("TraceFunction", threads_tracer))
