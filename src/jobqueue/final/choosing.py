"""Which kind of queue a `JobQueue(...)` is: one of this process, or one that processes share.

Whose thread: a caller's; no lock.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

from .config import Config


class Choosing:
    """Makes an object of the class that the settings ask for.

    A queue that is not shared is of the plain class, and its calls go through nothing else.
    """

    _shared: ClassVar[type[Any] | None] = None
    """The class of shared queues; set by it, for it stands above."""

    def __new__(cls, config: object = None, *_: object, **__: object) -> Self:
        """An object of this class, or of one below it that is shared, too."""
        kind: type[Any] = cls
        if isinstance(config, Config) and config.is_shared and cls._shared is not None:
            kind = _shared_kind(cls, cls._shared)
        made: Self = object.__new__(kind)
        return made


def _shared_kind(cls: type[Any], shared: type[Any]) -> type[Any]:
    """The class with what a shared queue does below what a user's class does."""
    if issubclass(cls, shared):
        return cls
    if issubclass(shared, cls):
        return shared
    return type(cls.__name__, (cls, shared), {"__module__": cls.__module__})
