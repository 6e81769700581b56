"""For the tests of programs that use the queue.

- `immediate(tasks)`: each call runs inside of `enqueue`.
- `recorded(tasks)`, `assert_enqueued`: nothing runs; what was enqueued is a list.
- `run_all(queue)`: all that is due runs on the calling thread.
- `ManualClock`: time stands still until it is moved.

pytest finds two fixtures by itself: `job_clock`, a `ManualClock`, and `jobs`, a queue in memory
that goes by it and does not start by itself.
"""

from ..final.testing import ManualClock, run_all
from .doubles import RecordedCall, assert_enqueued, immediate, recorded

__all__ = [
    "ManualClock",
    "RecordedCall",
    "assert_enqueued",
    "immediate",
    "recorded",
    "run_all",
]
