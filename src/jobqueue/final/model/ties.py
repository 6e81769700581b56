"""What ties one job to others, to a limit and to a time. Most jobs have no `Ties`.

It is data: what becomes of it is told in `core/bindings.py` and in the rooms that it names.
Guarded by the queue's mutex.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .handle import JobHandle


class Ties:
    """What ties a job.

    Attributes:
        identity: what no other job may have, while this one holds it (`core/unique.py`).
        waits_for: the jobs that are to be completed first (`core/dependencies.py`).
        dependents: the jobs that wait for this one.
        doomed: why it is to be cancelled, as soon as a thread gets to it.
        passed: the turnstile of its limit that it has gone through (`core/limits.py`).
        line: the one that it waits at, having stepped aside.
        place: its place among all that have.
        expiry: what the timer calls when its time has passed (`core/expiry.py`), and at which tick.
    """

    __slots__ = (
        *("dependents", "doomed", "expiry", "expiry_tick", "identity"),
        *("line", "passed", "place", "waits_for"),
    )

    def __init__(self) -> None:
        self.identity: Hashable = None
        self.waits_for: dict[JobHandle, None] | None = None
        self.dependents: dict[JobHandle, None] | None = None
        self.doomed: str | None = None
        self.passed: Any = None
        self.line: Any = None
        self.place = 0
        self.expiry: Callable[[], object] | None = None
        self.expiry_tick = 0
