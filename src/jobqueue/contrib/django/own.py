"""`tasks`: tasks of ours in a Django project, of any version that is supported.

    # shop/tasks.py
    from jobqueue.contrib.django import tasks

    @tasks.task
    def send_mail(order_id: int) -> None: ...

    send_mail.enqueue(17)

The first call opens the queue by the settings. Modules named `tasks` of the installed applications
are imported before that, so the jobs of a log find their functions.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ...tasks import QueueNotOpenError, Tasks

if TYPE_CHECKING:
    from ...final import JobQueue
    from ...tasks.task import Target

__all__ = ["DjangoTasks", "tasks"]


class DjangoTasks(Tasks):
    """Tasks whose queue is opened by the first call, in the process that makes it. Thread-safe."""

    _by_commits = False
    """Whether `bind_by_commits` is at work; guarded by the lock of `Tasks`."""

    def target(self) -> Target:
        """Where calls go: to the queue of the settings, or to what a test put in its place."""
        try:
            return super().target()
        except QueueNotOpenError:
            if self.queue.closed:  # it was closed in the end: nothing opens it again
                raise
            return super().target()

    async def atarget(self) -> Target:
        """The same; if the queue has to be opened, in a thread."""
        try:
            return super().target()
        except QueueNotOpenError:
            return await asyncio.to_thread(self.target)

    @property
    def queue(self) -> JobQueue:
        """The queue of the settings, opened if it is not yet."""
        from .queues import queues  # which knows these tasks

        return queues.get()

    def bind_by_commits(self, queue: JobQueue) -> None:
        """As `bind`; calls wait for the transaction to commit in which they are made."""
        with self._lock:
            self._by_commits = True
            try:
                self.bind(queue)
            finally:
                self._by_commits = False

    def _target_of(self, queue: JobQueue) -> Target:
        from .commits import OnCommit

        target = super()._target_of(queue)
        return OnCommit(target, queue) if self._by_commits else target


tasks = DjangoTasks()
