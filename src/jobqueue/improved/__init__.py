"""A job queue in memory: bounded, with priorities and retries, and shut down cleanly.

Read `job.py` (what goes in), then `job_queue.py` (the queue), then `retry.py` and `metrics.py`,
the two structures that it keeps under its lock. What it leaves open is told at the head of
`job_queue.py`.
"""

from .job import Job, Priority
from .job_queue import Config, EnqueueTimeoutError, JobQueue, QueueClosedError
from .metrics import Metrics

__all__ = [
    "Config",
    "EnqueueTimeoutError",
    "Job",
    "JobQueue",
    "Metrics",
    "Priority",
    "QueueClosedError",
]
