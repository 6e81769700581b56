"""The server, a database for each contender, and its processes while it has its turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from examples.cluster.server import Server, running

from ..measure import scratch
from . import notes
from .contenders import CONTENDERS, OURS, Contender, Place

SETTINGS = ("max_connections=300", "shared_buffers=256MB")
"""All else is as shipped: a commit waits for the disk, as it does where jobs matter."""

WAIT_SECONDS_MAX = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")


class HangsError(Exception):
    """Something that was to come did not."""


@dataclass
class Process:
    """A child of `child.py`."""

    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        """Its id."""
        return self.process.pid

    def line(self) -> str:
        """The next line that it says."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline().strip()
        if not text:
            raise HangsError(f"{self.process.args!r} has ended: {self.process.wait()}")
        return text

    def order(self, text: str) -> None:
        """Have a producer do something, and go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()

    def do(self, text: str) -> tuple[float, float]:
        """Have a producer do something; when it began, and when it had done it."""
        self.order(text)
        return self.times()

    def times(self) -> tuple[float, float]:
        """What it says when it has done what it was ordered."""
        begin, end = map(float, self.line().split())
        return begin, end

    def kill(self) -> None:
        """End it with a SIGKILL."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()


@dataclass
class Stand:
    """A contender with its database and its notes."""

    name: str
    contender: Contender
    place: Place
    notes: Path
    processes: list[Process] = field(default_factory=list)

    def start(self, role: str, dead_after: float | None = None) -> Process:
        """Start a process, which is ready when this returns."""
        process = self._child(role, dead_after)
        if role != "install":
            assert process.line() == "ready"
        return process

    def producers(self, count: int) -> list[Process]:
        """Start so many that enqueue."""
        return [self.start("produce") for _ in range(count)]

    def workers(self, count: int, dead_after: float | None = None) -> list[Process]:
        """Start so many that run jobs; they take up all that there is."""
        started = [self._child("work", dead_after) for _ in range(count)]
        for each in started:
            assert each.line() == "ready"
        return started

    def _child(self, role: str, dead_after: float | None = None) -> Process:
        place = self.place
        given = [place.dsn, place.redis, "" if dead_after is None else str(dead_after)]
        process = Process(
            subprocess.Popen(
                [sys.executable, "-m", "benchmarks.engine.child", self.name, role, *given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, notes.FILE: str(self.notes)},
            )
        )
        self.processes.append(process)
        return process

    def wait_for_notes(self, count: int) -> None:
        """Wait until so many jobs have been started."""
        wait_until(lambda: notes.count(self.notes) >= count, f"{self.name}: {count} jobs run")

    def kill(self, processes: Sequence[Process]) -> None:
        """End some of its processes."""
        for each in processes:
            each.kill()
            self.processes.remove(each)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill(list(self.processes))


class Arena:
    """One server for all.

    Args:
        server: that runs.
        directory: for notes.
        redis: the socket of one; "" if there is none.
        only: the names of contenders; `None`: all that there are.
    """

    def __init__(
        self, server: Server, directory: Path, redis: str, only: Sequence[str] | None
    ) -> None:
        self._only = only
        self._server = server
        self._directory = directory
        self._redis = redis
        self._count = 0
        self._templates: set[str] = set()

    def names(self, *, on_postgres: bool = False) -> list[str]:
        """Which contenders there are here."""
        return [
            name
            for name, each in CONTENDERS.items()
            if (each.on_postgres or (self._redis and not on_postgres))
            and (_is_there(name) if self._only is None else name in self._only)
        ]

    @contextmanager
    def stand(self, name: str) -> Iterator[Stand]:
        """A contender with a database that is as good as new."""
        self._count += 1
        database, template = f"turn{self._count}", _template(name)
        if template not in self._templates:
            self._make(name, template)
        self._server.sql(f"CREATE DATABASE {database} TEMPLATE {template}")
        place = Place(self._server.dsn(database), self._redis)
        book = self._directory / database
        try:
            with Stand(name, CONTENDERS[name], place, book) as stand:
                yield stand
        finally:
            self._server.sql(f"DROP DATABASE {database} WITH (FORCE)")
            if self._redis:
                subprocess.run(["redis-cli", "-s", self._redis, "flushall"], check=True,
                               stdout=subprocess.DEVNULL)  # fmt: skip

    def _make(self, name: str, template: str) -> None:
        self._server.sql(f"CREATE DATABASE {template}")
        place = Place(self._server.dsn(template), self._redis)
        with Stand(name, CONTENDERS[name], place, self._directory / template) as stand:
            code = stand.start("install").process.wait(WAIT_SECONDS_MAX)
        if code != 0:
            raise HangsError(f"{name} could not be installed")
        self._templates.add(template)

    def server_cpu(self) -> float:
        """Seconds of processor time that PostgreSQL has taken, all of its processes together."""
        postmaster = self._server.process.pid
        total = 0.0
        for entry in os.listdir("/proc"):
            if not entry.isdigit():
                continue
            try:
                with open(f"/proc/{entry}/stat", encoding="utf-8") as file:
                    fields = file.read().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile; the postmaster has its time
            own, of_the_dead = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
            if int(entry) == postmaster:
                total += own + of_the_dead
            elif int(fields[1]) == postmaster:
                total += own
        return total / _TICKS


def _template(name: str) -> str:
    return "made_" + "".join(each for each in name.lower() if each.isalnum())


def _is_there(name: str) -> bool:
    from importlib.util import find_spec

    return name != OURS or find_spec("jobqueue.postgres") is not None


def wait_until(happened: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS_MAX) -> None:
    """Look again and again.

    Raises:
        HangsError: it does not happen.
    """
    until = time.monotonic() + seconds
    while not happened():
        if time.monotonic() >= until:
            raise HangsError(f"{what}: not within {seconds:g} s")
        time.sleep(0.005)


@contextmanager
def opened(only: Sequence[str] | None = None) -> Iterator[Arena]:
    """An arena with a PostgreSQL, and with a Redis if one is installed."""
    with ExitStack() as stack:
        directory = stack.enter_context(scratch())
        server = stack.enter_context(running(SETTINGS))
        redis = (
            stack.enter_context(_redis(server.directory)) if shutil.which("redis-server") else ""
        )
        yield Arena(server, directory, redis, only)


@contextmanager
def _redis(directory: Path) -> Iterator[str]:
    socket = f"{directory}/redis"
    process = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", socket, "--save", ""],
        stdout=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: os.path.exists(socket), "Redis starts")
        yield socket
    finally:
        process.terminate()
        process.wait()
