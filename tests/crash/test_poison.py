"""A job that kills the process every time: it is failed, and its neighbours are not blamed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final import Job, JobContext, JobHandle, Status
from jobqueue.final.wal.files import Files
from jobqueue.final.wal.slots import SLOTS_NAME, encode_slots, read_slots
from tests.support import insides
from tests.support.queues import Store
from tests.support.records import Records
from tests.support.waiting import PATIENCE, eventually


class Death:
    """A child that opens the log, runs what is there, and is expected to die by its poison."""

    PROGRAM = """
import os, sys, threading
from jobqueue.final import Config, JobQueue

path, workers = sys.argv[1], int(sys.argv[2])
all_run = threading.Barrier(workers)

def poison(payload):
    try:
        all_run.wait(float(sys.argv[3]))
    except threading.BrokenBarrierError:
        pass  # the others do not run
    os._exit(77)

def neighbour(payload):
    try:
        all_run.wait(1)
    except threading.BrokenBarrierError:
        pass  # the poison is gone

config = Config(persist_path=path, num_workers=workers, max_crashes=3)
with JobQueue(config, handlers={"poison": poison, "neighbour": neighbour}) as jq:
    jq.join(20)
    jq.close(drain=True)
"""

    def __init__(self, path: Path, workers: int, *, together_seconds: float = 1.0) -> None:
        args: list[str | Path] = [
            sys.executable,
            "-c",
            self.PROGRAM,
            path,
            str(workers),
            str(together_seconds),
        ]
        self.code = subprocess.run(args, timeout=60, check=False).returncode


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store("write", tmp_path)
    yield store
    store.close()


@pytest.fixture
def image(tmp_path: Path) -> Iterator[Store]:
    """Where a test puts what is on the disk at some moment."""
    image = Store("write", tmp_path / "image")
    yield image
    image.close()


def poison_and_neighbours(store: Store) -> None:
    jq = store.open(start=False)
    jq.enqueue(Job(id="poison", handler="poison"))
    for number in range(3):
        jq.enqueue(Job(id=f"neighbour-{number}", handler="neighbour"))
    jq.close()


@pytest.mark.slow
def test_a_job_that_kills_the_process_each_time_is_failed_and_its_neighbours_complete(
    store: Store,
) -> None:
    """Fault 26 of docs/reliability.md."""
    poison_and_neighbours(store)

    assert Death(store.path, 4).code == 77
    assert Death(store.path, 4).code == 77  # they ran beside it again and have two deaths each
    codes = [Death(store.path, 4, together_seconds=0.1).code for _ in range(2)]

    assert codes == [77, 0]  # the third time it ran alone; then it was not run any more
    jq = store.open(start=False)
    assert [jq.status(f"neighbour-{number}") for number in range(3)] == [Status.COMPLETED] * 3
    assert jq.status("poison") is Status.FAILED
    error = jq.info("poison").last_error
    assert error is not None
    assert "died 3 times" in error
    assert "max_crashes" in error


@pytest.mark.slow
def test_a_poisonous_job_is_a_dead_letter_that_can_be_requeued(store: Store) -> None:
    poison_and_neighbours(store)
    for seconds in (1.0, 1.0, 0.1, 0.1):
        Death(store.path, 4, together_seconds=seconds)
    ran: list[bytes] = []
    jq = store.open(handlers={"poison": ran.append}, num_workers=1)

    assert jq.requeue("poison").wait(10) is Status.COMPLETED
    assert ran == [b""]


def crash_count(store: Store, job_id: str) -> int:
    """How many deaths in a row the log has counted for a job."""
    counts = [0]
    for file in sorted(store.path.glob("*.jsonl")):
        counts += map(int, re.findall(r'"op":"crashed".*"crashes":(\d+)', file.read_text()))
    return counts[-1]


def slots_of(store: Store) -> bytes:
    return (store.path / SLOTS_NAME).read_bytes()


def interrupted_in(store: Store) -> JobHandle:
    """Run a job, and leave the directory as it would be if the process died meanwhile."""
    blocker = store.blocker()
    jq = store.open(blocker)
    handle = jq.enqueue(Job(id="job"))
    blocker.await_entered()
    return handle


def take(image: Store, store: Store) -> None:
    """Copy what is on the disk at this moment, as if the process died."""
    shutil.copytree(store.path, image.path, dirs_exist_ok=True)


def test_a_job_that_runs_is_named_in_the_slots(store: Store) -> None:
    handle = interrupted_in(store)

    assert read_slots(Files(), str(store.path)).jobs == {insides.log_number(handle)}


def test_a_job_that_has_ended_is_not_named_in_the_slots(store: Store) -> None:
    jq = store.open(lambda _payload: None)

    jq.enqueue(Job()).wait(PATIENCE)

    jq.metrics()  # the worker tells of the end, and clears the slot, in one hold of the mutex
    assert read_slots(Files(), str(store.path)).jobs == set()


@pytest.mark.parametrize("executor", ["process", "asyncio"])
def test_a_job_that_has_ended_elsewhere_is_not_named_in_the_slots(
    store: Store, executor: str
) -> None:
    jq = store.open(len, executor=executor, num_workers=1)
    jq.start()

    jq.enqueue(Job()).wait(PATIENCE)

    jq.metrics()
    assert read_slots(Files(), str(store.path)).jobs == set()


def test_a_job_that_failed_is_not_named_in_the_slots(store: Store) -> None:
    def fail(_payload: bytes) -> None:
        raise ValueError

    jq = store.open(fail, max_retries=0)

    jq.enqueue(Job()).wait(PATIENCE)

    jq.metrics()
    assert read_slots(Files(), str(store.path)).jobs == set()


def test_a_handler_that_close_gives_up_on_is_not_blamed(store: Store) -> None:
    interrupted_in(store)

    store.queues[-1].close(0.05, drain=False)

    assert read_slots(Files(), str(store.path)).jobs == set()


def test_a_death_is_counted_once_however_often_the_log_is_opened(
    store: Store, image: Store
) -> None:
    interrupted_in(store)
    take(image, store)
    slots = slots_of(image)
    image.open(start=False).close()
    # The process died again before it had replaced the slots of the run that died.
    (image.path / SLOTS_NAME).write_bytes(slots)

    image.open(start=False).close()

    assert crash_count(image, "job") == 1


def test_an_attempt_that_ended_clears_the_deaths(store: Store, image: Store) -> None:
    interrupted_in(store)
    take(image, store)

    def fail(_payload: bytes) -> None:
        raise ValueError("boom")

    jq = image.open(fail, base_delay=3600)
    assert eventually(lambda: jq.status("job") is Status.SCHEDULED)
    jq.close()
    again = image.open(start=False)

    assert not insides.suspects(again)
    again.close()
    assert crash_count(image, "job") == 1


def test_a_job_that_a_start_gives_up_is_counted(store: Store, image: Store) -> None:
    number = insides.log_number(interrupted_in(store))
    take(image, store)
    image.open(start=False, max_crashes=2).close()
    (image.path / SLOTS_NAME).write_bytes(encode_slots(99, [number]))  # a later run died as well

    metrics = image.open(start=False, max_crashes=2).metrics()

    assert (metrics.enqueued, metrics.failed, metrics.dead) == (1, 1, 1)


def test_a_job_one_death_short_of_the_limit_runs_alone(store: Store, image: Store) -> None:
    interrupted_in(store)
    take(image, store)
    running: set[str] = set()
    together: list[set[str]] = []
    lock = threading.Lock()

    def handler(_payload: bytes, context: JobContext) -> None:
        with lock:
            running.add(context.job.id)
            together.append(set(running))
        with lock:
            running.discard(context.job.id)

    jq = image.open(handler, start=False, num_workers=4, max_crashes=2)
    for number in range(50):
        jq.enqueue(Job(id=f"other-{number}"))
    jq.start()
    assert jq.join(PATIENCE)

    assert together[0] == {"job"}
    assert all(ids == {"job"} for ids in together if "job" in ids)
    assert jq.metrics().completed == 51


def test_a_suspect_that_is_cancelled_lets_the_others_run(store: Store, image: Store) -> None:
    interrupted_in(store)
    take(image, store)
    jq = image.open(lambda _payload: None, start=False, max_crashes=2)
    other = jq.enqueue(Job())

    assert jq.cancel("job")
    jq.start()

    assert other.wait(PATIENCE) is Status.COMPLETED
    assert jq.status("job") is Status.CANCELLED
    assert not insides.suspects(jq)


def test_slots_of_garbage_blame_nobody(store: Store, image: Store) -> None:
    interrupted_in(store)
    for garbage in (b"", b"\xff" * 3, b"\xff" * 1000, os.urandom(4096)):
        take(image, store)
        (image.path / SLOTS_NAME).write_bytes(garbage)

        image.open(start=False).close()

        assert crash_count(image, "job") == 0
        shutil.rmtree(image.path)


@pytest.mark.parametrize("byte", [0, 3, 7])
@pytest.mark.parametrize("which", ["run", "job"])
def test_a_wrong_byte_in_the_slots_is_told_and_the_log_opens_as_often_as_one_likes(
    store: Store, image: Store, records: Records, which: str, byte: int
) -> None:
    """Fault 30 of docs/reliability.md."""
    interrupted_in(store)
    take(image, store)
    damaged = bytearray(slots_of(image))
    words = [damaged[at : at + 8] for at in range(8, len(damaged), 8)]
    at = 0 if which == "run" else 8 + 8 * next(n for n, word in enumerate(words) if any(word))
    damaged[at + byte] ^= 0x80
    (image.path / SLOTS_NAME).write_bytes(damaged)
    records.rest()

    for _ in range(3):
        jq = image.open(start=False)
        assert jq.status("job") is Status.QUEUED
        jq.close()

    assert crash_count(image, "job") == 0
    told = [each.getMessage() for each in records.rest() if SLOTS_NAME in each.getMessage()]
    assert len(told) == 1
    assert "damaged" in told[0]


def test_the_slots_are_for_their_owner_alone(store: Store) -> None:
    old = os.umask(0)
    try:
        interrupted_in(store)
    finally:
        os.umask(old)

    assert (store.path / SLOTS_NAME).stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_sigkill_while_a_job_runs_is_counted(store: Store) -> None:
    program = """
import sys, time
from jobqueue.final import Config, Job, JobQueue

def handler(payload):
    print("running", flush=True)
    sys.stdin.read()

jq = JobQueue(Config(persist_path=sys.argv[1]), handler=handler)
jq.enqueue(Job(id="job"))
sys.stdin.read()
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, store.path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGKILL)

    store.open(start=False).close()

    assert crash_count(store, "job") == 1
