"""What became of every e-mail: by the server's record and mailboxes, and by the sender's notes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass


class Record:
    """The server's replies, of which each line tells one: `<id> <sending host> <reply>`."""

    def __init__(self) -> None:
        self.taken: dict[str, list[str]] = {}  # the sending hosts, in order, by the e-mail's id
        self.refused: set[str] = set()  # ids that were refused or deferred at least once
        self.replies: Counter[str] = Counter()

    def add(self, lines: Iterable[str]) -> None:
        for line in lines:
            mail_id, host, reply = line.split(" ", 2)
            self.replies[reply] += 1
            if reply.startswith("2"):
                self.taken.setdefault(mail_id, []).append(host)
            else:
                self.refused.add(mail_id)


@dataclass(frozen=True)
class Notes:
    """What the sender says."""

    acks: Collection[str]  # ids that its queue has accepted
    doubts: Counter[tuple[str, str]]  # by host and id: replies that were waited for in vain
    recovered: frozenset[str]  # ids that the log knew as unfinished after the kill
    dead: Mapping[str, str]  # reasons, by id


@dataclass(frozen=True)
class Audit:
    """The result of a run. The sets hold ids of e-mails, the two counts second copies."""

    delivered: int
    dead: Counter[str]  # how many, by reason
    copies_by_kill: int  # the server had them; the log did not know yet
    copies_by_doubt: int  # the server had them; its reply came too late
    unexplained: frozenset[str]  # came twice, for none of these reasons
    altered: frozenset[str]  # what lies in the mailbox is not what was written
    unaccepted: frozenset[str]  # the queue never acknowledged them
    lost: frozenset[str]  # acknowledged, then neither delivered nor rightly dead-lettered

    @property
    def ok(self) -> bool:
        return not (self.unexplained or self.altered or self.unaccepted or self.lost)


def audit(
    written: Mapping[str, bytes], mailboxes: Mapping[str, bytes], record: Record, notes: Notes
) -> Audit:
    """Hold the sender's word against the server's.

    A dead letter is no excuse by itself: one that the server has never refused is lost too.
    """
    by_kill, by_doubt, unexplained = _copies(record, notes)
    accounted = mailboxes.keys() | (notes.dead.keys() & record.refused)
    return Audit(
        delivered=len(mailboxes),
        dead=Counter(notes.dead.values()),
        copies_by_kill=by_kill,
        copies_by_doubt=by_doubt,
        unexplained=unexplained,
        altered=frozenset(i for i, message in mailboxes.items() if message != written.get(i)),
        unaccepted=frozenset(written) - frozenset(notes.acks),
        lost=frozenset(notes.acks) - accounted,
    )


def _copies(record: Record, notes: Notes) -> tuple[int, int, frozenset[str]]:
    """Count the copies that the kill explains, those that lost replies explain, and name the rest.

    A sender that lives sends again only what it was in doubt about. The next one sends again only
    what the log, left behind by the kill, does not know as finished.
    """
    by_kill = by_doubt = 0
    unexplained = set()
    for mail_id, hosts in record.taken.items():
        handed_on = len(set(hosts)) - 1  # from one life to the next
        for host, times in Counter(hosts).items():
            by_doubt += times - 1
            if times - 1 > notes.doubts[host, mail_id]:
                unexplained.add(mail_id)
        by_kill += handed_on
        if handed_on and mail_id not in notes.recovered:
            unexplained.add(mail_id)
    return by_kill, by_doubt, frozenset(unexplained)
