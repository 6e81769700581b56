"""When a process looks for jobs: which notices of new ones it heeds, and how soon.

If each idle process looked at each notice, all but one would find nothing, and a crowd of them
would keep the database busy. So whoever looked in vain heeds the next notice for that handler a
little later, up to `LATE_SECONDS_MAX`, and what comes meanwhile is seen by the same look. Whoever
found something looks at once. So one process gets the jobs of a quiet handler. When it has no slot
left it calls for help, and all others that have one look at once. If it has died, they look when
their time has come.

Whose thread: the queue's loop; no lock.
"""

from __future__ import annotations

import asyncio
import json
import random
from typing import TYPE_CHECKING

from ..final.engine import SystemClock
from .errors import LOST

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .core import Core

NEW, HELP, DONE = "jobqueue_new", "jobqueue_help", "jobqueue_done"
"""Channels: there are new jobs of these entrypoints (none named: of any); all who have a slot are
to look; jobs have ended."""
LATE_SECONDS_MIN, LATE_SECONDS_MAX = 0.05, 1.0
_OURS_SECONDS = 0.05
"""If jobs were found so lately, a notice may well be about them: its look counts for nothing."""
_HELP_SECONDS = 0.05
"""One call for help in this time is enough."""


class Waking:
    """What one process does about notices of new jobs."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._delays: dict[str, float] = {}
        self._found: dict[str, float] = {}  # when jobs of it were found last
        self._told: set[str] = set()  # what the next look is for
        self._looks_for: set[str] = set()  # and the one that goes on
        self._timer: asyncio.TimerHandle | None = None
        self._helped = -_HELP_SECONDS
        self._hears = False
        self._hears_ends = False

    async def listen(self) -> None:
        """Hear notices from now on; once."""
        if self._hears:
            return
        self._hears = True
        await self._core.link.add_listener(NEW, self._new)
        await self._core.link.add_listener(HELP, lambda _: self._help())

    async def listen_to_ends(self) -> None:
        """Hear of the ends of jobs too: at a limit, one lets another one begin."""
        if not self._hears_ends:
            self._hears_ends = True
            await self._core.link.add_listener(DONE, lambda _: self._ended())

    def _ended(self) -> None:
        if self._core.limits.waits_for_ends:
            self._help()

    def _new(self, payload: str) -> None:
        """There are new jobs."""
        known: Iterable[str] = self._core.manager.entrypoint_registry
        mine = [each for each in (json.loads(payload) if payload else known) if each in known]
        if not mine:
            return
        delay = min(self.delay(each) for each in mine)
        if self._core.slots.free <= 0:
            if not delay:
                self.call_for_help()
            return
        self._told.update(mine)
        if not delay:
            self.look()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(
                delay * random.uniform(0.5, 1.0), self.look
            )

    def _help(self) -> None:
        """Somebody has more jobs than slots."""
        if self._core.slots.free > 0:
            self.look()

    def delay(self, name: str) -> float:
        """How long after a notice of new jobs of this entrypoint it looks, in seconds, at most."""
        return self._delays.get(name, 0.0)

    def look(self) -> None:
        """Have the engine look now."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._core.is_told:  # else it is about to look
            self._core.wake()

    def looks(self) -> None:
        """A look begins: what is told from now on is for the next one."""
        self._looks_for, self._told = self._told, set()

    def looked(self, found: Iterable[str]) -> None:
        """A look has found jobs of these entrypoints."""
        now = SystemClock.monotonic()
        for each in found:
            self._delays.pop(each, None)
            self._found[each] = now
        told, self._looks_for = self._looks_for, set()
        for each in told.difference(found):
            if now - self._found.get(each, now - 1.0) >= _OURS_SECONDS:
                later = max(LATE_SECONDS_MIN, 2 * self.delay(each))
                self._delays[each] = min(later, LATE_SECONDS_MAX)
        if found and self._core.slots.free <= 0:
            self.call_for_help()

    def call_for_help(self) -> None:
        """Have the other processes look: there may be more jobs than slots here."""
        now = SystemClock.monotonic()
        if now - self._helped < _HELP_SECONDS:
            return
        self._helped = now
        self._core.spawn_here(self._call())

    async def _call(self) -> None:
        try:
            await self._core.link.notify(HELP, "")
        except LOST:  # they look by themselves after a while
            pass
