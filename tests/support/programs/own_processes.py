"""Own a queue whose two processes have a job each, and come to an end in some way.

Arguments: how ("hold": wait to be killed; "compute": the same, the handlers keep the interpreter's
lock; "fork": the same, and tell the id of a forked child that lives on; "leave": exit without
closing; "signal": close when a signal has come), the directory of the test's stage.
"""

import os
import signal
import sys
import threading

from jobqueue.final import Config, Job, JobQueue
from tests.support import process_handlers

FORK_SECONDS_MAX = 30


def main() -> None:
    how, directory = sys.argv[1:]
    config = Config(executor="process", num_workers=2, max_retries=1, base_delay=0)
    jq = JobQueue(
        config, handlers={"hold": process_handlers.hold, "compute": process_handlers.compute}
    )
    name = "compute" if how == "compute" else "hold"
    handles = [jq.enqueue(Job(os.fsencode(directory), handler=name)) for _ in range(2)]
    if how == "leave":
        for handle in handles:
            threading.Thread(target=lambda h=handle: (h.wait(), print("finished"))).start()
        print("leaving")
        return
    if how == "fork":
        pid = os.fork()
        if pid == 0:
            os.closerange(1, 3)  # which the test reads to the end
            signal.alarm(FORK_SECONDS_MAX)
            signal.pause()
        print(pid)
    if how == "signal":
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        print("interrupted")
    jq.close()
    for handle in handles:
        handle.result(0)
        print("finished")


if __name__ == "__main__":
    main()
