"""One of several processes that share a queue, each of which enqueues, and runs jobs in its turn.

Arguments: the log; a file to which handlers append the ids of the jobs that they run; a file to
append the ids of the jobs that were accepted; the name that its ids begin with. Lines on its
standard input: "stop" ends its enqueuing; an id is answered by its status; the end closes it.
"""

from __future__ import annotations

import os
import sys
import threading
from itertools import count

from jobqueue.final import Config, Job, JobContext, JobQueue


def append(fd: int, line: str) -> None:
    os.write(fd, f"{line}\n".encode())


def main(log: str, runs: str, acks: str, name: str) -> None:
    ran, acked = (os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT) for path in (runs, acks))

    def run(payload: bytes, context: JobContext) -> None:
        append(ran, context.job.id)

    config = Config(persist_path=log, share="auto", connect_timeout=60.0, num_workers=2)
    with JobQueue(config, handler=run) as jq:
        stop = threading.Event()

        def produce() -> None:
            try:
                for number in count():
                    if stop.is_set():
                        break
                    append(acked, jq.enqueue(Job(id=f"{name}-{number}")).id)
            except BaseException as error:
                print(f"failed: {error!r}")
                raise

        thread = threading.Thread(target=produce)
        thread.start()
        print("open")
        for line in sys.stdin:
            if line == "stop\n":
                stop.set()
                thread.join()
                print("stopped")
            else:
                print(jq.status(line.rstrip("\n")).value)
        stop.set()
        thread.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
