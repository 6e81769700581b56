"""Django: a backend for its tasks (6.0 and later), and tasks of ours for every version.

    # settings.py, Django 6
    INSTALLED_APPS = [..., "jobqueue.contrib.django"]
    TASKS = {
        "default": {
            "BACKEND": "jobqueue.contrib.django.JobQueueBackend",
            "OPTIONS": {"persist_path": BASE_DIR / "jobs"},
        }
    }

    # settings.py, Django 5.2
    INSTALLED_APPS = [..., "jobqueue.contrib.django"]
    JOBQUEUE = {"persist_path": BASE_DIR / "jobs"}

apps.py         the application
queues.py       opens a queue by the settings, in the process that first needs it
connections.py  closes database connections around each attempt
own.py          `tasks`: tasks of ours, which open that queue at their first call
commits.py      has their calls wait for the transaction to commit, with `on_commit`
checks.py       the system checks
results.py      what Django's task results say of a job
backend.py      `JobQueueBackend`
management/     the command `manage.py jobqueue`
web.py          `dashboard`, for those whom the admin site lets see background jobs
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from django import get_version
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "jobqueue.contrib.django needs django, which is not installed: pip install "
        "'jobqueue[django]'",
        name=error.name,
    ) from None

if TYPE_CHECKING:
    from .backend import JobQueueBackend
    from .own import tasks

__all__ = ["JobQueueBackend", "tasks"]


def __getattr__(name: str) -> object:
    """The names of this package, imported at their first use: Django imports it before its apps.

    And `JobQueueBackend` needs `django.tasks`, which only Django 6 has.
    """
    if name == "JobQueueBackend":
        try:
            from . import backend
        except ModuleNotFoundError as error:
            if error.name != "django.tasks":
                raise
            raise ImportError(
                f"JobQueueBackend is a backend for the tasks of Django 6, and this is Django "
                f"{get_version()}: declare tasks by jobqueue.contrib.django.tasks",
                name=error.name,
            ) from None
        return backend.JobQueueBackend
    if name == "tasks":
        from . import own

        return own.tasks
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
