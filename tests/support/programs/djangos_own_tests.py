"""Runs Django's own tests of its task backends on ours.

Arguments: a source release of Django, and a directory to work in. Django's tests are written for
its two backends: of one that runs a task within `enqueue`, and one that runs nothing. So ours waits
for each task, or is not started.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import unittest
from pathlib import Path
from typing import Any

from tests.support import django_project

django_project.set_up()

from django.test import SimpleTestCase
from django.test.runner import DiscoverRunner

from jobqueue.contrib.django import JobQueueBackend
from jobqueue.contrib.django.queues import queues
from tests.support import insides

MODULES = ("test_immediate_backend", "test_tasks", "test_dummy_backend")
LEFT_OUT = {
    "test_cannot_get_result": "ours can",
    "test_cannot_refresh_result": "ours can",
    "test_cannot_pass_run_after": "ours can run a task later",
    "test_throws_keyboard_interrupt": "the caller is not interrupted, for it does not run the task",
    "test_check": "ours warns of a queue in memory",
    "test_refresh_result": "it changes a result that the dummy backend keeps as an object",
    "test_refresh_result_async": "likewise",
}
SECONDS_MAX = 10


class Waiting(JobQueueBackend):
    """Waits for each task."""

    def enqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = super().enqueue(task, args, kwargs)
        self.queue.handle(result.id).wait(SECONDS_MAX)
        return self.get_result(result.id)

    async def aenqueue(self, task: Any, args: Any, kwargs: Any) -> Any:
        result = await super().aenqueue(task, args, kwargs)
        await asyncio.to_thread(self.queue.handle(result.id).wait, SECONDS_MAX)
        return self.get_result(result.id)


class Still(JobQueueBackend):
    """Runs nothing."""

    @property
    def queue(self) -> Any:
        return queues.get(self.alias, start=False)

    @property
    def results(self) -> list[Any]:
        return [self.get_result(each) for each in insides.status_map(self.queue).live]

    def clear(self) -> None:
        queues.close()


HERE = "tests.support.programs.djangos_own_tests"
_THEIRS = "django.tasks.backends"
STANDS_FOR = {
    f"{_THEIRS}.immediate import ImmediateBackend": f"{HERE} import Waiting as ImmediateBackend",
    f"{_THEIRS}.immediate.ImmediateBackend": f"{HERE}.Waiting",
    f"{_THEIRS}.dummy import DummyBackend": f"{HERE} import Still as DummyBackend",
    f"{_THEIRS}.dummy.DummyBackend": f"{HERE}.Still",
}


def main(source: str, directory: str) -> int:
    """Run them; returns the number of those that failed."""
    shutil.copytree(Path(source) / "tests" / "tasks", Path(directory) / "tasks")
    for module in MODULES:
        path = Path(directory) / "tasks" / f"{module}.py"
        text = path.read_text()
        for theirs, ours in STANDS_FOR.items():
            text = text.replace(theirs, ours)
        path.write_text(text)
    sys.path.insert(0, directory)
    end_test = SimpleTestCase.tearDown

    def close_and_end(test: Any) -> None:
        queues.close()
        end_test(test)

    SimpleTestCase.tearDown = close_and_end
    os.chdir(directory)
    runner = _Runner(verbosity=1)
    failures: int = runner.run_tests([f"tasks.{module}" for module in MODULES])
    return failures


class _Runner(DiscoverRunner):
    def build_suite(self, *args: Any, **kwargs: Any) -> Any:
        suite = super().build_suite(*args, **kwargs)
        kept = [each for each in _tests(suite) if each.id().rpartition(".")[2] not in LEFT_OUT]
        return unittest.TestSuite(kept)


def _tests(suite: Any) -> Any:
    for each in suite:
        yield from _tests(each) if isinstance(each, unittest.TestSuite) else [each]


if __name__ == "__main__":
    # Under the name by which Django imports the two backends, so that there is one of each class.
    from tests.support.programs import djangos_own_tests

    sys.exit(djangos_own_tests.main(*sys.argv[1:]))
