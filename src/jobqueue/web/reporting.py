"""The dashboard's own log records."""

from __future__ import annotations

import logging

logger = logging.getLogger("jobqueue.web")
ABOUT_NO_JOB = dict.fromkeys(("job_id", "handler", "attempt", "priority", "queue"))
"""The attributes that all records of `jobqueue` have, so that a formatter may name them."""
