"""`Paused`: what a queue was told to start nothing of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .job import Priority


@dataclass(frozen=True, slots=True)
class Paused:
    """What is paused. Each of them is paused, and resumed, by itself.

    Attributes:
        all: whether the whole queue is.
        handlers: the names of the handlers that are.
        priorities: the lanes that are.
        periodics: the names of the schedules that are.
    """

    all: bool
    handlers: frozenset[str]
    priorities: frozenset[Priority]
    periodics: frozenset[str]
