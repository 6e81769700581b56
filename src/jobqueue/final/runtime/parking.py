"""Parking: how a thread sleeps until another one wakes it, once.

Every thread of the queue that waits for something waits in a `Parker` of its own. A producer waits
for room, a caller for the end of a job or of all jobs, a worker for work, a handler for its sleep
to end, the timer's thread for its next tick. Such a thread makes a parker, puts it on a list under
the lock that guards what it waits for, leaves that lock, and parks. The thread that changes what it
waits for unparks it.

What does not work, and why: an asynchronous exception, a KeyboardInterrupt for example, may hit a
caller's thread between any two steps of Python code. The standard library's other ways to wait are
Python code.

- `Condition.wait` came out of such an exception without its lock 4 times in 1,000, so that the
  `with` around it released a lock that was not taken.
- `Event.wait` left the event's own lock taken 8 times in 1,000: `set()` would hang for ever.
- `queue.SimpleQueue.get` is C code, but before Python 3.13 a short timeout may be taken for none.

A plain lock that only one thread ever waits for has none of this. It is taken when it is made, and
parking is one `acquire` in C. An exception that ends the `acquire` leaves nothing to clean up but
the entry in the list.

Two rules keep a wake-up from being lost:

1. Look under the lock whether there is still something to wait for, then put the parker on the
   list, both in one hold of it. Park after that, outside of it.
2. Unpark first, take off the list afterwards. If an exception comes between the two, the sleeper is
   awake and its entry is a stale one, which does no harm. The other way round it would sleep on.

A thread whose parker is unparked before it parks does not sleep. So one wake-up too many is always
safe, and a thread that comes back from parking looks again, whatever woke it.
"""

from __future__ import annotations

import threading
from typing import Protocol


class Wakeable(Protocol):
    """What can be told that what it waits for has come: a `Parker`, or something that passes it on.

    It may be told with locks of the queue held, so it must not wait.
    """

    def unpark(self) -> None:
        """Tell it."""


class Parker:
    """A place for one thread to sleep in until it is woken. Any thread may wake it.

    Attributes:
        wake: as `unpark`, but in C, so that no exception can come before it is done;
            `RuntimeError` if it was woken already.
    """

    __slots__ = ("_lock", "wake")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # free only from a wake-up until the thread comes back
        self._lock.acquire()
        self.wake = self._lock.release

    def park(self, seconds: float | None = None) -> bool:
        """Sleep until woken; only by the thread that it belongs to.

        Args:
            seconds: how long at most, in real time; `None` is for ever, below 0 is 0.

        Returns:
            Whether it was woken.
        """
        if seconds is None:
            return self._lock.acquire()
        return self._lock.acquire(timeout=min(max(seconds, 0.0), threading.TIMEOUT_MAX))

    def unpark(self) -> None:
        """Wake the thread, or keep it from falling asleep the next time. Never raises."""
        try:
            self.wake()
        except RuntimeError:  # it was woken already, and has not come back yet
            pass

    def rearm(self) -> None:
        """Forget a wake-up that was not slept for; only by the thread that it belongs to."""
        self._lock.acquire(blocking=False)
