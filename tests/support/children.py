"""Python programs in processes of their own, for what would harm the process of the tests."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.waiting import PATIENCE

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent.parent
CHILD_SECONDS_MAX = 60.0


class Child:
    """A program of `tests/support/programs`, started with arguments.

    It tells what it does line by line on its standard output, and is killed at the end of a
    `with` block. `acks` is a file outside of any log that programs write to: what they wrote
    there before they died is there.

    Attributes:
        lines: what it has written so far, line by line; `None` at the end.
    """

    def __init__(self, program: str, *args: object, prefix: Sequence[str] = ()) -> None:
        command = [sys.executable, "-X", "faulthandler", "-m", f"tests.support.programs.{program}"]
        self.process = subprocess.Popen(
            [*prefix, *command, *map(str, args)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        self.lines: queue.Queue[str | None] = queue.Queue()
        self._stderr: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_stdout, daemon=True),
            threading.Thread(target=self._read_stderr, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read_stdout(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line.rstrip("\n"))
        self.lines.put(None)

    def _read_stderr(self) -> None:
        assert self.process.stderr is not None
        self._stderr.extend(self.process.stderr)

    @property
    def stderr(self) -> str:
        """What it has written to its standard error."""
        return "".join(self._stderr)

    def line(self, timeout: float = CHILD_SECONDS_MAX) -> str:
        """The next line of its output."""
        line = self.lines.get(timeout=timeout)
        assert line is not None, f"the child ended:\n{self.stderr}"
        return line

    def say(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self, timeout: float = CHILD_SECONDS_MAX) -> int:
        """Wait for its end; returns its exit code, below 0 that of a signal."""
        code = self.process.wait(timeout)
        for reader in self._readers:
            reader.join(PATIENCE)
        return code

    def rest(self) -> list[str]:
        """The lines that are left, after its end."""
        lines = []
        while (line := self.lines.get(timeout=PATIENCE)) is not None:
            lines.append(line)
        return lines

    def __enter__(self) -> Child:
        return self

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.end()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream is not None
            stream.close()


def run(program: str, *args: object, prefix: Sequence[str] = ()) -> list[str]:
    """Run a program to its end, which must be a good one; returns the lines of its output."""
    with Child(program, *args, prefix=prefix) as child:
        assert child.end() == 0, child.stderr
        return child.rest()


def run_json(program: str, *args: object, prefix: Sequence[str] = ()) -> dict[str, Any]:
    """Run a program whose last line of output is a JSON object."""
    found = json.loads(run(program, *args, prefix=prefix)[-1])
    assert isinstance(found, dict)
    return found


class Acks:
    """A file of lines that survives the death of the process that writes it.

    A line counts when it ends with a newline: the last one may be cut.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, *lines: str) -> None:
        """Hand lines to the kernel, in one write."""
        os.write(self._fd, "".join(f"{line}\n" for line in lines).encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)


def read_acks(path: str | Path) -> list[str]:
    """The whole lines of a file of acks."""
    if not Path(path).exists():
        return []
    return list(_whole_lines(Path(path).read_text(encoding="utf-8").splitlines(keepends=True)))


def _whole_lines(lines: Iterable[str]) -> Iterator[str]:
    return (line[:-1] for line in lines if line.endswith("\n"))
