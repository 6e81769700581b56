"""What tests rely on that raise KeyboardInterrupt at each place."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.support.interrupts import UNDER_TEST, Interruption

if TYPE_CHECKING:
    from collections.abc import Callable

CODE_UNDER_TEST = """
def change(make_garbage):
    make_garbage()

def finalizer():
    pass
"""


class Loop:
    """Ends when the garbage collector comes by, and no sooner."""

    def __init__(self, finalizer: Callable[[], object]) -> None:
        self._me, self._finalizer = self, finalizer

    def __del__(self) -> None:
        self._finalizer()


@pytest.mark.usefixtures("no_tracer")
def test_what_the_garbage_collector_runs_is_not_interrupted() -> None:
    names: dict[str, Callable[..., object]] = {}
    exec(compile(CODE_UNDER_TEST, f"{UNDER_TEST[0]}change.py", "exec"), names)

    def make_garbage() -> None:
        Loop(names["finalizer"])
        many = [[each] for each in range(10 * gc.get_threshold()[0])]
        assert many

    interruption = Interruption(1)  # the place after the change's own beginning
    with interruption:
        names["change"](make_garbage)

    assert interruption.where is None
    assert gc.isenabled()
