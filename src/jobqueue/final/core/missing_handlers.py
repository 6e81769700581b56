"""Tells of the handlers that jobs wait for, in a few records however many names there are.

A name is told of when its first job is parked, and again if all of them had gone. Beyond
`RECORDS_MAX` records a minute, names are gathered for one at its end.

Relies on: no lock held by the caller of `tell`, `tell_gathered`; they take the queue's mutex.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from ..spelling import nearest
from ..timing.timer import tick_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ..runtime.clock import Clock
    from ..runtime.mutex import Mutex
    from ..runtime.reporting import Reporter
    from ..timing.timer import Timer
    from .registry import HandlerRegistry

RECORDS_MAX = 10
"""How many records a minute tell of names at once."""
NAMES_CHARACTERS_MAX = 1000
"""About how long the names of one record get; the others are counted."""
_WINDOW_SECONDS = 60.0
_MEANT = 10  # so many names of a record are compared with those that are known


class MissingHandlers:
    """Tells of the names that jobs wait for. Thread-safe.

    Attributes:
        timer: the queue's; set by it, since it is made later.
    """

    def __init__(
        self, registry: HandlerRegistry, reporter: Reporter, clock: Clock, mutex: Mutex
    ) -> None:
        self.timer: Timer
        self._registry = registry
        self._reporter = reporter
        self._clock = clock
        self._mutex = mutex
        self._window_end = clock.monotonic()  # the first record opens a window
        self._told = 0  # in this window
        self._gathered: dict[str | None, None] = {}

    def tell(self) -> None:
        """Tell of the names that are new, or gather them."""
        with self._mutex:
            self._mutex.settle()
            self._gather()
            now = self._clock.monotonic()
            if now >= self._window_end:
                self._window_end, self._told = now + _WINDOW_SECONDS, 0
            # guard: names beyond some records a minute are gathered
            #   without: is_due = True
            is_due = self._told < RECORDS_MAX
            self._told += 1
            if self._told == RECORDS_MAX + 1:
                self.timer.schedule(self._window_is_over, tick_after(self._window_end))
        if is_due:
            self.tell_gathered()

    def tell_gathered(self) -> None:
        """Tell of all names that are new or were gathered, in one record."""
        with self._mutex:
            self._mutex.settle()
            self._gather()
            # guard: names whose jobs have gone meanwhile are not told of
            #   without: names = list(self._gathered)
            names = [name for name in self._gathered if self._registry.is_missing(name)]
            self._gathered.clear()
            known = [name for name in self._registry.all() if name is not None] if names else []
        if names:
            self._reporter.report(
                logging.WARNING,
                f"jobs wait for handlers that are not registered: {_listed(names, known)}; "
                f"register them to run the jobs",
            )

    def _gather(self) -> None:
        untold = self._registry.untold
        if len(self._gathered) > 2 * self._registry.parked_count:  # most of their jobs are gone
            gathered = (name for name in self._gathered if self._registry.is_missing(name))
            self._gathered = dict.fromkeys(gathered)
        self._gathered.update(untold)
        untold.clear()

    def _window_is_over(self) -> Callable[[], None]:
        """Called by the timer, with its lock."""
        return self.tell


def _listed(names: Iterable[str | None], known: Sequence[str]) -> str:
    """The names in order, without the characters that would break a line of a log.

    Of the first few it is told which registered name is much like it.
    """
    in_order = sorted(names, key=lambda name: _escaped(name) if name else "(default)")
    listed = [
        "(default)" if name is None else _escaped(name) + _meant(name, known if n < _MEANT else ())
        for n, name in enumerate(in_order)
    ]
    shown, length = 0, 0
    while shown < len(listed) and length + len(listed[shown]) <= NAMES_CHARACTERS_MAX:
        length += len(listed[shown])
        shown += 1
    shown = max(shown, 1)
    more = len(listed) - shown
    return ", ".join(listed[:shown]) + (f" and {more} more" if more else "")


def _escaped(name: str) -> str:
    return repr(name)[1:-1]


def _meant(name: str, known: Sequence[str]) -> str:
    found = nearest(name, known) if known else None
    return "" if found is None else f" (did you mean {found!r}?)"
