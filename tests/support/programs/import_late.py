"""Imports the package once the main thread has ended, opens a queue and leaves it open."""

from __future__ import annotations

import threading


def _use() -> None:
    threading.main_thread().join()
    from jobqueue.final import Config, Job, JobQueue

    def handler(_payload: bytes) -> None:
        threading.Event().wait(0.05)  # the thread that enqueues ends before
        print("ran")

    try:
        jq = JobQueue(Config(num_workers=1), handler=handler)
    except RuntimeError as error:
        print(f"RuntimeError: {error}")
        return
    kept.append(jq)
    jq.enqueue_many([Job() for _ in range(3)])
    print("accepted 3")


kept: list[object] = []

if __name__ == "__main__":
    threading.Thread(target=_use).start()
