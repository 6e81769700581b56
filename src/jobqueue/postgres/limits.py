"""How many attempts may go on or begin at a time: `Limit` in the cluster, the rest in this process.

A `Limit` without keys is counted in the database: whoever looks for a job of its handlers locks it
there, counts what is picked, and picks no more than is left, in one transaction. A `Rate` is a
bucket of tokens of this process. Of a job's key nothing is known before it is picked: a job whose
key is at its limit waits in this process without a slot. If as many wait as there are slots, no
more jobs of that handler are picked.

Whose thread: the queue's loop; no lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from pgqueuer.queries import Queries

from ..final import Limit, Rate
from ..final.engine import SystemClock
from .schema import settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from .attempt import Attempt
    from .core import Core

    Allowed = tuple[dict[Any, Any], int]

_HELD = "SELECT count(*) FROM pgqueuer WHERE queue_manager_id IS NOT NULL AND entrypoint = ANY($1)"


class Bucket:
    """The tokens of a `Rate`."""

    def __init__(self, rate: Rate) -> None:
        self._rate = rate
        self._tokens, self._at = float(rate.count), SystemClock.monotonic()

    @property
    def tokens(self) -> float:
        """How many there are now."""
        now = SystemClock.monotonic()
        gained = (now - self._at) * self._rate.count / self._rate.per
        self._tokens, self._at = min(self._rate.count, self._tokens + gained), now
        return self._tokens

    @property
    def wait(self) -> float:
        """Seconds until there is one."""
        return max(0.0, (1 - self.tokens) * self._rate.per / self._rate.count)

    def spend(self) -> None:
        """One has begun."""
        self._tokens = self.tokens - 1


class Limits:
    """Those without keys."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._limits: dict[Limit, list[str]] = {}  # with the names of their handlers
        self._buckets: dict[Rate, tuple[Bucket, list[str]]] = {}
        self._full: set[str] = set()  # the handlers at their limit, as was seen last
        self.wait: float | None = None
        """Seconds until a handler at its rate may start something."""

    def add(self, name: str | None, rules: Iterable[Limit | Rate]) -> None:
        """A handler is registered with these."""
        for names in (*self._limits.values(), *(names for _, names in self._buckets.values())):
            if (name or "") in names:
                names.remove(name or "")
        for rule in rules:
            if rule.per_key:
                continue
            if isinstance(rule, Limit):
                self._limits.setdefault(rule, []).append(name or "")
            else:
                self._buckets.setdefault(rule, (Bucket(rule), []))[1].append(name or "")

    @property
    def are_there(self) -> bool:
        """Whether a handler has a limit that holds for all processes."""
        return bool(self._limits)

    @property
    def waits_for_ends(self) -> bool:
        """Whether the end of a job anywhere may let one start here."""
        return bool(self._full)

    def open(self, names: list[str]) -> list[str]:
        """The entrypoints of those that may start something now."""
        if not (self._full or self._buckets):
            return names
        empty = {
            name for bucket, some in self._buckets.values() if bucket.tokens < 1 for name in some
        }
        return [each for each in names if each[2:] not in self._full | empty]

    def took(self, entrypoints: list[str]) -> None:
        """Jobs of these were picked."""
        for bucket, names in self._buckets.values():
            for each in entrypoints:
                if each[2:] in names:
                    bucket.spend()

    @asynccontextmanager
    async def share(
        self, entrypoints: dict[Any, Any], free: int
    ) -> AsyncIterator[tuple[Allowed | None, Queries | None]]:
        """Within this so many jobs of some of these may be picked, by these queries."""
        self.wait = None
        for bucket, names in self._buckets.values():
            if any(each[2:] in names for each in entrypoints):
                if bucket.tokens < 1:
                    self.wait = min(bucket.wait, bucket.wait if self.wait is None else self.wait)
                    entrypoints = _without(entrypoints, names)
                else:
                    free = min(free, int(bucket.tokens))
        present = {each[2:] for each in entrypoints}
        limits = [each for each in self._limits.items() if present & set(each[1])]
        if not limits:
            yield ((entrypoints, free) if entrypoints else None), None
            return
        async with self._core.link.connection() as connection, connection.transaction():
            yield await self._left(connection, limits, entrypoints, free)

    async def _left(
        self, connection: Any, limits: Any, entrypoints: dict[Any, Any], free: int
    ) -> tuple[Allowed | None, Queries | None]:
        """With a transaction: lock the limits, and see what they leave."""
        full: set[str] = set()
        for limit, names in sorted(limits, key=lambda each: min(each[1])):
            every = [f"{lane}:{name}" for lane in range(3) for name in names]
            key = "jobqueue limit " + " ".join(sorted(names))
            await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", key)
            left = limit.count - await connection.fetchval(_HELD, every)
            if left <= 0:
                full.update(names)
            else:
                free = min(free, left)
        self._full = full
        entrypoints = _without(entrypoints, full)
        queries = Queries.from_asyncpg_connection(connection)
        queries.qbe.settings = queries.qbq.settings = settings()
        return ((entrypoints, free) if entrypoints else None), queries


def _without(entrypoints: dict[Any, Any], names: Iterable[str]) -> dict[Any, Any]:
    return {each: value for each, value in entrypoints.items() if each[2:] not in names}


class Keys:
    """Those that count each key by itself, in this process."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._running: dict[tuple[Limit, str], int] = {}
        self._buckets: dict[tuple[Rate, str], Bucket] = {}
        self._lines: dict[tuple[str, str], deque[Attempt]] = {}  # who waits, by handler and key
        self._changed = asyncio.Event()

    def is_full(self, entrypoint: str) -> bool:
        """Whether as many jobs of its handler wait in here as may."""
        if not self._lines:
            return False
        waiting = sum(
            len(line) for (name, _), line in self._lines.items() if name == entrypoint[2:]
        )
        return waiting >= self._core.slots.size

    async def enter(self, attempt: Attempt) -> bool:
        """Wait, without a slot, until this attempt may begin; `False` if it is not to, here."""
        key, name = attempt.job.key, attempt.name or ""
        rules = [each for each in attempt.rules if each.per_key]
        if key is None or not rules:
            return True
        line = self._lines.get((name, key))
        attempt.keyed = line is None and self._take(rules, key)
        if attempt.keyed:
            return True
        line = self._lines.setdefault((name, key), deque())
        line.append(attempt)
        self._core.slots.leave()
        while not (attempt.stop.cancelled or attempt.is_late or self._core.has_stopped):
            is_next = line[0] is attempt and self._core.slots.free > 0
            attempt.keyed = is_next and self._take(rules, key)
            if attempt.keyed:
                break
            await self._wait(rules, key)
        line.remove(attempt)
        if not line:
            del self._lines[name, key]
        self._core.slots.busy += 1
        self._changed.set()
        return not self._core.has_stopped

    async def _wait(self, rules: list[Limit | Rate], key: str) -> None:
        """Until something has changed, or some time has passed."""
        waits = [self._bucket(rule, key).wait for rule in rules if isinstance(rule, Rate)]
        self._changed.clear()
        try:
            await asyncio.wait_for(self._changed.wait(), max(0.01, min([*waits, 0.25])))
        except TimeoutError:
            pass

    def _bucket(self, rate: Rate, key: str) -> Bucket:
        return self._buckets.setdefault((rate, key), Bucket(rate))

    def _take(self, rules: list[Limit | Rate], key: str) -> bool:
        for rule in rules:
            if isinstance(rule, Limit):
                if self._running.get((rule, key), 0) >= rule.count:
                    return False
            elif self._bucket(rule, key).tokens < 1:
                return False
        for rule in rules:
            if isinstance(rule, Limit):
                self._running[rule, key] = self._running.get((rule, key), 0) + 1
            else:
                self._bucket(rule, key).spend()
        return True

    def leave(self, attempt: Attempt) -> None:
        """An attempt has ended."""
        key = attempt.job.key
        if not attempt.keyed or key is None:
            return
        for rule in attempt.rules:
            if rule.per_key and isinstance(rule, Limit):
                self._running[rule, key] -= 1
                if not self._running[rule, key]:
                    del self._running[rule, key]
        full = [each for each, bucket in self._buckets.items() if bucket.tokens >= each[0].count]
        for each in full:  # as new
            del self._buckets[each]
        self._changed.set()
