"""Runs the jobs of a schedule until it is killed.

Arguments: the log, the durability, and the interval in seconds. It says "ticked" after each tick.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue

if TYPE_CHECKING:
    from jobqueue.final.config import Durability


def main(log: str, durability: str, seconds: str) -> None:
    """Do it."""

    def factory() -> Job:
        print("ticked")  # of the one before, or the start
        return Job(b"x")

    config = Config(
        persist_path=log,
        durability=cast("Durability", durability),
        segment_bytes=8 * 1024,
        fsync_interval=0.01,
    )
    jq = JobQueue(config, handler=len)
    jq.periodic("often", timedelta(seconds=float(seconds)), factory, catch_up="all")
    sys.stdin.readline()


if __name__ == "__main__":
    main(*sys.argv[1:])
