"""A record of what happened that outlives the process that keeps it."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path


class Ledger:
    """A file of notes, each a word and the id of a job.

    A note is one `write` to a file opened with `O_APPEND`. Once that has returned, the kernel has
    it, and no death of the process can take it back. Threads and processes may share the file.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def note(self, what: str, job_id: str) -> None:
        """Write a note down."""
        os.write(self._fd, f"{what} {job_id}\n".encode())

    def close(self) -> None:
        """Close the file."""
        os.close(self._fd)

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_ledger(path: Path) -> dict[str, list[str]]:
    """The notes of a ledger: for each word the ids, in order, each as often as it was noted."""
    notes: dict[str, list[str]] = defaultdict(list)
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            what, job_id = line.split()
            notes[what].append(job_id)
    return notes
