"""Programs of the lab in processes of their own, for what ends a process or fills its memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
"""The checkout. The lab is not installed: other processes find it only here."""

SECONDS_MAX = 60.0
"""A program that takes longer hangs, and is killed."""


class ProgramError(Exception):
    """A program ended that should not have; the message is what it wrote to standard error."""


class Program:
    """A module of the lab, run by an interpreter of its own, and killed at the end of the block.

    It gets its settings as JSON in its only argument, and tells what it does line by line on its
    standard output.
    """

    def __init__(self, module: str, settings: object) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.{module}", json.dumps(settings)],
            env=os.environ | {"PYTHONPATH": search_path(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._watchdog = threading.Timer(SECONDS_MAX, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def line(self) -> str:
        """Wait for the next line that it writes.

        Raises:
            ProgramError: it has ended.
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            assert self._process.stderr is not None
            raise ProgramError(f"the program has ended:\n{self._process.stderr.read()}")
        return line.rstrip("\n")

    def kill(self) -> None:
        """End it with SIGKILL, which no program can catch, and wait until it is gone."""
        self._process.kill()
        self._process.wait()

    def terminate(self) -> None:
        """Ask it to end, with SIGTERM."""
        self._process.terminate()

    def wait(self) -> int:
        """Wait for its end; returns its exit code, below 0 that of a signal."""
        return self._process.wait()

    def is_running(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.poll() is None

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        self.kill()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()


def search_path(*first: Path) -> str:
    """A value for `PYTHONPATH`: these directories, then those that stand there already."""
    before = os.environ.get("PYTHONPATH")
    return os.pathsep.join([*map(str, first), *([before] if before else [])])


def run_each(calls: Iterable[Callable[[], T]], at_a_time: int) -> Iterator[T]:
    """The results of calls, in order. One at a time disturbs none; several are done sooner."""
    with ThreadPoolExecutor(at_a_time) as threads:
        yield from threads.map(lambda call: call(), calls)


def resident_bytes(pid: int) -> int:
    """How much memory a process occupies now (RSS), in bytes."""
    statm = Path(f"/proc/{pid}/statm")
    if statm.exists():
        import resource

        return int(statm.read_text(encoding="ascii").split()[1]) * resource.getpagesize()
    told = subprocess.run(
        ["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=True
    )
    return int(told.stdout) * 1024
