"""KeyboardInterrupt at each place where the interpreter can raise one, in turn.

A signal's handler runs as a Python function is entered, and right after a call of a C function,
before its result is used. (Also as a loop goes round; but a loop without a call is none that
matters here.) `Interruption` counts these places in the code under test and raises at the one
that it is told. So a test can go through all of them; signals would hit a few by chance.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

UNDER_TEST = ("/jobqueue/final/", "/threading.py", "/queue.py")


class Interruption:
    """Raises KeyboardInterrupt in the calling thread, at place number `place`, counted from 0.

    Attributes:
        where: the place at which it was raised, as "file:line function"; `None` if it never was.
    """

    def __init__(self, place: int) -> None:
        self.where: str | None = None
        self._left = place

    def __enter__(self) -> Interruption:
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_error: object) -> None:
        sys.setprofile(None)

    def _look(self, frame: FrameType, event: str, _arg: object) -> None:
        if event not in {"call", "c_return"} or self.where is not None:
            return
        code = frame.f_code
        if not any(part in code.co_filename for part in UNDER_TEST):
            return
        if self._left == 0:
            self.where = f"{code.co_filename.rpartition('/')[2]}:{frame.f_lineno} {code.co_name}"
            raise KeyboardInterrupt(self.where)
        self._left -= 1


def each_place() -> Iterator[Interruption]:
    """One interruption after another, until the code has run without meeting one."""
    place = 0
    while True:
        interruption = Interruption(place)
        yield interruption
        if interruption.where is None:
            return
        place += 1
