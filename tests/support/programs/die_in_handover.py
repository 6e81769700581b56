"""A client of a shared queue that dies at one step of becoming its owner.

Arguments: the log, and the step, one of those that `insides.handover_steps` names; "" for none.
With "after" as a third one it dies when the step has been done.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from jobqueue.final import Config, JobQueue
from tests.support import insides


def die_at(step: str, *, after: bool) -> None:
    owner, name = insides.handover_steps()[step]
    function = getattr(owner, name)

    def die(*args: Any, **kwargs: Any) -> Any:
        if after:
            function(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, die)


if __name__ == "__main__":
    log, step, *rest = sys.argv[1:]
    if step:
        die_at(step, after=bool(rest))
    with JobQueue(Config(persist_path=log, share="auto"), handler=len) as jq:
        print("owner" if insides.is_owner(jq) else "client")
        sys.stdin.readline()
