"""`jobqueue run --reload`: a process that starts the worker anew when its code changes.

It imports nothing of the user's. The worker is a process of its own that is ended as by a SIGTERM,
so that what it runs is finished, and only then started again: its log has one owner at a time. It
has a process group of its own, for Ctrl-C on a terminal goes to a whole group, and a worker that
got that and a SIGTERM besides would give up what it runs. If this process is killed, the worker
notices by a pipe.

On the main thread, but for one thread that watches files, and one that waits for the worker's end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from ..final.serving import Signals
from .exits import CommandError, Exit
from .logs import logger, set_up

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def supervise(parsed: argparse.Namespace, arguments: Sequence[str]) -> int:
    """Run the worker until a signal, each time anew after a change.

    Returns:
        The exit code of the last one.

    Raises:
        CommandError: watchfiles is not installed, or a directory is not there.
    """
    try:
        import watchfiles
    except ModuleNotFoundError:
        raise CommandError(
            Exit.USAGE,
            "--reload watches files with watchfiles, which is not installed: "
            "pip install 'jobqueue[reload]'",
        ) from None
    set_up(parsed.log_format, parsed.log_level)
    directories = parsed.reload_dir or [parsed.app_dir]
    for each in directories:
        if not os.path.isdir(each):
            raise CommandError(Exit.USAGE, f"there is no directory {each!r} to watch (--reload)")
    with Signals() as signals:
        changed = _Changes(signals)
        only_code = watchfiles.PythonFilter()

        def watch() -> None:
            for files in watchfiles.watch(*directories, watch_filter=only_code):
                changed.tell({os.path.relpath(path) for _, path in files})

        threading.Thread(target=watch, name="jobqueue-reload", daemon=True).start()
        return _Supervisor(signals, changed, arguments).run()


class _Changes:
    """The files that have changed. Told by the thread that watches, taken by the main thread."""

    def __init__(self, signals: Signals) -> None:
        self._signals = signals
        self._lock = threading.Lock()  # guards the set
        self._files: set[str] = set()

    def tell(self, files: set[str]) -> None:
        with self._lock:
            self._files |= files
        self._signals.wake()

    def take(self) -> list[str]:
        with self._lock:
            files, self._files = sorted(self._files), set()
        return files


class _Supervisor:
    """Starts the worker, ends it, and starts it again."""

    def __init__(self, signals: Signals, changes: _Changes, arguments: Sequence[str]) -> None:
        self._signals = signals
        self._changes = changes
        self._command = [sys.executable, "-m", __package__ or "", "run", *arguments]
        self._lifeline, self._our_end = os.pipe()  # it ends with this process

    def run(self) -> int:
        """Until a signal."""
        worker = self._start()
        is_ending = is_to_restart = is_told = False
        while True:
            number = self._signals.wait()
            files = self._changes.take()
            if files and not is_ending and not is_to_restart:
                logger.info("changed: %s; starting anew", ", ".join(files))
                is_to_restart = True
                worker.terminate()
            if number:
                is_ending = True
                worker.terminate()
            code = worker.poll()
            if code is None:
                continue
            if is_ending:
                return code if code >= 0 else 128 - code
            if is_to_restart:
                worker = self._start()
                is_to_restart = is_told = False
            elif not is_told:
                logger.error("the worker ended, with code %d; it starts anew on a change", code)
                is_told = True

    def _start(self) -> subprocess.Popen[bytes]:
        worker = subprocess.Popen(
            [*self._command, "--no-reload", "--lifeline", str(self._lifeline)],
            pass_fds=[self._lifeline],
            process_group=0,
        )

        def tell_of_end() -> None:
            worker.wait()
            self._signals.wake()

        threading.Thread(target=tell_of_end, name="jobqueue-worker-end", daemon=True).start()
        return worker
