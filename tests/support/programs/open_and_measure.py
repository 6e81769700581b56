"""Opens a log and tells how far that raised the peak of the process's memory, in bytes.

Arguments: the log, `status_retention`.
"""

from __future__ import annotations

import json
import resource
import sys

from jobqueue.final import Config, JobQueue
from tests.support import insides


def peak_bytes() -> int:
    """Peak of the resident memory; macOS tells it in bytes, Linux in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    log, retention = sys.argv[1:]
    before = peak_bytes()
    config = Config(persist_path=log, status_retention=int(retention))
    with JobQueue(config, handler=len, start=False) as jq:
        raised = peak_bytes() - before
        known = len(insides.status_map(jq).finished) + len(insides.status_map(jq).live)
        print(json.dumps({"raised": raised, "known": known, "queued": jq.metrics().queued}))
