"""Own a queue whose two processes have a job each, and come to an end in some way.

Arguments: how ("hold": wait to be killed; "compute": the same, the handlers keep the interpreter's
lock; "fork": when told to, fork a child that lives on, tell its id, and wait to be killed; "leave":
exit without closing; "signal": close when a signal has come), the directory of the test's stage.
"""

import os
import signal
import sys
import threading

from jobqueue.final import Config, Job, JobHandle, JobQueue, Status
from jobqueue.final.processes.wire import GROUP_SIGNALS
from tests.support import process_handlers
from tests.support.waiting import until_interrupted

FORK_SECONDS_MAX = 30


def main() -> None:
    how, directory = sys.argv[1:]
    config = Config(executor="process", num_workers=2, max_retries=1, base_delay=0)
    jq = JobQueue(
        config, handlers={"hold": process_handlers.hold, "compute": process_handlers.compute}
    )
    if how == "signal":
        close_on_signal(jq, os.fsencode(directory))
        return
    name = "compute" if how == "compute" else "hold"
    handles = [jq.enqueue(Job(os.fsencode(directory), handler=name)) for _ in range(2)]
    if how == "leave":
        for handle in handles:
            threading.Thread(target=tell_end, args=(handle,)).start()
        print("leaving")
        return
    if how == "fork":
        input()
        pid = os.fork()
        if pid == 0:
            os.closerange(1, 3)  # which the test reads to the end
            signal.alarm(FORK_SECONDS_MAX)
            signal.pause()
        print(pid)
    threading.Event().wait()


def tell_end(handle: JobHandle) -> None:
    handle.wait()
    sys.stdout.write("finished\n")  # in one piece, as `print` does not


def close_on_signal(jq: JobQueue, payload: bytes) -> None:
    """The signal may come as soon as the handlers have begun."""
    ids = ("a", "b")
    for number in GROUP_SIGNALS:  # a shell's background jobs ignore SIGINT
        signal.signal(number, signal.default_int_handler)
    try:
        for job_id in ids:
            jq.enqueue(Job(payload, id=job_id, handler="hold"))
        until_interrupted()
    except KeyboardInterrupt:
        print("interrupted")
    jq.close()
    for job_id in ids:
        if jq.status(job_id) is Status.COMPLETED:
            print("finished")


if __name__ == "__main__":
    main()
