"""Opens a log, starts a process of its own, tells both ids, and waits.

Arguments: the log, and how the other process comes about: "fork" (it waits too), "exit" (forked,
and ends as a program does), "exec" (another program, that waits), "multiprocessing" (forked by
that, runs a function and ends).
"""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading

from jobqueue.final import Config, Job, JobQueue


def main(log: str, how: str) -> None:
    """Do it."""
    ran: list[int] = []

    def handler(_payload: bytes) -> None:
        ran.append(os.getpid())

    jq = JobQueue(Config(persist_path=log, num_workers=1), handler=handler)
    jq.pause()
    jq.enqueue(Job(id="the job"))
    pid = _start(how)
    print(os.getpid(), pid)
    if how in ("exit", "multiprocessing"):
        if how == "exit":
            os.waitpid(pid, 0)
        print("the other ended", jq.status("the job").value)
    threading.Event().wait()


def _start(how: str) -> int:
    if how == "exec":
        return subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"]).pid
    if how == "multiprocessing":
        process = multiprocessing.get_context("fork").Process(target=os.getpid)
        process.start()
        process.join()
        return process.pid or 0
    its_end, our_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(our_end, b"!")
        if how == "exit":
            sys.exit(0)
        threading.Event().wait()
    os.read(its_end, 1)  # until `fork` has returned in there, it holds all that the owner holds
    return pid


if __name__ == "__main__":
    main(*sys.argv[1:])
