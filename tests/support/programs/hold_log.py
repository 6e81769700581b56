"""Opens the log that it is given, says so, and keeps it open until it is told to close it.

Arguments: the log, and how many seconds it waits for it; then it says beforehand that it does.
"""

from __future__ import annotations

import os
import sys

from jobqueue.final import Config, JobQueue


def main(log: str, lock_timeout: str = "0") -> None:
    """Do it."""
    if float(lock_timeout):
        # A signal amid an import may be lost: `importlib` has callbacks that cannot raise.
        import jobqueue.final.life.opening  # noqa: F401

        print("opening")
    with JobQueue(Config(persist_path=log, lock_timeout=float(lock_timeout)), handler=len):
        print(os.getpid())
        sys.stdin.readline()
    print("closed")


if __name__ == "__main__":
    main(*sys.argv[1:])
