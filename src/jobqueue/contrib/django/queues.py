"""The queues of this process, each opened by the settings when it is first needed.

So neither a reloader nor a command that enqueues nothing opens one, and after a fork the child
opens its own. A queue is closed at the interpreter's end.

Whose thread: any. One lock is held while a queue is opened; it is taken before any of a queue's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules, import_string

from ...cli.database import on_postgres
from ...final import Config, ConfigError, JobQueue
from ...final.spelling import did_you_mean
from ..opening import suited
from .connections import Connections
from .own import tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    from ...final import Middleware

DEFAULT = "default"
HANDLER = "django.tasks"
"""The name of the handler that runs Django's tasks, as the log has it."""
_FIELDS = tuple(field.name for field in fields(Config))


@dataclass(frozen=True, slots=True)
class Options:
    """What the settings say of one queue.

    Attributes:
        config: the queue's own settings: a `Config`, or with `dsn` a `PostgresConfig`.
        on_commit: whether to enqueue when the transaction commits that goes on.
    """

    config: Any
    on_commit: bool

    @classmethod
    def of(cls, given: Any) -> Options:
        """Check the options.

        Raises:
            ImproperlyConfigured: one cannot work; the message names it.
        """
        if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
            raise ImproperlyConfigured(
                f"jobqueue: the options are a dictionary of names and values, as in "
                f"JOBQUEUE = {{'persist_path': ...}}, not {given!r}"
            )
        values = {"max_retries": 0, **given}  # Django's tasks know no retries
        on_commit = values.pop("on_commit", False)
        if not isinstance(on_commit, bool):
            raise ImproperlyConfigured(f"jobqueue: on_commit must be True or False: {on_commit!r}")
        is_on_postgres = "dsn" in values
        unknown = sorted(set(values) - set(_FIELDS))
        if unknown and not is_on_postgres:
            there_are = (
                f"; there are 'on_commit' and the fields of jobqueue.Config: {', '.join(_FIELDS)}"
            )
            meant = did_you_mean(unknown[0], ["on_commit", *_FIELDS])
            raise ImproperlyConfigured(
                f"jobqueue: {', '.join(map(repr, unknown))} is no option{meant or there_are}"
            )
        try:
            config: Any = on_postgres(**values) if is_on_postgres else Config(**values)
        except (ConfigError, ImportError, TypeError) as error:
            raise ImproperlyConfigured(f"jobqueue: {error}") from None
        if config.executor != "thread":
            raise ImproperlyConfigured(
                f"jobqueue: executor={config.executor!r} does not go with Django: its tasks run in "
                f"threads, with database connections of their own, coroutines too"
            )
        return cls(config, on_commit)


def backend_class(alias: str) -> type | None:
    """The class of a backend in `TASKS`, if that is ours, or one that derives from it."""
    path = getattr(settings, "TASKS", {}).get(alias, {}).get("BACKEND")
    try:
        from .backend import JobQueueBackend
    except ImportError:  # Django 5.2, which takes no notice of TASKS
        return None
    found = None if path is None else import_string(path)
    return found if isinstance(found, type) and issubclass(found, JobQueueBackend) else None


def given_options(alias: str = DEFAULT) -> Mapping[str, Any]:
    """The options as the settings have them: of the backend in `TASKS`, or else `JOBQUEUE`.

    Raises:
        ImproperlyConfigured: there are none.
    """
    options: Mapping[str, Any] | None = getattr(settings, "JOBQUEUE", None)
    if backend_class(alias) is not None:
        options = settings.TASKS[alias].get("OPTIONS", {})
    elif alias != DEFAULT:
        options = None
    if options is None:
        raise ImproperlyConfigured(
            f"jobqueue: no settings for the queue {alias!r}; write JOBQUEUE = {{'persist_path': "
            f"...}}, or with Django 6 into TASKS a backend "
            f"'jobqueue.contrib.django.JobQueueBackend'"
        )
    return options


class Queues:
    """All queues of this process, by alias. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # guards the dictionary; held while a queue is opened
        self._open: dict[str, JobQueue] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forked)

    def opened(self, alias: str = DEFAULT) -> JobQueue | None:
        """The queue, if it is open; never waits, so it may be asked on an event loop."""
        return self._open.get(alias)

    def get(self, alias: str = DEFAULT, *, start: bool = True) -> JobQueue:
        """The queue, opened if it is not yet.

        Raises:
            ImproperlyConfigured: the settings do not fit.
            Exception: as `JobQueue` does.
        """
        queue = self._open.get(alias)
        if queue is None:
            with self._lock:
                queue = self._open.get(alias) or self._make(alias, start=start)
        return queue

    def _make(self, alias: str, *, start: bool) -> JobQueue:
        """With the lock."""
        options = Options.of(given_options(alias))
        if alias == DEFAULT:
            autodiscover_modules("tasks")  # so that all of them are known before a job runs
        handlers: dict[str, Callable[..., object]] = {}
        middleware: list[Middleware] = [Connections()]
        if backend_class(alias) is not None:
            from .backend import Finished, run_task

            handlers[HANDLER] = run_task
            middleware.append(Finished(alias))
        opener = suited(options.config, tasks)
        queue = cast("JobQueue", opener.open(handlers, middleware=middleware, start=False))
        try:
            if alias == DEFAULT:
                (tasks.bind_by_commits if options.on_commit else tasks.bind)(queue)
            if start:
                queue.start()
        except BaseException:
            queue.close(0, drain=False)
            raise
        self._open[alias] = queue
        return queue

    def close(self) -> None:
        """Close all of them; a call opens them again. For tests."""
        with self._lock:
            for queue in self._open.values():
                queue.close()
            self._open.clear()

    def _forked(self) -> None:
        self._lock = threading.RLock()
        self._open.clear()


queues = Queues()
