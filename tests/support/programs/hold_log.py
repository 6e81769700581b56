"""Opens the log that it is given, says so, and keeps it open until it is told to close it."""

from __future__ import annotations

import os
import sys

from jobqueue.final import Config, JobQueue

if __name__ == "__main__":
    with JobQueue(Config(persist_path=sys.argv[1]), handler=len):
        print(os.getpid())
        sys.stdin.readline()
    print("closed")
