"""Which jobs of a log are shown: since when, how many, and those that come while one looks on."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from rich.text import Text

from ..final.runtime.clock import SystemClock
from .access import read_log, torn_note
from .exits import Exit
from .jobs import Entry, Jobs, as_json, as_lines
from .screen import Screen, complain

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Iterable

    from .access import Log

LOOK_SECONDS = 0.5
"""How long `--follow` waits between two looks at the log, at least."""
_REST = 4.0
"""It waits this many times as long as a look has taken: of a long log, a fifth of the time."""


def show_jobs(
    arguments: Namespace,
    choose: Callable[[Jobs], Iterable[Entry]],
    moment: Callable[[Entry], float],
    empty: str,
) -> Exit:
    """Show jobs of a log, and with `--follow` those that come, until Ctrl-C.

    Args:
        arguments: the options `path`, `json`, `full`, `since`, `limit` and `follow`, and others.
        choose: those that are meant, in order, those last that are to stay under a limit.
        moment: the time of one that `--since` is about.
        empty: what people are told if there is none.
    """
    screen = Screen(as_json=arguments.json)
    following = _Following()
    jobs, torn = read_log(arguments, lambda log: _load(log, arguments.status_retention))
    since = None if arguments.since is None else arguments.since(jobs.now)

    def news(jobs: Jobs) -> list[Entry]:
        entries = following.news(choose(jobs))
        return [each for each in entries if since is None or moment(each) >= since]

    chosen = news(jobs)
    if arguments.limit is not None:
        chosen = chosen[max(0, len(chosen) - arguments.limit) :]
    for entry in chosen:
        _show(screen, entry, full=arguments.full)
    if not chosen and arguments.limit != 0 and not screen.as_json:
        screen.show(Text(empty))
    if torn is not None:
        complain(f"note: {torn}; what follows there does not count")
    while arguments.follow:
        screen.flush()
        following.rest()
        jobs, _ = read_log(arguments, lambda log: _load(log, arguments.status_retention))
        for entry in news(jobs):
            _show(screen, entry, full=arguments.full)
    return Exit.OK


def _load(log: Log, status_retention: int) -> tuple[Jobs, str | None]:
    """Read the jobs of a log, and where it is torn."""
    jobs = Jobs(log, status_retention)
    return jobs, torn_note(log, jobs.reading)


def _show(screen: Screen, entry: Entry, *, full: bool) -> None:
    if screen.as_json:
        screen.tell(as_json(entry))
    else:
        screen.show(*as_lines(entry, full=full))


class _Following:
    """What was shown of each job, and when the look began; a job is news if that has changed."""

    def __init__(self) -> None:
        self._seen: dict[int, object] = {}
        self._began = SystemClock.monotonic()

    def news(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that were not there at the look before, or not like this."""
        before, self._seen = self._seen, {}
        news = []
        for entry in entries:
            now = (entry.status, entry.state.retries, entry.state.finished)
            self._seen[entry.number] = now
            if before.get(entry.number) != now:
                news.append(entry)
        return news

    def rest(self) -> None:
        """Sleep until the next look."""
        pause(max(LOOK_SECONDS, _REST * (SystemClock.monotonic() - self._began)))
        self._began = SystemClock.monotonic()


def pause(seconds: float) -> None:
    """Sleep; Ctrl-C ends it."""
    threading.Event().wait(seconds)
