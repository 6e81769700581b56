"""The story: a PostgreSQL, two workers and a producer; one worker gets a SIGKILL in mid-load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from jobqueue.postgres import schema

from ..children import STALL_SECONDS, StoryError
from ..lines import LineReader
from ..screen import Screen
from .audit import Audit, Record, audit
from .server import running
from .tasks import ACKS, RECORD

_LOOK_SECONDS = 0.02
_WORKER = ("jobqueue.cli", "run", "examples.cluster.tasks", "--config", "examples.cluster.settings")


@dataclass(frozen=True)
class Outcome:
    """What there is to tell at the end; times are in seconds."""

    audit: Audit
    seconds: float
    resumed_after: float | None
    """From the kill until the last of the jobs that it cut off ran again."""


@contextmanager
def process(name: str, environment: Mapping[str, str], *module: str) -> Iterator[_Process]:
    """Run `python -m …`; it is killed at the end of the block if it still runs."""
    with subprocess.Popen(
        [sys.executable, "-m", *module],
        env=environment,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for us
    ) as child:
        try:
            yield _Process(name, child)
        finally:
            child.kill()
            assert child.stderr is not None
            child.stderr.read()


@dataclass(frozen=True)
class _Process:
    name: str
    child: subprocess.Popen[str]

    def check(self) -> None:
        code = self.child.poll()
        if code:
            assert self.child.stderr is not None
            raise StoryError(f"the {self.name} has ended ({code}):\n{self.child.stderr.read()}")


class Scenario:
    """One run, which keeps its files in the directory `home`."""

    def __init__(self, orders: int, home: Path, screen: Screen) -> None:
        self._orders = orders
        self._home = home
        self._screen = screen
        self._record = Record()
        self._lines = LineReader(home / "record")

    def run(self) -> Outcome:
        with running(("fsync=off",)) as server:  # its data are gone in the end anyway
            dsn = server.dsn()
            schema.install(dsn)
            self._screen.say("A PostgreSQL runs, with the tables of the queue.")
            files = {RECORD: str(self._home / "record"), ACKS: str(self._home / "acks")}
            environment = {**os.environ, **files, "JOBQUEUE_DSN": dsn}
            with (
                process("first worker", environment, *_WORKER) as victim,
                process("second worker", environment, *_WORKER) as survivor,
                process(
                    "producer", environment, "examples.cluster.producer", str(self._orders)
                ) as producer,
            ):
                return self._play(victim, survivor, producer)

    def _play(self, victim: _Process, survivor: _Process, producer: _Process) -> Outcome:
        begin = time.monotonic()
        self._until(
            lambda: (
                len(self._record.packed) >= self._orders / 3
                and len(self._record.pids) == 2
                and self._is_caught(victim.child)
            ),
            (victim, survivor, producer),
        )
        victim.child.send_signal(signal.SIGKILL)
        victim.child.wait()
        killed = time.monotonic()
        cut_off = self._begun_by(victim.child)
        self._screen.say(
            f"Worker {victim.child.pid} got a SIGKILL, in the middle of {len(cut_off)} jobs."
        )
        resumed = None
        if cut_off:
            self._until(lambda: cut_off <= self._record.packed.keys(), (survivor, producer))
            resumed = time.monotonic() - killed
        self._until(
            lambda: producer.child.poll() == 0 and self._accepted() <= self._record.packed.keys(),
            (survivor, producer),
        )
        result = audit(self._accepted(), self._record, victim.child.pid)
        return Outcome(result, time.monotonic() - begin, resumed)

    def _is_caught(self, worker: subprocess.Popen[str]) -> bool:
        """Stop a worker in the middle of a job; if it has none just now, it goes on."""
        worker.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, worker.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        self._record.add(self._lines.new())
        if self._begun_by(worker):
            return True
        worker.send_signal(signal.SIGCONT)
        return False

    def _begun_by(self, worker: subprocess.Popen[str]) -> set[int]:
        return set(self._record.began.get(worker.pid, ()))

    def _accepted(self) -> set[int]:
        return set(map(int, LineReader(self._home / "acks").new()))

    def _until(self, happened: Callable[[], bool], processes: tuple[_Process, ...]) -> None:
        """Wait for it; in the end it may not have happened: then the audit tells what is lost."""
        packed, since = 0, time.monotonic()
        while True:
            self._record.add(self._lines.new())
            if happened():
                return
            for each in processes:
                each.check()
            if self._record.packed.total() > packed:
                packed, since = self._record.packed.total(), time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                if processes and processes[-1].child.poll() == 0:
                    return
                raise StoryError(f"no job has ended for {STALL_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)
