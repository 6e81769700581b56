"""Flask: a queue for the process that serves, and tasks that run inside an application context.

    from jobqueue.contrib.flask import JobQueueExtension

    jobs = JobQueueExtension(tasks=tasks)

    def create_app() -> Flask:
        app = Flask(__name__)
        app.config["JOBQUEUE_PERSIST_PATH"] = "shop.jobs"
        jobs.init_app(app)
        return app

The queue is opened by the first request, so in the process that answers it: never in the parent of
a reloader, nor in that of gunicorn, also with `--preload`. It is closed at the interpreter's end,
after the last request. Requests of a test that has put something in its place open none.

Relies on: requests come on any thread; a lock of the extension is held while one opens the queue.
"""

from __future__ import annotations

import difflib
import os
import threading
import weakref
from dataclasses import fields
from typing import TYPE_CHECKING, Any

try:
    import click
    from flask import Flask, current_app
    from flask.cli import AppGroup
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"jobqueue.contrib.flask needs {error.name}, which is not installed: pip install "
        f"'jobqueue[flask]'",
        name=error.name,
    ) from None

from ..cli import main as command
from ..cli.database import dsn_given, on_postgres
from ..cli.logs import FORMATS, LEVELS, set_up
from ..cli.suited import no_worker, tell_start
from ..final import Config, ConfigError, JobQueue, Middleware
from ..final.serving import run
from ..tasks import QueueNotOpenError, Tasks
from .mounting import WsgiDashboard
from .opening import check_dashboard, suited

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..final import JobContext
    from ..web.security import AccessCheck

__all__ = ["JobQueueExtension"]

_NAME = "jobqueue"
_PREFIX = "JOBQUEUE_"
_FIELDS = tuple(field.name for field in fields(Config))


class JobQueueExtension:
    """Opens a queue for the tasks of an application, by its configuration.

    Each field of `Config` has a key: `JOBQUEUE_PERSIST_PATH`, `JOBQUEUE_NUM_WORKERS` and so on. It
    adds the commands `flask jobqueue run`, `inspect` and `dead`. Thread-safe.

    Args:
        app: the application; or call `init_app` later.
        tasks: the tasks. Each attempt runs inside an application context of its own, whose end
            calls the application's `teardown_appcontext` functions.
        web: the dashboard's path, as "/jobs"; it needs the extra `wsgi`.
        access: who may use it, as for `jobqueue.web.dashboard`, of Starlette's request; has to be
            given with `web`.

    Raises:
        TypeError: `tasks` are no `Tasks`.
        ValueError: only one of `web` and `access` is given, or that is no path.
        ImportError: what the dashboard needs is not installed.
        Exception: as `init_app`.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        tasks: Tasks,
        web: str | None = None,
        access: AccessCheck | None = None,
    ) -> None:
        if not isinstance(tasks, Tasks):
            raise TypeError(
                f"JobQueueExtension takes the Tasks to run, as in JobQueueExtension(tasks=tasks), "
                f"not {tasks!r}"
            )
        self._tasks = tasks
        self._web, self._access = check_dashboard(web, access, by_wsgi=True), access
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Have the application's first request open the queue; opens nothing by itself.

        Raises:
            ConfigError: a `JOBQUEUE_` key of the application's configuration cannot work.
            RuntimeError: the application has such an extension already.
        """
        if _NAME in app.extensions:
            raise RuntimeError(
                "a 'JobQueueExtension' is registered on this Flask app already; give it all tasks "
                "(tasks.include), or import and use that one"
            )
        _config(app)
        app.extensions[_NAME] = opener = _Opener(app, self._tasks, self)
        self._tasks.in_tests = (_InAppContext(app),)  # of the test's own application, so the last
        if self._web is not None:
            pages = WsgiDashboard(app.wsgi_app, self._web, opener.open, self._access)
            opener.dashboard = pages
            app.wsgi_app = pages  # type: ignore[method-assign]  # as Flask's documentation does
        app.before_request(opener.open_for_request)
        app.cli.add_command(_commands())

    @property
    def queue(self) -> JobQueue:
        """The current application's queue; opened, if it is not yet.

        Raises:
            RuntimeError: there is no application context; or `init_app` was not called for that.
            Exception: as `JobQueue` does.
        """
        return self._opener().open()

    def close(self) -> None:
        """Close the current application's queue, if it is open; the next request opens it again.

        For tests, and for programs that end in another way than by the interpreter's end.
        """
        self._opener().close()

    def _opener(self) -> _Opener:
        opener: _Opener | None = current_app.extensions.get(_NAME)
        if opener is None or opener.extension is not self:
            raise RuntimeError(
                "the current Flask app is not registered with this 'JobQueueExtension' instance; "
                "did you forget to call 'init_app', or did you make several instances?"
            )
        return opener


class _Opener:
    """The queue of one application in this process. Thread-safe."""

    def __init__(self, app: Flask, tasks: Tasks, extension: JobQueueExtension) -> None:
        self.extension = extension
        self._app = app
        self._tasks = tasks
        self._lock = threading.Lock()  # held while the queue is opened or closed
        self._queue: JobQueue | None = None
        self.dashboard: WsgiDashboard | None = None
        _openers.add(self)

    def open_for_request(self) -> None:
        """Before each request; gives no answer of its own."""
        if self._queue is None and not self._tasks.has_stand_in:
            self.open()

    def open(self, *, start: bool = True) -> JobQueue:
        """The queue; made by the first that asks, if no test has bound the tasks to one.

        Raises:
            RuntimeError: another application has a queue open for the tasks.
        """
        with self._lock:
            if self._queue is None:
                bound = self._bound()
                if bound is not None:
                    return bound
                self._queue = self._tasks.open(
                    suited(_config(self._app), self._tasks),
                    middleware=[_InAppContext(self._app)],
                    start=start,
                )
                if start:
                    self._queue.start()  # also if coroutines are to run on a loop of its own
            return self._queue

    def _bound(self) -> JobQueue | None:
        """The queue that is open for the tasks already, as in a test; who has opened it closes it.

        Not that of another application: tasks would run inside that one's context.
        """
        try:
            queue = self._tasks.queue
        except QueueNotOpenError:
            return None
        for other in list(_openers):
            if other._queue is queue:
                raise RuntimeError(
                    f"another Flask app of this process, {other._app.name!r}, has the queue of "
                    f"these tasks open; close it by JobQueueExtension.close() in that app's "
                    f"context, as at the end of a test, or give each app Tasks of its own"
                )
        return queue

    def close(self) -> None:
        """Close it."""
        with self._lock:
            queue, self._queue = self._queue, None
        if self.dashboard is not None:
            self.dashboard.close()
        if queue is not None:
            queue.close()

    def forked(self) -> None:
        """In a forked child: the queue is the parent's, and the lock may have been held."""
        self._lock = threading.Lock()
        self._queue = None


_openers: weakref.WeakSet[_Opener] = weakref.WeakSet()


def _forked() -> None:
    for opener in list(_openers):
        opener.forked()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)


class _InAppContext(Middleware):
    """Runs each attempt inside an application context."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        with self._app.app_context():
            return call_next(context)

    async def aattempt(
        self, context: JobContext, call_next: Callable[[JobContext], Awaitable[object]]
    ) -> object:
        with self._app.app_context():
            return await call_next(context)


def _config(app: Flask) -> Any:
    """The settings that the application's configuration has; with `JOBQUEUE_DSN` on PostgreSQL.

    Raises:
        ConfigError: a key is no setting, or has a value that cannot work.
    """
    given: dict[str, Any] = app.config.get_namespace(_PREFIX)
    dsn = given.pop("dsn", None) or (None if given else dsn_given())
    if dsn is not None:
        try:
            return on_postgres(dsn, **given)
        except TypeError as error:
            raise ConfigError(f"{_PREFIX}…: {error}") from None
    for name in given:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, 1)
            hint = f"did you mean {_PREFIX}{near[0].upper()}?" if near else "see jobqueue.Config"
            raise ConfigError(f"{_PREFIX}{name.upper()} is no setting of the queue; {hint}")
    config = Config(**given)
    if config.executor == "process":
        raise ConfigError(
            "JOBQUEUE_EXECUTOR='process' does not go with Flask: its tasks run inside an "
            "application context, which other processes do not have; use 'thread' or 'asyncio'"
        )
    return config


# ── commands ─────────────────────────────────────────────────────────────────────────────────────


def _commands() -> AppGroup:
    group = AppGroup("jobqueue", help="The application's background jobs.")
    raw = {"ignore_unknown_options": True, "help_option_names": []}

    @group.command("run")
    @click.option("--log-format", type=click.Choice(FORMATS), default=FORMATS[0])
    @click.option("--log-level", type=click.Choice(LEVELS), default="info")
    @click.pass_context
    def serve(context: click.Context, log_format: str, log_level: str) -> None:
        """Run the jobs, until SIGTERM or Ctrl-C."""
        why = no_worker(_config(current_app), "JOBQUEUE_SHARE='auto'")
        if why is not None:
            raise click.UsageError(why)
        set_up(log_format, log_level)
        opener: _Opener = current_app.extensions[_NAME]
        queue = opener.open(start=False)
        tell_start(current_app.name, queue)
        context.exit(run(queue))

    @group.command("inspect", context_settings=raw)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def inspect(context: click.Context, arguments: tuple[str, ...]) -> None:
        """Look into the log: as `jobqueue log inspect`."""
        context.exit(_look("inspect", arguments))

    @group.command("dead", context_settings=raw)
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def dead(context: click.Context, arguments: tuple[str, ...]) -> None:
        """List the failed jobs, requeue or discard them: as `jobqueue log dead`."""
        context.exit(_look("dead", arguments))

    return group


def _look(what: str, arguments: tuple[str, ...]) -> int:
    """Run a command on the application's log; returns its exit code."""
    config = _config(current_app)
    if not isinstance(config, Config):
        raise click.UsageError("the queue is on PostgreSQL, so there is no log to look into")
    if config.persist_path is None:
        raise click.UsageError(
            "the queue is in memory, so there is no log to look into; set JOBQUEUE_PERSIST_PATH"
        )
    shared = ["--allow-shared"] if config.allow_shared else []
    return command(["log", what, os.fspath(config.persist_path), *shared, *arguments])
