"""The errors of this layer."""

from ..final import JobQueueError


class QueueNotOpenError(JobQueueError, RuntimeError):
    """A task was called in the background while no queue was open for it."""
