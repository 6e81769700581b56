"""The application: it brings the command `manage.py jobqueue`, and a system check."""

from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class JobQueueConfig(AppConfig):
    """Opens nothing: `ready` is called in reloaders and in each command, too."""

    name = "jobqueue.contrib.django"
    label = "jobqueue"
    verbose_name = "Background jobs"

    def ready(self) -> None:
        """Have the settings checked with all others."""
        from .checks import check_setting

        checks.register(check_setting)
