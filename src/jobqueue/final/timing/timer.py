"""The timer: puts jobs into their lanes when they are due, and calls what else waits for a time.

Guarantees: nothing fires early, or later than the next tick (1 ms) plus what the machine needs to
run a thread. `advance` of a manual clock returns when all that came due has been dealt with.

A long delay also counts the time that the system sleeps, for which monotonic time stands still. So
while such a delay is there, the thread looks every `LOOK_SECONDS` how far the clock that does not
stand still is ahead of monotonic time. If that has grown since a job was scheduled, the job is due
so much earlier. If it has shrunk, as by a step back of the wall clock, nothing is due earlier.

Relies on: `fire`, which takes the queue's mutex; the lock order is timer, then mutex. Only the
threads that run `expire` take the timer's lock, so a caller that is interrupted cannot harm the
wheel. Callers only append to `_changes`, a deque, whose `append` and `popleft` are atomic.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING

from ..runtime.clock import sleep_meter
from ..runtime.parking import Parker
from .timer_wheel import TimerWheel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..runtime.clock import Clock

TICKS_PER_SECOND = 1000
CHANGES_MAX = 1024
"""How many changes pile up, about, before the thread is woken to apply them: they hold jobs."""
LONG_SECONDS = 60.0
"""What is longer than this is a long delay."""
LOOK_SECONDS = 2.0
"""How often the thread looks whether the system has slept, while there are long delays."""
_SLEEP_SECONDS_MIN = 0.5  # what is less is not looked into
_NEVER = float("inf")
_ROUNDED_DIGITS = 6  # of a tick: sums of floats that should be whole ticks are
_SECONDS_MAX = 2.0**52  # a hundred million years; a longer delay is this one


class Timer:
    """A timer wheel, its lock and its thread.

    Args:
        clock: the clock whose monotonic time counts.
        fire: called with the items that are due, in order, and with the timer's lock held. The
            timer's thread calls it, or the thread that moves a manual clock. It may return
            functions to be called without the lock, since they are slow or the user's.
        failed: called if the thread has to end because of an error.
    """

    def __init__(
        self,
        clock: Clock,
        fire: Callable[[list[object]], Iterable[Callable[[], object]] | None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._clock = clock
        self._fire = fire
        self._failed = failed
        self._lock = (
            threading.Lock()
        )  # guards the wheel and `_long`; taken by the two threads of `fire` only
        self._wheel: TimerWheel[object] = TimerWheel(tick_before(clock.monotonic()))
        # To insert (True) or to remove. With what the meter showed, if it is a long delay.
        self._changes: deque[tuple[int, object, bool, float | None]] = deque()
        self._meter = sleep_meter(clock)
        self._ahead = self._meter.ahead()  # what the long delays have been moved by
        self._long: dict[
            object, tuple[int, float, int]
        ] = {}  # tick, ahead then; place in the wheel
        self._mailbox: SimpleQueue[Callable[[], object]] = SimpleQueue()
        # `put` of a SimpleQueue may interrupt itself, so a signal handler can use it too. No thread
        # waits in its `get`: before Python 3.13 a short timeout may be taken for none.
        self._parker = Parker()  # the timer thread's; woken when there is something to look at
        self._asleep_until: float = -1  # tick; -1 while awake
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="jobqueue-timer", daemon=True)
        self._moved_to = tick_before(clock.monotonic())  # what a manual clock has been moved to
        self._unsubscribe = clock.subscribe(self._moved)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    # ── any thread, with or without the queue's mutex ────────────────────────────────────────

    def schedule(self, item: object, tick: int) -> None:
        """Have `item` fired at a tick, see `tick_after`."""
        self._insert(tick, item, None)

    def schedule_through_sleep(self, item: object, tick: int, *, by_wall: bool) -> None:
        """Have `item` fired at a tick, or as much earlier as the system sleeps until then.

        Args:
            by_wall: whether the wall clock may tell of that, if nothing else does.
        """
        usable = by_wall or self._meter.is_exact
        self._insert(tick, item, self._meter.ahead() if usable else None)

    def _insert(self, tick: int, item: object, ahead: float | None) -> None:
        try:
            self._changes.append((tick, item, True, ahead))
        finally:
            if tick < self._asleep_until or len(self._changes) % CHANGES_MAX == 0:
                try:
                    self._parker.wake()  # not `unpark`: an exception may come as it is entered
                except RuntimeError:  # it was woken already
                    pass

    def remove(self, item: object, tick: int) -> None:
        """Have `item` not fired, if it has not been yet."""
        self._changes.append((tick, item, False, None))
        if len(self._changes) % CHANGES_MAX == 0:
            self._parker.unpark()

    def call_soon(self, function: Callable[[], object]) -> None:
        """Have the timer's thread call `function`. Safe in a signal handler."""
        self._mailbox.put(function)
        self._parker.unpark()

    def is_own_thread(self) -> bool:
        """Whether the timer's thread calls this."""
        return self._thread is threading.current_thread()

    def sleep(self, parker: Parker, seconds: float) -> None:
        """Park until woken, at most so many seconds of the clock."""
        if not self._clock.manual:
            parker.park(seconds)
            return
        wake = _Wake(parker)
        tick = tick_after(self._clock.monotonic() + seconds)
        self.schedule(wake, tick)
        parker.park()
        self.remove(wake, tick)

    def stop(self) -> None:
        """End the thread. Nothing fires any more."""
        self._unsubscribe()
        self._stopped = True
        self._parker.unpark()

    def join(self, timeout: float) -> None:
        """Wait for the thread's end, if it has been started and is not the calling thread."""
        if self._thread.ident is not None and not self.is_own_thread():
            self._thread.join(timeout)

    # ── the timer's thread; `expire` also on the thread that moves a manual clock ────────────

    def expire(self) -> None:
        """Fire what is due."""
        self._fire_due(is_move=False)

    def _moved(self) -> None:
        """This thread has moved a manual clock: it fires what came due by that."""
        self._fire_due(is_move=True)

    def _fire_due(self, *, is_move: bool) -> None:
        with self._lock:
            self._apply_changes()
            if self._long:
                self._look_for_sleep()
            # guard: what a move of the clock makes due is fired by the thread that moves it
            #   without: if True:
            if is_move:  # if the timer's thread was quicker, `advance` might return before it
                self._moved_to = tick_before(self._clock.monotonic())
            due = self._wheel.advance(self._now())
            if self._long:
                for item in due:
                    self._long.pop(item, None)
            later = self._fire(due) if due and not self._stopped else None
        for function in later or ():
            function()

    def _now(self) -> int:
        """The tick up to which things are due. With the timer's lock."""
        return self._moved_to if self._clock.manual else tick_before(self._clock.monotonic())

    def _apply_changes(self) -> None:
        changes = self._changes
        while changes:
            tick, item, is_insertion, ahead = changes.popleft()
            if is_insertion:
                self._wheel.insert(tick, item)
                if ahead is not None:
                    self._long[item] = (tick, ahead, tick)
            else:
                if item in self._long:
                    _, _, tick = self._long.pop(item)
                self._wheel.remove(tick, item)

    def _look_for_sleep(self) -> None:
        """If the system has slept, move the long delays by as much as they have slept through."""
        ahead = self._meter.ahead()
        if abs(ahead - self._ahead) < _SLEEP_SECONDS_MIN:
            return
        self._ahead = ahead
        for item, (tick, then, place) in self._long.items():
            # guard: a step back of the wall clock makes nothing due
            #   without: slept = math.floor(abs(ahead - then) * TICKS_PER_SECOND)
            slept = math.floor(max(0.0, ahead - then) * TICKS_PER_SECOND)
            if tick - slept != place:
                self._wheel.remove(place, item)
                self._wheel.insert(tick - slept, item)
                self._long[item] = (tick, then, tick - slept)

    def _run(self) -> None:
        try:
            while not self._stopped:
                self._wait()
                self.expire()
        except BaseException as error:
            self._failed(error)
            raise

    def _wait(self) -> None:
        self._parker.park(self._seconds_to_sleep())
        self._asleep_until = -1
        # Not what these leave in it: what is due comes first.
        for _ in range(self._mailbox.qsize()):
            self._mailbox.get_nowait()()

    def _seconds_to_sleep(self) -> float | None:
        """How long there is nothing to do; from here on `schedule` wakes the thread."""
        # guard: look before the timer's thread sleeps
        self._asleep_until = _NEVER  # before looking, so that no change is missed
        with self._lock:
            self._apply_changes()
            tick = self._wheel.next_tick()
            now = self._now()
        if tick is None:
            return None
        if self._clock.manual:  # what is due already came while the thread was awake
            return 0.0 if tick <= now else None
        self._asleep_until = tick
        seconds = tick / TICKS_PER_SECOND - self._clock.monotonic()
        return min(seconds, LOOK_SECONDS) if self._long else seconds


def tick_after(seconds: float) -> int:
    """The first tick that is not before this time."""
    return math.ceil(round(min(seconds, _SECONDS_MAX) * TICKS_PER_SECOND, _ROUNDED_DIGITS))


def tick_before(seconds: float) -> int:
    """The last tick that is not after this time."""
    return math.floor(round(min(seconds, _SECONDS_MAX) * TICKS_PER_SECOND, _ROUNDED_DIGITS))


class _Wake:
    """Ends a `sleep` on a manual clock."""

    __slots__ = ("_parker",)

    def __init__(self, parker: Parker) -> None:
        self._parker = parker

    def __call__(self) -> None:
        self._parker.unpark()
