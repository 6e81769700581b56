"""KeyboardInterrupt at each place where the interpreter can raise one, in turn.

A signal's handler runs as a Python function is entered, and right after a call of a C function,
before its result is used. (Also as a loop goes round; but a loop without a call is none that
matters here.) `Interruption` counts these places in the code under test and raises at the one
that it is told. So a test can go through all of them; signals would hit a few by chance.
"""

from __future__ import annotations

import gc
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

UNDER_TEST = ("/jobqueue/final/", "/threading.py", "/queue.py")


class Interruption:
    """Raises KeyboardInterrupt in the calling thread, at place number `place`, counted from 0.

    The garbage collector rests meanwhile. A finalizer that it runs would be hit instead, and the
    interpreter drops what is raised in one. On CPython 3.11 it also takes the hook away from the
    call that is just being told of it, which then calls freed memory.

    Args:
        then: if there is one, it raises another at this place, counted from the call of `go_on`.

    Attributes:
        where: the places at which it was raised, as "file:line function"; `None` if it never was.
        is_done: whether it was raised as often as it should be.
    """

    def __init__(self, place: int, then: int | None = None) -> None:
        self.where: str | None = None
        self.is_done = False
        self._left = place
        self._then = then
        self._collects = False

    def __enter__(self) -> Interruption:
        self._collects = gc.isenabled()
        gc.disable()
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)
        if self._collects:
            gc.enable()

    def go_on(self) -> None:
        """Look again, from here on: the interpreter has dropped what raised the first one."""
        if self.where is not None and not self.is_done:
            sys.setprofile(self._look)

    def _look(self, frame: FrameType, event: str, _arg: object) -> None:
        if event not in {"call", "c_return"} or self.is_done:
            return
        code = frame.f_code
        if not any(part in code.co_filename for part in UNDER_TEST):
            return
        if self._left == 0:
            where = f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}"
            self.where = where if self.where is None else f"{self.where}, then {where}"
            if self._then is None:
                self.is_done = True
            else:
                self._left, self._then = self._then, None
            raise KeyboardInterrupt(where)
        self._left -= 1


def each_place(step: int = 1) -> Iterator[Interruption]:
    """One interruption after another, until the code has run without meeting one.

    Args:
        step: only each so many of the places; by chance which.
    """
    place = random.randrange(step)
    while True:
        interruption = Interruption(place)
        yield interruption
        if interruption.where is None:
            return
        place += step


def each_pair_of_places(step: int = 1) -> Iterator[Interruption]:
    """Two interruptions, the second one after `go_on`; all pairs in turn.

    Args:
        step: of the second places only each so many, and others after the next first one.
    """
    first = second = 0
    while True:
        interruption = Interruption(first, second)
        yield interruption
        if interruption.where is None:
            return
        if interruption.is_done:
            second += step
        else:
            first += 1
            second = first % step
