"""Opens a queue, or several, enqueues, and ends without closing them.

Arguments: a directory for logs, a file of acks, the durability or "memory", and how it ends:
"end", "exit", "error", "thread" (the main thread ends while another one enqueues), "executor"
(handlers use an executor of the program's), "several" (two queues), "stages" (two as well; the
second one's handler feeds the first), "late" (a thread opens the queue after the main one has
ended), "stuck" (a handler that never ends).
"""

from __future__ import annotations

import concurrent.futures
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobContext, JobQueue, QueueClosedError
from tests.support.children import Acks

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

JOBS = 50
EXIT_CODE = 3
queues: list[JobQueue] = []  # which live to the very end


def main(directory: str, acks_path: str, durability: str, how: str) -> None:
    """Do it."""
    acks = Acks(acks_path)
    executor = concurrent.futures.ThreadPoolExecutor(1)
    executor.submit(int).result()  # it has its thread: from 3.12 on none can be started at exit
    stuck = threading.Event()

    def handler(payload: bytes, context: JobContext) -> None:
        if payload == b"stuck":
            stuck.set()
            threading.Event().wait()
        if how == "stages" and context.job.headers:
            acks.add(f"accepted {queues[0].enqueue(Job()).id}")
        if how == "executor":
            executor.submit(acks.add, f"ran {context.job.id}").result()
        else:
            acks.add(f"ran {context.job.id}")

    def open_queues() -> None:
        count = 2 if how in {"several", "stages"} else 1
        queues.extend(_open(directory, durability, number, handler, how) for number in range(count))

    def open_late() -> None:
        threading.main_thread().join()
        try:
            open_queues()
        except RuntimeError:
            if sys.version_info < (3, 12):  # from then on no thread can be started by now
                raise
            return
        _enqueue(acks)

    if how == "late":
        threading.Thread(target=open_late).start()
        return
    open_queues()
    if how == "stuck":
        queues[0].enqueue(Job(b"stuck", id="stuck"))
        acks.add("accepted stuck")
        stuck.wait()
    if how == "stages":
        for _ in range(JOBS):
            job = Job(headers={"feeds": "the other"})
            acks.add(f"accepted {queues[1].enqueue(job).id}")
        return
    if how == "thread":
        threading.Thread(target=_enqueue_until_closed, args=(acks,)).start()
    else:
        _enqueue(acks)
    if how == "exit":
        sys.exit(EXIT_CODE)
    if how == "error":
        raise ZeroDivisionError


def _open(directory: str, durability: str, number: int, handler: object, how: str) -> JobQueue:
    config = Config(
        persist_path=None if durability == "memory" else Path(directory, str(number)),
        durability="write" if durability == "memory" else cast("Durability", durability),
        num_workers=2,
        shutdown_timeout=0.2 if how == "stuck" else 20.0,
        fsync_interval=3600.0,
    )
    return JobQueue(config, handler=handler)  # type: ignore[arg-type]  # it is callable


def _enqueue(acks: Acks) -> None:
    for jq in queues:
        for _ in range(JOBS):
            acks.add(f"accepted {jq.enqueue(Job()).id}")


def _enqueue_until_closed(acks: Acks) -> None:
    try:
        while True:
            _enqueue(acks)
    except QueueClosedError:
        return  # the main thread has ended


if __name__ == "__main__":
    main(*sys.argv[1:])
