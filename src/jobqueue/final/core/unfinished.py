"""Changes that an exception breaks off, and how the next thread finishes them.

A caller's thread may be hit anywhere by an exception that has nothing to do with what it does: a
KeyboardInterrupt that a signal raises, or what another thread raises in it by
`PyThreadState_SetAsyncExc`, as libraries for timeouts do. If that happens half-way through a change
of a job, under the mutex, the job is half changed. The mutex does not help: `with` lets go of it.

What does not work:

- A `try` around each step, with a repair that knows what the step may have left. Each change then
  has a repair of its own, hardly ever run. A second exception that hits the repair is not met at
  all, and whether the change was recorded in the log depends on where the first one came.
- Keeping the exception away. To block signals takes a system call for each change, and an exception
  that another thread raises cannot be blocked. trio (`_core/_ki.py`) marks frames as protected;
  that works for the handler of SIGINT that it has installed, and a library may install none.

What is done instead is what databases do with a redo log, and lock-free algorithms with the
descriptor of an operation that other threads help to finish (Harris, Fraser and Pratt, "A practical
multi-word compare-and-swap operation", 2002). There is one slot, `mutex.unfinished`.

1. A thread that is about to change a job stores there what it is about to do.
2. It does it, in steps that may be done again.
3. It empties the slot.

A thread that takes the mutex and finds the slot full knows that the thread before was broken off.
It finishes the change, or takes it back, before it does anything else: `mutex.settle`. The thread
that is hit does so itself, before it leaves the mutex (`Placement.broken_off`). In case a second
exception hits it there, it has first asked the timer's thread to come by, which sees no signals. So
each change that was begun is soon done, recorded and told, or has left no trace, wherever
exceptions come, and the call that was interrupted raises. Its caller can ask for the job's status.

Two kinds of content are in the slot. A `JobHandle` is a job that is being accepted: it costs a
plain `enqueue` nothing but the two stores. The job is taken back, or goes on its way if its record
is in the log's open batch. A `Change` is everything else; it is finished.

How a step is made: CPython looks for such an exception after a call, on entering a function and on
jumping back, and nowhere else. So stores that have no call between them are done all or not at all.
What they need is called for before them. A step that may not be done twice, as counting, has a
condition that no longer holds when it was done ("one step" in a comment). Steps that do no harm
twice, as waking a thread, need none.

The log's thread does not look at the slot. What it tells (`Placement.on_durable`) changes only jobs
that have not arrived, and whatever is unfinished about such a job finds out which it is. The log
has a slot of its own kind: `ActiveSegment.copied` is what was copied into it and not told of yet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from ..model.handle import JobHandle
    from ..runtime.mutex import Mutex
    from ..wal.format.record import Record


class Change(Protocol):
    """A change of jobs that a caller's thread makes. It was looked before whether it is allowed.

    Attributes:
        record: what the log is told of it, if there is a log; `None` for nothing.
        freed_bytes: of the payload that goes.
        ended: the handle of a job that is ended by it. If the change is broken off, what waits for
            that end (`Endings`) is told by another thread.
    """

    record: Record | None
    freed_bytes: int
    ended: JobHandle | None

    def finish(self) -> None:
        """Do all of it, or what is left of it; all but the record. With the mutex.

        It may be called again, also by another thread.
        """


def settle_or_drop(mutex: Mutex, fault: Exception) -> None:
    """With the mutex, as the queue dies of a fault: finish what was broken off, if that can be.

    What the thread died of, as a clock that is wrong, may hit this as well. Then the change is
    dropped, so that nobody else is hit: what counts now is what the log has. The fault notes why.
    """
    try:
        mutex.settle()
    except Exception as error:  # noqa: BLE001  # the fault tells of it
        mutex.unfinished = None
        fault.add_note(f"a change that was broken off could not be finished: {error!r}")
