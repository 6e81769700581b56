"""What every queue of the process has in common: the interpreter's exit, and forks.

Queues that are still open are closed at exit, before the executors of `concurrent.futures` are.
So handlers can go on using their executors while the queue drains.
"""

from __future__ import annotations

import atexit
import concurrent.futures.thread  # registers its own exit function, which is to come after ours
import os
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .shutdown import Lifecycle

_lives: weakref.WeakSet[Lifecycle] = weakref.WeakSet()


def watch(life: Lifecycle) -> None:
    """Have a queue closed at exit, and told of forks."""
    _lives.add(life)


def _close_all() -> None:
    for life in list(_lives):
        life.close_aside(None, drain=None)


def _tell_of_fork() -> None:
    for life in list(_lives):
        life.forked()


def _register() -> None:
    register = getattr(threading, "_register_atexit", None)
    if register is None or concurrent.futures.thread is None:
        atexit.register(_close_all)
    else:
        register(_close_all)  # functions run last registered first
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_tell_of_fork)


_register()
