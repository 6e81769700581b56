"""Interrupts calls of a queue at random moments, thousands of times, and looks at it afterwards.

Arguments: what is interrupted ("enqueue", "blocked", "join" or "close"), how ("timer": a signal in
the midst of whatever runs; "thread": by another thread, as `_thread.interrupt_main` does), the
durability or "memory", a directory for logs, how many tries, and a seed. The last line of the
output is a JSON object: the tries, those that were interrupted, and the ids that were accepted.
"""

from __future__ import annotations

import _thread
import faulthandler
import json
import queue
import random
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, EnqueueTimeoutError, Job, JobQueue, Status, UnknownJobError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from jobqueue.final.config import Durability

HANG_SECONDS = 45.0
PATIENCE = 20.0
QUEUE_SIZE = 10
SPAN_SECONDS_MAX = 0.01
SWITCH_SECONDS = 1e-5  # how long the interpreter lets a thread run: not long
CALLS_MAX = 100
FEW = 3


class Interrupter:
    """Raises KeyboardInterrupt in the main thread during a call, in about half of them.

    Attributes:
        count: how often it did.
        calls: how many calls there were.
        calls_max: how many it makes at a time: enough that they are not over before it is.
    """

    def __init__(self, how: str, rng: random.Random) -> None:
        self._span = 0.001  # within how many seconds it raises: as long as the calls take
        self.count = 0
        self.calls = 0
        self.calls_max = CALLS_MAX
        self._how = how
        self._rng = rng
        self._armed = False
        self._wanted: queue.SimpleQueue[None] = queue.SimpleQueue()  # which no interrupt breaks
        signal.signal(signal.SIGALRM, self._raise)
        signal.signal(signal.SIGINT, self._raise)
        if how == "thread":
            threading.Thread(target=self._interrupt_main, daemon=True).start()

    def _raise(self, _number: int, _frame: FrameType | None) -> None:
        if self._armed:
            self._armed = False
            self.count += 1
            raise KeyboardInterrupt

    def _interrupt_main(self) -> None:
        nothing = threading.Event()
        rng = random.Random(self._rng.random())
        while True:
            self._wanted.get()
            nothing.wait(rng.uniform(0, self._span))
            _thread.interrupt_main()

    def __call__(self, call: Callable[..., object], *args: object) -> None:
        """Make a call, and once more, until one is broken off."""
        before = self.calls
        try:
            try:
                self._arm()
                self._call_often(call, *args)
            finally:
                self._armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        except KeyboardInterrupt:
            pass
        # Within the time of the first few calls.
        few = self.calls - before < FEW
        self._span = min(self._span * (1.1 if few else 0.9), SPAN_SECONDS_MAX)

    def _call_often(self, call: Callable[..., object], *args: object) -> None:
        # Apart from the `try`: from 3.12 on it would not catch what is raised between two rounds.
        for _ in range(self.calls_max):
            self.calls += 1
            call(*args)

    def _arm(self) -> None:
        self._armed = True
        if self._how == "thread":
            self._wanted.put(None)
        else:
            signal.setitimer(signal.ITIMER_REAL, self._rng.uniform(1e-6, self._span))


class Trial:
    """Interrupts one kind of call.

    Attributes:
        accepted: ids of jobs whose `enqueue` returned.
        tried: all ids.
    """

    def __init__(self, interrupt: Interrupter, config: Callable[[int], Config], tries: int) -> None:
        self.interrupt = interrupt
        self.config = config
        self.tries = tries
        self.accepted: list[str] = []
        self.tried: list[str] = []

    def _enqueue(self, jq: JobQueue, job_id: str) -> None:
        self.tried.append(job_id)
        jq.enqueue(Job(b"x", id=job_id))
        self.accepted.append(job_id)

    def _enqueue_next(self, jq: JobQueue) -> None:
        self._enqueue(jq, str(len(self.tried)))

    def enqueue(self) -> None:
        """Interrupt `enqueue` while there is room."""
        jq = JobQueue(self.config(0), handler=len)
        for _ in range(self.tries):
            self.interrupt(self._enqueue_next, jq)
        self._look_at(jq)

    def blocked(self) -> None:
        """Interrupt `enqueue` while it waits for room, among others that do."""
        jq = JobQueue(self.config(0), handler=len)
        over: list[str] = []
        others = [threading.Thread(target=_enqueue_until, args=(jq, over)) for _ in range(2)]
        for each in others:
            each.start()
        for _ in range(self.tries):
            self.interrupt(self._enqueue_next, jq)
        over.append("over")
        for each in others:
            each.join(PATIENCE)
            assert not each.is_alive(), "a producer hangs"
        self._look_at(jq)

    def join(self) -> None:
        """Interrupt `join` while jobs come and go."""
        jq = JobQueue(self.config(0), handler=len)
        over: list[str] = []
        other = threading.Thread(target=_enqueue_until, args=(jq, over))
        other.start()
        self.interrupt.calls_max *= 20  # if all is at rest they are quick
        for _ in range(self.tries):
            self.interrupt(jq.join)
        over.append("over")
        other.join(PATIENCE)
        self._look_at(jq)

    def close(self) -> None:
        """Interrupt `close`, and close again."""
        for n in range(self.tries):
            jq = JobQueue(self.config(n), handler=len)
            for each in range(3):
                self._enqueue(jq, f"{n}-{each}")
            self.interrupt(jq.close)
            _in_thread(jq.close)
            assert jq.close(0).unfinished == ()
            eventually(lambda: not _queue_threads())

    def _look_at(self, jq: JobQueue) -> None:
        """Whether the queue is as good as before, seen by another thread."""
        _in_thread(self._check, jq)

    def _check(self, jq: JobQueue) -> None:
        assert jq.join(PATIENCE)
        known = [job_id for job_id in self.tried if _is_known(jq, job_id)]
        assert set(self.accepted) <= set(known)
        assert {jq.status(job_id) for job_id in known} <= {Status.COMPLETED}
        metrics = jq.metrics()
        assert metrics.enqueued == metrics.completed
        jq.pause()
        for _ in range(QUEUE_SIZE):  # all places are free again …
            jq.enqueue(Job(), timeout=0)
        try:
            jq.enqueue(Job(), timeout=0)
        except EnqueueTimeoutError:
            pass  # … and none came from nowhere
        else:
            raise AssertionError("the lane holds more than its size")
        jq.resume()
        assert jq.join(PATIENCE)
        assert jq.metrics().workers.count == 2  # none was lost
        report = jq.close(PATIENCE)
        assert (report.unfinished, report.remaining) == ((), 0)


def _queue_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("jobqueue")]


def _is_known(jq: JobQueue, job_id: str) -> bool:
    try:
        jq.status(job_id)
    except UnknownJobError:
        return False
    return True


def _enqueue_until(jq: JobQueue, over: list[str]) -> None:
    pause = threading.Event()
    while not over:
        jq.enqueue(Job())
        pause.wait(0.0001)


def _in_thread(call: Callable[..., object], *args: object) -> None:
    with ThreadPoolExecutor(1) as executor:
        executor.submit(call, *args).result(PATIENCE)


def main(what: str, how: str, durability: str, directory: str, tries: str, seed: str) -> None:
    """Do it."""
    sys.setswitchinterval(SWITCH_SECONDS)
    faulthandler.dump_traceback_later(HANG_SECONDS, exit=True)

    def config(n: int) -> Config:
        return Config(
            num_workers=2,
            queue_size=QUEUE_SIZE,
            persist_path=None if durability == "memory" else Path(directory, str(n)),
            durability="write" if durability == "memory" else cast("Durability", durability),
        )

    interrupt = Interrupter(how, random.Random(seed))
    trial = Trial(interrupt, config, int(tries))
    {
        "enqueue": trial.enqueue,
        "blocked": trial.blocked,
        "join": trial.join,
        "close": trial.close,
    }[what]()
    print(json.dumps({"interrupted": interrupt.count, "accepted": trial.accepted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
