"""Runs jobs from PostgreSQL until a signal, and writes down when each attempt begins and ends.

Arguments: the DSN, the file of acks, and the heartbeat timeout. A payload is how many milliseconds
its job takes.
"""

from __future__ import annotations

import sys

import jobqueue
from jobqueue import JobContext
from jobqueue.postgres import PostgresConfig
from tests.support.children import Acks


def main(dsn: str, acks_path: str, heartbeat: str) -> int:
    """Do it."""
    acks = Acks(acks_path)

    def handle(payload: bytes, context: JobContext) -> None:
        acks.add(f"begins {context.job.id}")
        if context.wait(int(payload) / 1000):
            raise RuntimeError("it was asked to stop")
        acks.add(f"ends {context.job.id}")

    config = PostgresConfig(dsn, heartbeat_timeout=float(heartbeat), base_delay=0.01, pool_size=3)
    queue = config.open(handler=handle)
    print("works", flush=True)
    return jobqueue.run(queue)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
