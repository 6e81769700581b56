"""Tasks of ours in a project's own tests: `immediate` within the transaction of a `TestCase`."""

from __future__ import annotations

import pytest

pytest.importorskip("django", reason="needs the extra 'django'")

from tests.support import django_project

django_project.set_up()

from django.core.management import call_command
from django.db import connection, transaction
from django.test import TestCase

from jobqueue.contrib.django import tasks
from jobqueue.testing import immediate


@tasks.task(name="rename")
def rename(pk: int, name: str) -> int:
    from django.contrib.auth.models import User

    changed: int = User.objects.filter(pk=pk).update(username=name)
    return changed


@pytest.fixture(scope="module", autouse=True)
def database() -> None:
    call_command("migrate", verbosity=0)


@pytest.mark.slow  # the first of them makes the tables
class TestsOfAProject(TestCase):
    def setUp(self) -> None:
        self.enterContext(immediate(tasks))

    def test_a_task_sees_what_the_test_has_not_committed(self) -> None:
        from django.contrib.auth.models import User

        user = User.objects.create(username="ada")
        assert rename.enqueue(user.pk, "grace").result(0) == 1
        user.refresh_from_db()
        assert user.username == "grace"
        assert connection.in_atomic_block

    def test_what_waits_for_the_commit_runs_when_the_test_says_so(self) -> None:
        from django.contrib.auth.models import User

        user = User.objects.create(username="ada")
        with self.captureOnCommitCallbacks(execute=True) as callbacks:
            transaction.on_commit(lambda: rename.enqueue(user.pk, "grace"))
        user.refresh_from_db()
        assert (len(callbacks), user.username) == (1, "grace")
