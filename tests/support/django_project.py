"""Django, set up once in a process of the tests."""

from __future__ import annotations

import tempfile
from pathlib import Path

import django
from django.conf import settings

OURS = "jobqueue.contrib.django.JobQueueBackend"


def set_up() -> None:
    """Do it, if it was not done."""
    if settings.configured:
        return
    settings.configure(
        SECRET_KEY="of the tests",
        INSTALLED_APPS=["jobqueue.contrib.django"],
        USE_TZ=True,
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": Path(tempfile.mkdtemp()) / "db",
            }
        },
        JOBQUEUE={},
    )
    django.setup()
