"""Typed functions that are called in the background, above `jobqueue.final`.

    tasks = Tasks()

    @tasks.task
    def thumbnail(path: str, width: int = 200) -> str: ...

    with tasks.open(Config(persist_path="jobs")):
        handle = thumbnail.enqueue("cat.png")
        print(handle.result())

It knows only the public names of `jobqueue.final`, which knows nothing of it. Nothing here starts
a thread, takes the queue's mutex or touches the disk. `collection` is where to start reading:
`Tasks` makes a `Declaration` of each function and gives a `Task`. `parameters` and `codec` make a
payload of a call, and a call of a payload.
"""

from .call import Call
from .codec import Codec
from .collection import Tasks
from .errors import QueueNotOpenError
from .groups import achain, agroup, chain, group
from .parameters import CONTEXT
from .task import AsyncTask, Task
from .waiting import as_completed, gather

__all__ = [
    "CONTEXT",
    "AsyncTask",
    "Call",
    "Codec",
    "QueueNotOpenError",
    "Task",
    "Tasks",
    "achain",
    "agroup",
    "as_completed",
    "chain",
    "gather",
    "group",
]
