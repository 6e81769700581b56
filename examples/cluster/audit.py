"""What became of every order: by the producer's notes and by the workers'.

`python -m examples.cluster.audit` reads the files that CLUSTER_ACKS and CLUSTER_RECORD name.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ..lines import LineReader
from .tasks import ACKS, RECORD


@dataclass
class Record:
    """What the workers have noted: `began ORDER PID`, `packed ORDER PID`."""

    packed: Counter[int] = field(default_factory=Counter)
    began: dict[int, set[int]] = field(default_factory=dict)
    """The orders that a process has begun and not packed, by its id."""
    pids: set[int] = field(default_factory=set)

    def add(self, lines: Iterable[str]) -> None:
        for line in lines:
            what, order, pid = line.split()
            running = self.began.setdefault(int(pid), set())
            self.pids.add(int(pid))
            if what == "began":
                running.add(int(order))
            else:
                running.discard(int(order))
                self.packed[int(order)] += 1


@dataclass(frozen=True)
class Audit:
    """The result: numbers of orders, but for `lost`, which has them."""

    accepted: int
    packed: int
    twice: int
    interrupted: int
    lost: frozenset[int]

    @property
    def ok(self) -> bool:
        return not self.lost


def audit(accepted: Iterable[int], record: Record, killed: int) -> Audit:
    """Hold what was accepted against what was packed; `killed` is the dead worker's id."""
    known = frozenset(accepted)
    return Audit(
        accepted=len(known),
        packed=len(record.packed),
        twice=sum(times > 1 for times in record.packed.values()),
        interrupted=len(record.began.get(killed, ())),
        lost=known - record.packed.keys(),
    )


def main() -> int:
    """Tell what the files say that the environment names; whether nothing is lost, so far."""
    record = Record()
    record.add(LineReader(Path(os.environ[RECORD])).new())
    accepted = map(int, LineReader(Path(os.environ[ACKS])).new())
    result = audit(accepted, record, killed=0)
    print(f"accepted {result.accepted:,}, packed {result.packed:,}, twice {result.twice}")
    print(f"lost = {len(result.lost)}, or not packed yet")
    return 0 if result.ok else 1


if __name__ == "__main__":
    sys.exit(main())
