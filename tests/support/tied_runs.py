"""Crashes of a queue whose jobs are tied to each other, to limits and to times.

A run is recorded on a disk in memory. Of each disk that kill -9 or a power cut could have left
after each of its events a queue is opened, which runs all that is there to its end. Whatever the
crash left, then: what was promised is there; what has ended does not run again; of the children of
a job there are all or none; of jobs that are alike one is unfinished; no job ran that waits for one
which was not completed; none that had expired; no limit was passed; nothing is left of any tie.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import cache
from random import Random

from jobqueue.final import (
    Config,
    Job,
    JobContext,
    JobQueue,
    Limit,
    LogWriteError,
    Priority,
    Rate,
    RejectJobError,
    Status,
    Unique,
    UnknownJobError,
)
from jobqueue.final.testing import ManualClock, run_all
from tests.support import insides
from tests.support.crash_check import WALL, on_disk
from tests.support.crash_runs import SEGMENT_BYTES, Way
from tests.support.disk_tree import Tree
from tests.support.ledger import Crash
from tests.support.power_cut import Disk, Remains, power_cuts
from tests.support.recording_files import EMPTY_DISK, LOG, RecordingFiles
from tests.support.ties import check_rest, check_whole, until_looked_after

UNFINISHED = {Status.QUEUED, Status.SCHEDULED}
EXPIRES = 50.0
FAN = 4


@dataclass(frozen=True)
class Promise:
    """From a point of the recording on a job has one of these statuses at the next start."""

    at: int
    job_id: str
    statuses: frozenset[Status]


@dataclass
class Told:
    """What the handlers of one queue have seen.

    Attributes:
        ran: the jobs that ran, in order.
        most: how many attempts of a limit went on at a time, at most.
    """

    ran: list[str] = field(default_factory=list)
    most: Counter[str | None] = field(default_factory=Counter)
    now: Counter[str | None] = field(default_factory=Counter)

    def handlers(self) -> dict[str, Callable[..., object]]:
        """A few kinds of work."""
        return {"work": self.work, "reject": self.reject, "parent": self.parent, "late": self.work}

    def work(self, _payload: bytes, context: JobContext) -> None:
        """Completes."""
        self.ran.append(context.job.id)
        key = context.job.key
        self.now[key] += 1
        self.most[key] = max(self.most[key], self.now[key])
        self.now[key] -= 1

    def reject(self, _payload: bytes, context: JobContext) -> None:
        """Fails."""
        self.ran.append(context.job.id)
        raise RejectJobError("no")

    def parent(self, payload: bytes, context: JobContext) -> None:
        """Enqueues children with its completion; its first attempt may fail after that."""
        name = context.job.id
        self.ran.append(name)
        context.enqueue_many(
            [Job(payload, id=child_of(name, n), handler="work") for n in range(FAN - 1)]
        )
        after = [child_of(name, 0), child_of(name, 1)]
        context.enqueue(Job(id=child_of(name, FAN - 1), handler="work", after=after))
        if context.attempt == 0 and payload == b"retried":
            raise ValueError


def child_of(name: str, number: int) -> str:
    return f"{name} / {number}"


@dataclass
class Story:
    """A recorded run, and what it promised.

    Attributes:
        after: which job waits for which.
        replaced: the job that each replaced.
        expiring: the jobs that expire, and when.
        parents: the jobs that enqueue some.
        alike: the jobs that are alike, by key.
    """

    files: RecordingFiles
    way: Way
    promises: list[Promise] = field(default_factory=list)
    after: dict[str, list[str]] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    expiring: dict[str, float] = field(default_factory=dict)
    parents: list[str] = field(default_factory=list)
    alike: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    ids: list[str] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)
    """Those that a caller has cancelled, or wanted to."""
    is_faulty: bool = False
    """Whether the disk may be full: what was told of a job may be written later, or not at all."""

    def promise(self, job_id: str, *statuses: Status) -> None:
        """A call has returned that said so."""
        self.promises.append(Promise(self.files.now(), job_id, frozenset(statuses)))

    def holds(self, at: int, crash: Crash) -> dict[str, frozenset[Status]]:
        """What was promised by then, and is to be kept through such a crash."""
        durability = self.way.durability
        if durability == "async" or (durability == "write" and crash == "power cut"):
            return {}
        return {each.job_id: each.statuses for each in self.promises if each.at <= at}


class Teller:
    """Asks a queue for all of it, and notes what it promises."""

    def __init__(self, story: Story, jq: JobQueue, clock: ManualClock) -> None:
        self.story = story
        self.jq = jq
        self.clock = clock

    def enqueue(self, job: Job, delay: float = 0.0) -> None:
        """It will be known, whatever becomes of it."""
        story = self.story
        story.ids.append(job.id)
        story.after[job.id] = list(job.after)
        if job.expires is not None:
            story.expiring[job.id] = self.clock.time() + job.expires
        if job.unique is not None and job.key is not None:
            if job.unique.on_conflict == "replace" and story.alike[job.key]:
                story.replaced[job.id] = story.alike[job.key][-1]
            story.alike[job.key].append(job.id)
        if job.handler == "parent":
            story.parents.append(job.id)
        try:
            handle = self.jq.enqueue(job, delay=delay)
        except LogWriteError:
            assert story.is_faulty
            story.replaced.pop(job.id, None)  # that one is cancelled all the same
            for ids in story.alike.values():
                ids[:] = [each for each in ids if each != job.id]
            return
        assert not handle.existing
        story.promise(job.id, *Status)
        if job.id in story.replaced:
            story.promise(story.replaced[job.id], Status.CANCELLED)

    def cancel(self, job_id: str) -> None:
        self.story.cancelled.add(job_id)
        try:
            assert self.jq.cancel(job_id)
        except LogWriteError:
            assert self.story.is_faulty
            return
        self.story.promise(job_id, Status.CANCELLED)

    def run(self) -> None:
        """Run what is due, and have it on the disk."""
        with suppress(LogWriteError) if self.story.is_faulty else nullcontext():
            run_all(self.jq)
            until_looked_after(self.jq)
        if self.story.way.durability != "async" and not self.story.is_faulty:
            for job_id in self.story.ids:
                status = self.jq.status(job_id)
                if status not in UNFINISHED:
                    self.story.promise(job_id, status)

    def script(self, part: str, rng: Random, count: int) -> None:
        """So many things by chance."""
        for number in range(count):
            if insides.writer(self.jq).failure is not None:
                return
            getattr(self, rng.choices(_ASKED, _WEIGHTS)[0])(f"{part}-{number}", rng)

    def enqueue_some(self, name: str, rng: Random) -> None:
        """A job after others, perhaps."""
        known = [each for each in self.story.ids if status_of(self.jq, each)]
        after = rng.sample(known, min(len(known), rng.randrange(3)))
        handler = rng.choice(("work", "work", "limited", "reject", "parent"))
        payload = rng.choice((b"", b"retried", b"x" * 500))
        priority = rng.choice(list(Priority))
        job = Job(payload, id=name, handler=handler, after=after, key="one", priority=priority)
        self.enqueue(job, delay=0.0 if after else rng.choice((0.0, 0.0, 15.0, 1000.0)))

    def enqueue_alike(self, name: str, rng: Random) -> None:
        """A job that takes the place of one like it, which is far from being due."""
        unique = Unique("key", on_conflict="replace")
        job = Job(id=name, handler="work", key=rng.choice("kl"), unique=unique)
        self.enqueue(job, delay=1000.0)

    def enqueue_expiring(self, name: str, rng: Random) -> None:
        """A job that will not start in time, and one after it."""
        self.enqueue(Job(id=name, handler="late", expires=rng.choice((5.0, 50.0))), delay=100.0)
        if status_of(self.jq, name):
            self.enqueue(Job(id=f"after {name}", handler="work", after=[name]))

    def cancel_one(self, _name: str, rng: Random) -> None:
        """A job that waits, and that is not to be replaced."""
        alike = {each for ids in self.story.alike.values() for each in ids}
        waiting = [
            each
            for each in self.story.ids
            if each not in alike and status_of(self.jq, each) in UNFINISHED
        ]
        if waiting:
            self.cancel(rng.choice(waiting))

    def advance(self, _name: str, rng: Random) -> None:
        """Let some time pass, and run what is due."""
        self.clock.advance(rng.choice((0.5, 1.0, 6.0)))
        self.run()

    def flush(self, _name: str, _rng: Random) -> None:
        """Have all on the disk."""
        with suppress(LogWriteError):
            self.jq.flush()

    def tell(self, part: str) -> None:
        """A bit of everything."""
        name = f"{part} {{}}".format
        self.enqueue(Job(b"x" * 500, id=name("first"), handler="work"))
        self.enqueue(Job(id=name("second"), handler="work", after=[name("first")]))
        self.enqueue(Job(id=name("third"), handler="work", after=[name("first"), name("second")]))
        self.enqueue(Job(id=name("wrong"), handler="reject", priority=Priority.LOW))
        self.enqueue(Job(id=name("cancelled"), handler="work", after=[name("wrong")]))
        self.enqueue(Job(id=name("too"), handler="work", after=[name("cancelled")]))
        unique = Unique("key", on_conflict="replace")
        self.enqueue(Job(b"old", id=name("old"), handler="work", key=part, unique=unique))
        self.enqueue(Job(b"new", id=name("new"), handler="work", key=part, unique=unique))
        assert self.jq.enqueue(Job(handler="work", key=part, unique=Unique("key"))).existing
        self.enqueue(Job(id=name("expiring"), handler="late", expires=EXPIRES), delay=100.0)
        self.enqueue(Job(id=name("after it"), handler="work", after=[name("expiring")]))
        for number in range(3):
            self.enqueue(Job(id=name(f"limited {number}"), handler="limited", key="one"))
        self.enqueue(Job(b"y" * 100, id=name("parent"), handler="parent"))
        self.enqueue(Job(b"retried", id=name("retried"), handler="parent"))
        self.enqueue(Job(id=name("after parent"), handler="work", after=[name("retried")]))
        self.run()
        self.enqueue(Job(id=name("late"), handler="work", after=[name("wrong")]))
        self.enqueue(Job(id=name("later"), handler="work"), delay=1000.0)
        self.enqueue(Job(id=name("after later"), handler="work", after=[name("later")]))
        self.cancel(name("later"))
        self.clock.advance(EXPIRES)
        self.run()
        self.clock.advance(10.0)
        self.run()


def open_on(files: RecordingFiles, way: Way, told: Told, clock: ManualClock) -> JobQueue:
    config = Config(
        persist_path=LOG,
        durability=way.durability,
        fsync_interval=0.002,
        segment_bytes=SEGMENT_BYTES,
        jitter=0,
        max_crashes=1000,
    )
    with on_disk(files):
        jq = JobQueue(config, handlers=told.handlers(), start=False, clock=clock)
    jq.register(
        "limited", lambda payload, context: told.work(payload, context),  # noqa: PLW0108
        limit=Limit(1, per_key=True), rate=Rate(2, per=1.0),
    )  # fmt: skip
    return jq


_ASKED, _WEIGHTS = zip(
    ("enqueue_some", 10),
    ("enqueue_alike", 2),
    ("enqueue_expiring", 2),
    ("cancel_one", 2),
    ("advance", 5),
    ("flush", 1),
    strict=True,
)


def a_random_story(
    seed: str, way: Way, requests: int, faults: Callable[[str], int] | None = None
) -> Story:
    """Some runs over one log, in which anything comes; `faults` as for `RecordingFiles.inject`."""
    rng = Random(seed)
    files = RecordingFiles(Tree(EMPTY_DISK), maps=way.mapped, sync_seconds=0)
    story = Story(files, way, is_faulty=faults is not None)
    clock = ManualClock(WALL)
    for part in range(rng.randint(1, 3)):
        files.inject = None
        jq = open_on(files, way, Told(), clock)
        files.inject = faults
        try:
            Teller(story, jq, clock).script(f"{part}", rng, requests)
        finally:
            files.inject = None
            with suppress(LogWriteError) if story.is_faulty else nullcontext():
                jq.close(drain=False)
    return story


@cache
def a_story(way: Way) -> Story:
    """Two runs over one log, with a restart between them."""
    story = Story(RecordingFiles(Tree(EMPTY_DISK), maps=way.mapped, sync_seconds=0), way)
    clock = ManualClock(WALL)
    for part in ("a", "b"):
        with open_on(story.files, way, Told(), clock) as jq:
            teller = Teller(story, jq, clock)
            teller.tell(part)
            check_whole(jq)
            jq.close(drain=False)
    return story


@cache
def a_compaction(way: Way) -> Story:
    """A run whose log is compacted while jobs wait for others."""
    story = Story(RecordingFiles(Tree(EMPTY_DISK), maps=way.mapped, sync_seconds=0), way)
    clock = ManualClock(WALL)
    with open_on(story.files, way, Told(), clock) as jq:
        teller = Teller(story, jq, clock)
        unique = Unique("key", on_conflict="replace")
        teller.enqueue(Job(id="far", handler="work"), delay=1000.0)
        teller.enqueue(Job(id="near", handler="reject"), delay=500.0)
        teller.enqueue(Job(id="after far", handler="work", after=["far"]))
        teller.enqueue(Job(id="after near", handler="work", after=["near", "far"]))
        teller.enqueue(Job(id="alike", handler="work", key="k", unique=unique), delay=1000.0)
        teller.enqueue(Job(id="expiring", handler="work", expires=900.0), delay=1000.0)
        teller.enqueue(Job(id="after it", handler="work", after=["expiring"]))
        for number in range(200):
            if any(name.endswith(".snapshot.jsonl") for name in story.files.list_directory(LOG)):
                break
            teller.enqueue(Job(b"z" * 3000, id=f"filler {number}", handler="work"))
            if number % 4 == 0:
                teller.enqueue(Job(id=f"parent {number}", handler="parent"))
            run_all(jq)
            jq.flush()
        clock.advance(600.0)
        teller.run()
        teller.enqueue(Job(id="like it", handler="work", key="k", unique=unique), delay=1000.0)
        jq.close(drain=False)
    return story


# ── what a crash left ────────────────────────────────────────────────────────────────────────


def crashes(story: Story, *, samples: int) -> Iterator[tuple[int, Crash, Remains]]:
    """The different disks that crashes could leave."""
    disk, rng, told = Disk(story.files), Random(1), set()
    for at in range(story.files.started, story.files.now() + 1):
        disk.advance(at)
        found: list[tuple[int, Crash, Remains]] = [(at, "kill -9", disk.killed_after())]
        if at > story.files.started:
            found += [(at - 1, "kill -9", each) for each in disk.killed_within(rng)]
        found += [
            (at, "power cut", each) for each in power_cuts(disk, rng, all_up_to=4, samples=samples)
        ]
        for when, crash, remains in found:
            promised = frozenset(story.holds(when, crash).items())
            key = hash((promised, frozenset(remains.image().items())))
            if key not in told:
                told.add(key)
                yield when, crash, remains


def verify(story: Story, at: int, crash: Crash, remains: Remains) -> None:
    """Open a queue over what was left, run it to its end, and hold it to all that is above."""
    clock, told = ManualClock(WALL + 200.0), Told()
    jq = open_on(remains.files(maps=story.way.mapped), story.way, told, clock)
    try:
        until_looked_after(jq)
        before = {job_id: found for job_id in all_ids(story) if (found := status_of(jq, job_id))}
        check_promises(story, at, crash, before)
        check_children(story, before)
        check_alike(story, before)
        check_whole(jq)
        for _ in range(6):
            run_all(jq)
            clock.advance(2000.0)
        run_all(jq)
        until_looked_after(jq)
        after = {job_id: found for job_id in all_ids(story) if (found := status_of(jq, job_id))}
        check_runs(story, before, after, told)
        check_rest(jq)
    finally:
        jq.close(drain=False)


def all_ids(story: Story) -> list[str]:
    return story.ids + [child_of(name, n) for name in story.parents for n in range(FAN)]


def status_of(jq: JobQueue, job_id: str) -> Status | None:
    try:
        return jq.status(job_id)
    except UnknownJobError:
        return None


def check_promises(story: Story, at: int, crash: Crash, before: dict[str, Status]) -> None:
    for job_id, statuses in story.holds(at, crash).items():
        assert before.get(job_id) in statuses, f"{job_id!r}: {before.get(job_id)}, not {statuses}"


def check_children(story: Story, before: dict[str, Status]) -> None:
    for name in story.parents:
        known = sum(child_of(name, number) in before for number in range(FAN))
        wanted = FAN if before.get(name) is Status.COMPLETED else 0
        assert known == wanted, f"{name!r} is {before.get(name)}, with {known} children"


def check_alike(story: Story, before: dict[str, Status]) -> None:
    for key, ids in story.alike.items():
        unfinished = [each for each in ids if before.get(each) in UNFINISHED]
        assert len(unfinished) <= 1, f"{unfinished} are alike, by {key!r}"
    for new, old in story.replaced.items():
        if new in before:
            assert before[old] is Status.CANCELLED, f"{new!r} has replaced {old!r}"
        elif not story.is_faulty:  # a full disk may refuse a job after its place was made free
            assert before.get(old) is not Status.CANCELLED, f"nothing has replaced {old!r}"


def check_runs(
    story: Story, before: dict[str, Status], after: dict[str, Status], told: Told
) -> None:
    assert len(set(told.ran)) == len(
        [each for each in told.ran if each not in story.parents]
    ) + len({each for each in told.ran if each in story.parents})
    for job_id in told.ran:
        assert before.get(job_id, Status.QUEUED) in UNFINISHED, f"{job_id!r} had ended, and ran"
    for job_id, parents in story.after.items():
        cancelled = job_id in story.cancelled and after.get(job_id) is Status.CANCELLED
        if parents and job_id in after and not cancelled:
            check_dependent(job_id, parents, after, told)
    for job_id, until in story.expiring.items():
        if before.get(job_id) in UNFINISHED and until < WALL + 200.0:
            assert after[job_id] is Status.CANCELLED
            assert job_id not in told.ran, f"{job_id!r} had expired, and ran"
    assert all(most == 1 for key, most in told.most.items() if key == "one")


def check_dependent(job_id: str, parents: list[str], after: dict[str, Status], told: Told) -> None:
    ends = [after[each] for each in parents]
    if set(ends) <= {Status.COMPLETED}:
        assert after[job_id] in (Status.COMPLETED, Status.FAILED), f"{job_id!r}, after {parents}"
    else:
        assert after[job_id] is Status.CANCELLED, f"{job_id!r} is {after[job_id]}, after {ends}"
        assert job_id not in told.ran
    if job_id in told.ran:
        for each in parents:
            assert each not in told.ran or told.ran.index(each) < told.ran.index(job_id)
