"""Is served by `jobqueue.run` while a thread enqueues jobs.

Arguments: the log, and a file of acks, which names each job that was accepted.
"""

from __future__ import annotations

import signal
import sys
import threading

import jobqueue
from jobqueue import Config, Job, JobQueue, QueueClosedError
from tests.support.children import Acks
from tests.support.waiting import eventually


def main(log: str, acks_path: str) -> int:
    """Do it."""
    acks = Acks(acks_path)
    jq = JobQueue(Config(persist_path=log, queue_size=50), handler=len)

    def produce() -> None:
        n = 0
        try:
            while True:
                acks.add(f"accepted {jq.enqueue(Job(id=f'job-{n}')).id}")
                n += 1
        except QueueClosedError:
            pass

    threading.Thread(target=produce, daemon=True).start()
    threading.Thread(target=tell_when_it_listens, daemon=True).start()
    return jobqueue.run(jq)


def tell_when_it_listens() -> None:
    """A signal that came before that would end the process."""
    eventually(lambda: signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL)
    print("serving")


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
