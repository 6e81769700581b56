"""Where the queue is: JOBQUEUE_DSN in the environment names the database.

A worker, on any machine that reaches it, is

    jobqueue run examples.cluster.tasks --config examples.cluster.settings
"""

from __future__ import annotations

import os

from jobqueue.postgres import PostgresConfig

HEARTBEAT_TIMEOUT = 2.0
"""Seconds. The default is 10: the story is not to last so long."""

config = PostgresConfig(
    os.environ["JOBQUEUE_DSN"], num_workers=8, heartbeat_timeout=HEARTBEAT_TIMEOUT
)
