"""The first job queue that everyone writes; what it lacks is told in `job_queue.py`."""

from .job_queue import Job, JobQueue

__all__ = ["Job", "JobQueue"]
