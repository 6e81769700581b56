"""The application: it brings the command `manage.py jobqueue`."""

from __future__ import annotations

from django.apps import AppConfig


class JobQueueConfig(AppConfig):
    """Opens nothing: `ready` is called in reloaders and in each command, too."""

    name = "jobqueue.contrib.django"
    label = "jobqueue"
    verbose_name = "Background jobs"
