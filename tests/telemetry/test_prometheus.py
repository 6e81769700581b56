"""The collector for Prometheus: what it shows of a queue, and that its counters never go down."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, cast

import pytest

pytest.importorskip("prometheus_client", reason="needs the extra 'prometheus'")

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from jobqueue.final import Config, EngineMetrics, Job, JobQueue, Metrics, Priority, RejectJobError
from jobqueue.final.testing import ManualClock, run_all
from jobqueue.telemetry.prometheus import JobQueueCollector
from tests.support.queues import Attempts, Store
from tests.support.waiting import PATIENCE, eventually

HIGH, MEDIUM, LOW = Priority


class Scrapes:
    """Scrapes collectors, as a server does, and reads the text as Prometheus does."""

    def __init__(self, *collectors: JobQueueCollector) -> None:
        self.registry = CollectorRegistry()
        for each in collectors:
            self.registry.register(each)

    def text(self) -> str:
        return generate_latest(self.registry).decode()

    def samples(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        found = {}
        for family in text_string_to_metric_families(self.text()):
            for sample in family.samples:
                key = sample.name, frozenset(sample.labels.items())
                assert key not in found, f"{key} is there twice"
                found[key] = sample.value
        return found

    def value(self, name: str, **labels: str) -> float:
        return self.samples()[name, frozenset({"queue": "default", **labels}.items())]


def reject(_payload: bytes) -> None:
    raise RejectJobError("no")


def of(scrapes: Scrapes, handler: str, priority: str = "medium") -> dict[str, float]:
    """The counters of a handler, by their short names."""
    names = ("enqueued", "completed", "failed", "retried", "cancelled", "expired")
    return {
        name: scrapes.value(f"jobqueue_jobs_{name}_total", handler=handler, priority=priority)
        for name in names
    }


def test_jobs_are_counted_by_handler_and_priority(memory: Store, clock: ManualClock) -> None:
    mail = Attempts(ValueError("boom"), None)
    jq = memory.open(len, handlers={"mail": mail, "bad": reject}, start=False, clock=clock)
    scrapes = Scrapes(JobQueueCollector(jq))
    jq.enqueue(Job(handler="mail"))
    run_all(jq)
    clock.advance(1.0)
    run_all(jq)
    jq.enqueue(Job(handler="mail", priority=HIGH))
    run_all(jq)
    jq.enqueue(Job(handler="bad", priority=LOW))
    run_all(jq)
    jq.enqueue(Job(handler="mail"), delay=60.0).cancel()
    jq.enqueue(Job(handler="mail", expires=5.0))
    clock.advance(10.0)

    none = dict.fromkeys(("enqueued", "completed", "failed", "retried", "cancelled", "expired"), 0)
    assert of(scrapes, "mail") == none | {
        "enqueued": 3, "completed": 1, "retried": 1, "cancelled": 2, "expired": 1
    }  # fmt: skip
    assert of(scrapes, "mail", "high") == none | {"enqueued": 1, "completed": 1}
    assert of(scrapes, "bad", "low") == none | {"enqueued": 1, "failed": 1}


def test_each_state_of_a_lane_is_told(memory: Store, clock: ManualClock) -> None:
    jq = memory.open(len, handlers={"bad": reject}, start=False, clock=clock)
    scrapes = Scrapes(JobQueueCollector(jq))
    jq.enqueue(Job(handler="bad"))
    run_all(jq)
    jq.enqueue(Job())
    jq.enqueue(Job(priority=LOW), delay=60.0)
    clock.advance(7.0)

    states = {
        (priority, state): scrapes.value("jobqueue_jobs", priority=priority, state=state)
        for priority in ("high", "medium", "low")
        for state in ("queued", "scheduled", "processing", "overrunning", "limited", "dead")
    }
    assert {key: value for key, value in states.items() if value} == {
        ("medium", "queued"): 1,
        ("low", "scheduled"): 1,
        ("medium", "dead"): 1,
    }
    assert scrapes.value("jobqueue_oldest_wait_seconds", priority="medium") == 7.0


def test_dead_letters_that_leave_are_counted_no_more(memory: Store) -> None:
    jq = memory.open(reject, start=False, max_dead_letters=2)
    scrapes = Scrapes(JobQueueCollector(jq))
    for number in range(3):
        jq.enqueue(Job(id=str(number)))
    run_all(jq)

    def dead() -> float:
        return scrapes.value("jobqueue_jobs", priority="medium", state="dead")

    assert dead() == 2
    jq.discard("1")
    assert dead() == 1
    jq.requeue("2")
    assert dead() == 0
    assert of(scrapes, "(default)")["enqueued"] == 4


def test_dead_letters_are_there_after_a_restart(log_store: Store) -> None:
    jq = log_store.open(reject, start=False)
    jq.enqueue(Job())
    run_all(jq)
    jq.close()

    scrapes = Scrapes(JobQueueCollector(log_store.open(reject, start=False)))
    assert scrapes.value("jobqueue_jobs", priority="medium", state="dead") == 1


def buckets(scrapes: Scrapes, name: str, **labels: str) -> dict[str, float]:
    """The counts of a histogram by upper bound."""
    return {
        bound: value
        for (sample, of), value in scrapes.samples().items()
        if sample == f"{name}_bucket" and (rest := dict(of)) and (bound := rest.pop("le"))
        if rest == {"queue": "default", **labels}
    }


def test_waits_and_run_times_are_spread_over_buckets(memory: Store, clock: ManualClock) -> None:
    def takes(payload: bytes) -> None:
        clock.advance(float(payload))

    jq = memory.open(takes, start=False, clock=clock)
    scrapes = Scrapes(JobQueueCollector(jq))
    for seconds in (b"0.05", b"3", b"700"):  # a bound belongs to its bucket
        jq.enqueue(Job(seconds))
        run_all(jq)
    jq.enqueue(Job(b"0"))
    clock.advance(2.0)
    run_all(jq)

    labels = {"handler": "(default)", "priority": "medium"}
    times = buckets(scrapes, "jobqueue_job_run_seconds", **labels)
    assert (times["0.01"], times["0.05"], times["1.0"], times["5.0"]) == (1, 2, 2, 3)
    assert (times["600.0"], times["+Inf"]) == (3, 4)
    assert scrapes.value("jobqueue_job_run_seconds_count", **labels) == 4
    assert scrapes.value("jobqueue_job_run_seconds_sum", **labels) == pytest.approx(703.05)
    waits = buckets(scrapes, "jobqueue_job_wait_seconds", **labels)
    assert (waits["0.001"], waits["1.0"], waits["5.0"]) == (3, 3, 4)


def test_of_many_attempts_each_is_in_a_bucket(memory: Store) -> None:
    """Also those that failed, and whatever was gathered when it is asked."""
    jq = memory.open(len, handlers={"bad": reject}, start=False)
    scrapes = Scrapes(JobQueueCollector(jq))
    for _ in range(7):
        jq.enqueue_many([Job() for _ in range(100)])
        jq.enqueue_many([Job(handler="bad") for _ in range(50)])
        run_all(jq)
        scrapes.samples()

    for handler, count in (("(default)", 700), ("bad", 350)):
        for name in ("jobqueue_job_run_seconds", "jobqueue_job_wait_seconds"):
            labels = {"handler": handler, "priority": "medium"}
            assert scrapes.value(f"{name}_count", **labels) == count
            assert buckets(scrapes, name, **labels)["+Inf"] == count


def test_jobs_without_a_registered_handler_have_one_label(memory: Store) -> None:
    jq = memory.open(start=False)
    scrapes = Scrapes(JobQueueCollector(jq))
    for name in ("a", "b"):
        jq.enqueue(Job(handler=name))
    jq.enqueue(Job(handler="c"), delay=60.0).cancel()
    jq.enqueue_with_handler(Job(), lambda payload: None)
    run_all(jq)

    counts = of(scrapes, "(unregistered)")
    assert (counts["enqueued"], counts["completed"], counts["cancelled"]) == (4, 1, 1)
    jq.register("a", len)
    run_all(jq)
    assert of(scrapes, "a")["completed"] == 1
    assert of(scrapes, "(unregistered)")["enqueued"] == 4


def test_names_that_are_meant_to_confuse_are_told_as_they_are(memory: Store) -> None:
    names = ['a"b', "a\\", "a\nb", "{}", "ä\u2028", "(default)", "(unregistered)"]
    jq = memory.open(len, handlers=dict.fromkeys(names, len), start=False)
    scrapes = Scrapes(JobQueueCollector(jq, name='q"\n'))
    jq.enqueue_many([Job(handler=name) for name in [None, *names]])

    told = {
        dict(labels)["handler"]: value
        for (name, labels), value in scrapes.samples().items()
        if name == "jobqueue_jobs_enqueued_total"
    }
    assert told == dict.fromkeys(names, 1) | {"(default)": 2}  # added up


def counters(scrapes: Scrapes) -> dict[Any, float]:
    """All that must never go down."""
    kinds = ("_total", "_bucket", "_count", "_sum")
    return {key: value for key, value in scrapes.samples().items() if key[0].endswith(kinds)}


def assert_none_fell(before: dict[Any, float], after: dict[Any, float]) -> None:
    assert [key for key, value in before.items() if after[key] < value] == []


def test_no_counter_goes_down_if_jobs_are_forgotten(log_store: Store) -> None:
    jq = log_store.open(len, handlers={"bad": reject}, status_retention=1, max_dead_letters=1)
    scrapes = Scrapes(JobQueueCollector(jq))
    for _ in range(3):
        jq.enqueue(Job())
        jq.enqueue(Job(handler="bad"))
    jq.join()
    before = counters(scrapes)
    for info in jq.dead_letters():
        jq.discard(info.id)
    jq.flush()

    assert_none_fell(before, counters(scrapes))
    jq.close()
    assert_none_fell(before, counters(scrapes))


class Moving:
    """A queue that another process is the owner of from some moment on."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    def metrics(self) -> Any:
        return self.queue.metrics()


def test_no_counter_goes_down_if_the_queue_has_another_owner(
    memory: Store, clock: ManualClock
) -> None:
    first = memory.open(len, handlers={"bad": reject}, start=False, clock=clock)
    moving = Moving(first)
    scrapes = Scrapes(JobQueueCollector(cast("Any", moving)))
    first.enqueue_many([*(Job() for _ in range(5)), Job(handler="bad")])
    run_all(first)
    before = counters(scrapes)

    clock.advance(1.0)
    moving.queue = second = memory.open(len, start=False, clock=clock)
    assert counters(scrapes) == before
    second.enqueue(Job())
    run_all(second)

    assert_none_fell(before, counters(scrapes))
    assert of(scrapes, "(default)")["completed"] == 6
    assert of(scrapes, "bad")["failed"] == 1
    labels = {"handler": "(default)", "priority": "medium"}
    assert scrapes.value("jobqueue_job_run_seconds_count", **labels) == 6


class TakingBack:
    """A queue whose log could not take the last job, which is then not counted any more."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue
        self.takes_back = False

    def metrics(self) -> Metrics:
        metrics = self.queue.metrics()
        if not self.takes_back:
            return metrics
        counts = metrics.by_handler[None]
        lane = counts.by_priority[MEDIUM]
        less = {MEDIUM: replace(lane, enqueued=lane.enqueued - 1)}
        return replace(metrics, by_handler={None: replace(counts, by_priority=less)})


def test_no_counter_goes_down_if_the_log_could_not_take_a_job(memory: Store) -> None:
    queue = TakingBack(memory.open(len, start=False))
    scrapes = Scrapes(JobQueueCollector(cast("Any", queue)))
    queue.queue.enqueue_many([Job(), Job()])
    before = counters(scrapes)

    queue.takes_back = True
    assert counters(scrapes) == before
    queue.queue.enqueue(Job())
    assert counters(scrapes) == before
    queue.queue.enqueue(Job())
    assert of(scrapes, "(default)")["enqueued"] == 3


def test_the_log_is_told_of(log_store: Store) -> None:
    jq = log_store.open(len)
    scrapes = Scrapes(JobQueueCollector(jq))
    jq.enqueue(Job())
    jq.join()
    jq.flush()

    assert scrapes.value("jobqueue_log_up") == 1
    assert scrapes.value("jobqueue_log_bytes") > 0
    assert scrapes.value("jobqueue_log_lag_records") >= 0
    assert scrapes.value("jobqueue_log_fsync_seconds_count") >= 1
    assert scrapes.value("jobqueue_workers") == 4


def test_a_queue_in_memory_tells_of_no_log(memory: Store) -> None:
    assert "jobqueue_log" not in Scrapes(JobQueueCollector(memory.open(len))).text()


def test_a_clients_scrape_shows_the_owners_queue(log_store: Store) -> None:
    pytest.importorskip("msgspec", reason="processes speak by it")
    owner = log_store.open(len, handlers={"bad": reject}, share="auto")
    client = JobQueue(Config(persist_path=log_store.path, share="client"))
    log_store.queues.append(client)
    client.enqueue(Job(handler="bad"))
    eventually(lambda: owner.metrics().failed == 1)

    assert client.metrics().by_handler == owner.metrics().by_handler
    scrapes = Scrapes(JobQueueCollector(client))
    assert of(scrapes, "bad")["failed"] == 1
    assert scrapes.value("jobqueue_log_up") == 1


@pytest.mark.parametrize("name", [None, 5, b"mails"])
def test_a_name_that_is_no_text_is_told_at_once(memory: Store, name: Any) -> None:
    with pytest.raises(TypeError, match="the name of a queue must be text"):
        JobQueueCollector(memory.open(len), name)


def test_several_queues_are_shown_by_one_collector(memory: Store) -> None:
    mail, images = memory.open(len, start=False), memory.open(len, start=False)
    collector = JobQueueCollector(mail, "mail")
    collector.add(images, "images")
    images.enqueue(Job())
    scrapes = Scrapes(collector)

    assert scrapes.value("jobqueue_jobs", queue="mail", priority="medium", state="queued") == 0
    assert scrapes.value("jobqueue_jobs", queue="images", priority="medium", state="queued") == 1
    with pytest.raises(ValueError, match="'mail' already"):
        collector.add(images, "mail")
    if promtool := shutil.which("promtool"):
        assert promtool_finds(promtool, scrapes.text()) == ""


def test_a_scrape_may_ask_for_some_series_alone(memory: Store) -> None:
    jq = memory.open(len)
    jq.enqueue(Job()).wait(PATIENCE)
    scrapes = Scrapes(JobQueueCollector(jq))
    some = scrapes.registry.restricted_registry(["jobqueue_jobs", "jobqueue_jobs_failed_total"])

    lines = [each for each in generate_latest(some).decode().splitlines() if each[0] != "#"]
    assert {each.partition("{")[0] for each in lines} == {
        "jobqueue_jobs",
        "jobqueue_jobs_failed_total",
    }


def test_registering_a_collector_does_not_ask_the_queue() -> None:
    collector = JobQueueCollector(cast("Any", None))
    names = {family.name for family in collector.describe()}

    Scrapes(collector)
    assert "jobqueue_jobs_enqueued" in names


class OnEngine:
    """A queue that runs on an engine which is not reached now."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    def metrics(self) -> Metrics:
        return replace(self._queue.metrics(), engine=EngineMetrics("postgres", False, 2, 3, 4))


def test_an_engine_is_told_of_if_there_is_one(log_store: Store) -> None:
    queue = log_store.open(len)
    collector = JobQueueCollector(cast("Any", OnEngine(queue)))
    scrapes = Scrapes(collector)
    assert scrapes.value("jobqueue_engine_connected") == 0
    assert scrapes.value("jobqueue_engine_reconnects_total") == 2
    assert scrapes.value("jobqueue_engine_late_total") == 3
    assert scrapes.value("jobqueue_engine_processes") == 4
    if promtool := shutil.which("promtool"):
        assert promtool_finds(promtool, scrapes.text()) == ""
    assert "jobqueue_engine" not in "".join(
        name for name, _ in Scrapes(JobQueueCollector(queue)).samples()
    )


def test_what_is_shown_is_what_is_described(log_store: Store) -> None:
    collector = JobQueueCollector(cast("Any", OnEngine(log_store.open(len))))

    def told(families: Iterable[Any]) -> set[tuple[str, str, str]]:
        return {(each.name, each.documentation, each.type) for each in families}

    assert told(collector.collect()) == told(collector.describe())


def promtool_finds(promtool: str, text: str) -> str:
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    return checked.stdout + checked.stderr


def test_promtool_finds_nothing_wrong(log_store: Store) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian's package is called prometheus)")
    jq = log_store.open(len, handlers={"bad": reject})
    jq.enqueue_many([Job(), Job(handler="bad", priority=HIGH), Job(handler="lacking")])
    eventually(lambda: jq.metrics().failed == 1)

    assert promtool_finds(promtool, Scrapes(JobQueueCollector(jq)).text()) == ""


def test_scrapes_at_the_same_time_do_not_disturb_each_other(memory: Store) -> None:
    """While handlers come that have had no jobs before."""
    jq = memory.open(len, handlers={str(number): len for number in range(60)})
    collector, errors = JobQueueCollector(jq), []

    def completed() -> float:
        found = {family.name: family for family in collector.collect()}
        return sum(sample.value for sample in found["jobqueue_jobs_completed"].samples)

    def scrape() -> None:
        try:
            last = 0.0
            while last < 60:
                now = completed()
                assert now >= last
                last = now
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=scrape) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(60):
        jq.enqueue(Job(handler=str(number)))
    for thread in threads:
        thread.join()
    assert errors == []
