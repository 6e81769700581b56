"""`BackgroundJob`: what the admin site and its permissions know a job by. It has no table.

The jobs are in the queue's log, not in the database; nothing is to be migrated.
"""

from __future__ import annotations

from django.db import models


class BackgroundJob(models.Model):
    """A name in the admin site's index, and for permissions: `view` looks, `change` steers."""

    id = models.CharField(max_length=255, primary_key=True)

    class Meta:
        """Of no table."""

        managed = False
        app_label = "jobqueue"
        verbose_name = "background job"
        default_permissions = ("view", "change")
