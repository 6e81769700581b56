"""Runs a job, whose result is stored, and waits to be killed. Arguments: the log, the job's id."""

from __future__ import annotations

import sys

from jobqueue.final import Config, Job, JobQueue

if __name__ == "__main__":
    log, job_id = sys.argv[1:]
    with JobQueue(Config(persist_path=log), handler=lambda payload: ["result of", payload]) as jq:
        jq.enqueue(Job(job_id.encode(), id=job_id, store_result=True)).wait()
        jq.flush()
        print("done", flush=True)
        sys.stdin.readline()
