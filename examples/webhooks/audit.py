"""What became of every event: by the receiver's own record and by the sender's acks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


class Record:
    """The receiver's answers, of which each line tells one: `<event id> <status> [<text>]`."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()  # how many times, by event id
        self.refused: set[str] = set()  # ids of events that were refused at least once
        self.answers: Counter[str] = Counter()  # by status and text

    def add(self, lines: Iterable[str]) -> None:
        for line in lines:
            event_id, answer = line.split(" ", 1)
            self.answers[answer] += 1
            if answer.startswith("200"):
                self.taken[event_id] += 1
            else:
                self.refused.add(event_id)


@dataclass(frozen=True)
class Audit:
    """The result of a run; the sets hold event ids."""

    delivered: int
    twice: int
    dead: Counter[str]  # how many, by reason
    unaccepted: frozenset[str]  # the queue never acknowledged them
    lost: frozenset[str]  # acknowledged, then neither delivered nor rightly dead-lettered

    @property
    def ok(self) -> bool:
        return not self.unaccepted and not self.lost


def audit(
    event_ids: Collection[str], acks: Collection[str], record: Record, dead: Mapping[str, str]
) -> Audit:
    """Hold the sender's word against the receiver's.

    A dead letter is no excuse by itself: one that the receiver has never refused is lost too.
    """
    accounted = record.taken.keys() | (dead.keys() & record.refused)
    return Audit(
        delivered=len(record.taken),
        twice=sum(times > 1 for times in record.taken.values()),
        dead=Counter(dead.values()),
        unaccepted=frozenset(event_ids) - frozenset(acks),
        lost=frozenset(acks) - accounted,
    )
