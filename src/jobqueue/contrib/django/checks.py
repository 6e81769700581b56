"""System checks of the settings of a queue, by `manage.py check` and before most other commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.core.exceptions import ImproperlyConfigured

from .queues import DEFAULT, Options, backend_class, given_options

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_options(
    given: Mapping[str, Any], whose: str, setting: str, obj: object = None
) -> list[CheckMessage]:
    """What is to be said of the options of one queue.

    Args:
        whose: the queue, as a sentence names it.
        setting: the name of the setting.
        obj: what Django shows before the message.
    """
    try:
        options = Options.of(given)
    except ImproperlyConfigured as error:
        return [Error(str(error), obj=obj, id="jobqueue.E001")]
    if options.config.persist_path is not None or "dsn" in given:
        return []
    return [
        Warning(
            f"The jobs of {whose} are lost when the process ends.",
            hint=f"Name a directory for its log: {setting} = {{'persist_path': ...}}.",
            obj=obj,
            id="jobqueue.W001",
        )
    ]


def check_setting(**_kwargs: Any) -> list[CheckMessage]:
    """The setting `JOBQUEUE`, if it is there; it has no use beside a backend of Django's tasks."""
    given = getattr(settings, "JOBQUEUE", None)
    if given is None:
        return []
    if backend_class(DEFAULT) is None:
        return check_options(given, "jobqueue.contrib.django.tasks", "JOBQUEUE")
    if given == given_options(DEFAULT):
        return []
    return [
        Warning(
            "The setting JOBQUEUE is not used: the OPTIONS of task backend 'default' hold.",
            hint="Merge it into these and remove it. A log that it names keeps what waits there.",
            id="jobqueue.W002",
        )
    ]
