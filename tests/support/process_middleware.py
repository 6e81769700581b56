"""Middleware that a process can import."""

from __future__ import annotations

from collections.abc import Callable

from jobqueue.final import JobContext, Middleware


class Marking(Middleware):
    """Marks what handlers return."""

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        return call_next(context), "marked"


class MarkingWith(Middleware):
    """Cannot be made anew: nobody knows its argument."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def attempt(self, context: JobContext, call_next: Callable[[JobContext], object]) -> object:
        return call_next(context), self.mark


def make() -> MarkingWith:
    return MarkingWith("marked")
