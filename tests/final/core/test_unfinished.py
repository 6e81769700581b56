"""Changes that an exception breaks off: whatever the place, they are finished or never were.

KeyboardInterrupt is raised at each place of each change, and at each place of what the first one
has set off. What the queue says of the job then has to hold in the log as well.
"""

from __future__ import annotations

import ast
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import jobqueue.final
from jobqueue.final import Job, JobHandle, JobQueue, Priority, Status
from jobqueue.final.testing import ManualClock
from jobqueue.final.wal.format.record import Record
from tests.support import insides
from tests.support.breaking_off import (
    PAIRS_MIN,
    PAIRS_STEP,
    PLACES_MIN,
    UNKNOWN,
    Change,
    bury,
    open_paused,
    try_all,
)
from tests.support.handlers import in_thread
from tests.support.interrupts import each_pair_of_places, each_place
from tests.support.queues import Store, until_blocked
from tests.support.waiting import PATIENCE

SOURCES = Path(jobqueue.final.__file__).parent


def _hold(jq: JobQueue, job_id: str) -> None:
    """Move three jobs of a paused handler aside."""
    jq.pause(handler="ok", priority=Priority.LOW)
    for extra in ("", " too", " as well"):
        jq.enqueue(Job(b"payload", id=job_id + extra, handler="ok"))
    with insides.mutex(jq):
        insides.lane(jq, Priority.MEDIUM).has_work()


CHANGES = {
    "enqueue": Change(
        lambda _jq, _id: None,
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id)),
        UNKNOWN,
        Status.QUEUED,
    ),
    "enqueue with a delay": Change(
        lambda _jq, _id: None,
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id), delay=3600.0),
        UNKNOWN,
        Status.SCHEDULED,
    ),
    "enqueue many": Change(
        lambda _jq, _id: None,
        lambda jq, job_id: jq.enqueue_many([Job(id=f"{job_id} too"), Job(b"payload", id=job_id)]),
        UNKNOWN,
        Status.QUEUED,
    ),
    "enqueue together": Change(
        lambda _jq, _id: None,
        lambda jq, job_id: jq.enqueue_together(
            [Job(id=f"{job_id} too"), Job(b"payload", id=job_id, after=[f"{job_id} too"])]
        ),
        UNKNOWN,
        Status.SCHEDULED,
        also=" too",
    ),
    "cancel": Change(
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id)),
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "cancel with a delay": Change(
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id), delay=3600.0),
        lambda jq, job_id: jq.cancel(job_id),
        Status.SCHEDULED,
        Status.CANCELLED,
    ),
    "cancel of a parked job": Change(
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, handler="nobody")),
        lambda jq, job_id: jq.cancel(job_id),
        Status.QUEUED,
        Status.CANCELLED,
    ),
    "requeue": Change(
        bury, lambda jq, job_id: jq.requeue(job_id), Status.FAILED, Status.QUEUED, requeues=True
    ),
    "discard": Change(bury, lambda jq, job_id: jq.discard(job_id), Status.FAILED, UNKNOWN),
    "pause of a handler": Change(
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, handler="ok")),
        lambda jq, job_id: jq.pause(handler="ok", priority=Priority.LOW),
        Status.QUEUED,
        Status.QUEUED,
    ),
    "resume of a handler": Change(
        _hold,
        lambda jq, job_id: jq.resume(handler="ok", priority=Priority.LOW),
        Status.QUEUED,
        Status.QUEUED,
    ),
    "register": Change(
        lambda jq, job_id: jq.enqueue(Job(b"payload", id=job_id, handler=job_id)),
        lambda jq, job_id: jq.register(job_id, len),
        Status.QUEUED,
        Status.QUEUED,
    ),
}


# CPython drops an exception that comes as a generator is closed.
dropped_ones = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.slow
@dropped_ones
@pytest.mark.parametrize(
    "hasty",
    ["memory", pytest.param("async", marks=pytest.mark.daily), "write", "fsync"],
    indirect=True,
)
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_that_is_broken_off_is_done_and_recorded_or_never_was(
    hasty: Store, name: str
) -> None:
    """Fault 16 of docs/reliability.md."""
    assert try_all(hasty, CHANGES[name], each_place()) > PLACES_MIN


@pytest.mark.usefixtures("no_tracer")
@pytest.mark.slow
@dropped_ones
@pytest.mark.parametrize(
    ("hasty", "name"),
    [
        *(("write", name) for name in CHANGES),
        ("memory", "enqueue"),
        ("memory", "requeue"),
    ],
    indirect=["hasty"],
)
def test_so_is_one_whose_repair_is_broken_off_as_well(hasty: Store, name: str) -> None:
    """Fault 16 of docs/reliability.md."""
    assert try_all(hasty, CHANGES[name], each_pair_of_places(PAIRS_STEP)) > PAIRS_MIN


# ── who finishes it ──────────────────────────────────────────────────────────────────────────


class Left:
    """A change that a thread has left in the slot; as a thread would that was hit twice.

    Args:
        interruptions: how often it is broken off.
    """

    record: Record | None = None
    freed_bytes = 0
    ended: JobHandle | None = None

    def __init__(self, interruptions: int = 0) -> None:
        self.is_finished = threading.Event()
        self._left = interruptions

    def finish(self) -> None:
        self._left -= 1
        if self._left >= 0:
            raise KeyboardInterrupt
        self.is_finished.set()


def leave(jq: JobQueue) -> Left:
    left = Left()
    with insides.mutex(jq):
        insides.mutex(jq).unfinished = left
    return left


ENTRIES: dict[str, Callable[[JobQueue], object]] = {
    "enqueue": lambda jq: jq.enqueue(Job()),
    "enqueue_many": lambda jq: jq.enqueue_many([Job()]),
    "register": lambda jq: jq.register("name", len),
    "cancel": lambda jq: jq.cancel("queued"),
    "requeue": lambda jq: jq.requeue("dead"),
    "discard": lambda jq: jq.discard("dead"),
    "status": lambda jq: jq.status("queued"),
    "handle": lambda jq: jq.handle("queued"),
    "info": lambda jq: jq.info("queued"),
    "dead_letters": lambda jq: jq.dead_letters(),
    "jobs": lambda jq: jq.jobs(),
    "cancel_jobs": lambda jq: jq.cancel_jobs(),
    "requeue_jobs": lambda jq: jq.requeue_jobs(),
    "discard_jobs": lambda jq: jq.discard_jobs(),
    "run_now": lambda jq: jq.run_now(),
    "paused": lambda jq: jq.paused(),
    "handlers": lambda jq: jq.handlers(),
    "metrics": lambda jq: jq.metrics(),
    "pause": lambda jq: jq.pause(),
    "resume": lambda jq: jq.resume(),
    "join": lambda jq: jq.join(0.0),
    "wait": lambda jq: jq.handle("queued").wait(0.0),
    "close": lambda jq: jq.close(drain=False),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_each_call_first_finishes_what_was_left(hasty: Store, entry: str) -> None:
    jq = open_paused(hasty)
    bury(jq, "dead")
    jq.enqueue(Job(id="queued"))
    left = leave(jq)

    ENTRIES[entry](jq)

    assert left.is_finished.is_set()
    assert insides.mutex(jq).unfinished is None


def test_a_worker_first_finishes_what_was_left(memory: Store) -> None:
    blocker = memory.blocker()
    jq = memory.open(blocker, num_workers=1)
    jq.enqueue(Job())
    blocker.await_entered()
    left = leave(jq)

    blocker.gate.set()

    assert left.is_finished.wait(PATIENCE)


def test_the_timer_first_finishes_what_was_left(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, start=False, clock=clock)
    jq.enqueue(Job(), delay=1.0)
    left = leave(jq)

    clock.advance(1.0)

    assert left.is_finished.is_set()


def test_a_change_whose_repair_is_broken_off_is_finished_though_nobody_calls(
    memory: Store,
) -> None:
    jq = memory.open(len, start=False)
    left = Left(interruptions=2)
    with pytest.raises(KeyboardInterrupt), insides.mutex(jq):
        insides.placement(jq).carry_out(left)

    assert left.is_finished.wait(PATIENCE)


def test_a_waiting_producer_finds_the_room_that_a_change_left(memory: Store) -> None:
    # 1. A waits for room. 2. A change makes room, and is broken off before it wakes A.
    jq = memory.open(len, start=False, queue_size=1)
    jq.enqueue(Job())
    waiting = in_thread(jq.enqueue, Job(id="a"))
    until_blocked(jq)
    leave(jq)
    insides.lane(jq, Priority.MEDIUM).room += 1

    jq.metrics()

    assert waiting.result(PATIENCE).id == "a"


# Where the mutex is taken and nothing is looked at that a change leaves: the reason.
LOOKS_AT_NO_JOB = {
    "queries.py: status_of": "a signal's handler may ask, so the change may be its own thread's",
    "queries.py: awaiting": "the second time: a seat waits for nothing more",
    "queries.py: wait_for": "the second time: takes a parker off its list",
    "admission.py: _enqueue_when_room": "the second time: takes a parker off its list",
    "steering.py: _progress_of": "what a handler has told of itself",
    "worker.py: _find_context": "looks at its own seat",
    "groups.py: leave_gate": "gives back what nobody else looks at",
    "admission.py: leave_line": "takes a waiter off its list",
    "watchers.py: remove": "takes a waiter off its list",
    "lane.py: put": "no thread calls it",
    "lane.py: get": "no thread calls it",
    "pool.py: start": "makes workers",
    "pool.py: run_here": "makes a seat, and takes it off its list",
    "pool.py: died": "takes a worker off its list",
    "pool.py: _start_stand_in": "takes a worker off its list",
    "pool.py: join": "looks which seats are taken",
    "executor.py: start": "makes runners",
    "executor.py: died": "takes a seat off its list",
    "executor.py: join": "looks which seats are taken",
    "job_queue.py: _at_end": "looks at the queue's state",
    "shutdown.py: at_stop": "looks at the queue's state",
    "shutdown.py: start": "looks at the queue's state",
    "shutdown.py: close": "looks for the report",
    "shutdown.py: _claim": "looks which thread closes",
    "shutdown.py: _release_claim": "looks which thread closes",
    "shutdown.py: _account_for": "the log has ended",
}


def test_wherever_the_mutex_is_taken_the_slot_is_looked_at_first() -> None:
    careless = {name for path in SOURCES.rglob("*.py") for name in _careless(path)}

    assert careless == set(LOOKS_AT_NO_JOB)


def _careless(path: Path) -> Iterator[str]:
    """The functions that take the mutex and do not look at the slot at once."""
    text = path.read_text(encoding="utf-8")
    for function in ast.walk(ast.parse(text)) if "mutex:\n" in text else ():
        if isinstance(function, ast.FunctionDef):
            for block in ast.walk(function):
                if isinstance(block, ast.With) and _takes_mutex(block) and not _looks(block.body):
                    yield f"{path.name}: {function.name}"


def _takes_mutex(block: ast.With) -> bool:
    return any(ast.unparse(item.context_expr).endswith("mutex") for item in block.items)


def _looks(body: list[ast.stmt]) -> bool:
    first = ast.unparse(body[0])
    return any(each in first for each in ("mutex.settle()", "settle_or_drop", "mutex.unfinished"))
