"""What an open collection of tasks does with calls."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import sys
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import pytest

from jobqueue import (
    Config,
    Job,
    JobContext,
    JobHandle,
    JobQueue,
    JobQueueError,
    Middleware,
    QueueClosedError,
    ResultGoneError,
    Status,
    UnknownJobError,
)
from jobqueue.tasks import AsyncTask, QueueNotOpenError, Task, Tasks, as_completed, gather
from jobqueue.testing import ManualClock, run_all
from tests.support.handlers import Blocker
from tests.support.waiting import PATIENCE

tasks = Tasks()


@tasks.task
def double(x: int) -> int:
    return 2 * x


@tasks.task(max_retries=0)
def fail(text: str) -> str:
    raise ValueError(text)


@tasks.task
def count_to(x: int) -> int:
    """Waits, inside of a handler, for jobs of its own queue."""
    return sum(double.map(range(x)))


@tasks.task
def first_of(x: int) -> list[int]:
    """Waits, inside of a handler, for whichever job ends first."""
    return sorted(each.result() for each in as_completed(double.enqueue(y) for y in range(x)))


@pytest.fixture
def blocked() -> Iterator[Blocker]:
    """A handler that is held on to until its gate is set."""
    blocker = Blocker()
    yield blocker
    blocker.gate.set()


def test_without_an_open_queue_a_call_says_what_to_write() -> None:
    for call in (lambda: double.enqueue(1), lambda: tasks.queue, lambda: double.map([1])):
        with pytest.raises(QueueNotOpenError, match=r"with tasks.open\(\)"):
            call()
    with tasks.open():
        assert double.enqueue(2).result(10) == 4
    with pytest.raises(RuntimeError, match="no queue is open"):
        double.enqueue(1)


def test_a_second_open_is_refused_until_the_first_is_closed() -> None:
    with tasks.open() as first:
        with pytest.raises(RuntimeError, match="a queue is open"):
            tasks.open()
        with pytest.raises(RuntimeError, match="a queue is open"), JobQueue() as other:
            tasks.bind(other)
        assert tasks.queue is first
    with tasks.open() as second:
        assert tasks.queue is second


def test_tasks_are_bound_to_a_queue_that_was_made_elsewhere() -> None:
    with JobQueue() as jq:
        tasks.bind(jq)
        assert gather([double.enqueue(x) for x in range(3)]) == [0, 2, 4]


class Loud(Middleware):
    """Does nothing."""


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: tasks.open(cast("Any", 3)), "config must be a Config or None, not 3"),
        (lambda: tasks.open(cast("Any", Config)), "config must be a Config or None, not <class"),
        (lambda: tasks.open(middleware=cast("Any", Loud())), r"open\(middleware=\[\.\.\.\]\)"),
        (lambda: tasks.open(middleware=cast("Any", Loud)), r"open\(middleware=\[\.\.\.\]\)"),
        (lambda: tasks.bind(cast("Any", None)), r"bind\(\) takes a JobQueue, not None"),
        (lambda: gather(cast("Any", [3])), r"gather\(\) takes handles.*task\.enqueue.*not 3"),
        (lambda: gather(cast("Any", 3)), r"gather\(\) takes a list of handles, not 3"),
        (lambda: gather([], cast("Any", [])), r"gather\(\) takes one list of all handles"),
        (lambda: as_completed(cast("Any", [3])), r"as_completed\(\) takes handles.*not 3"),
        (lambda: as_completed(cast("Any", [[]])), r"as_completed\(\) takes handles.*not \[\]"),
        (lambda: run_all(cast("Any", 3)), r"run_all\(\) takes a JobQueue.*tasks\.queue.*not 3"),
    ],
)
def test_an_argument_of_another_kind_is_refused_at_the_call(
    call: Callable[[], object], says: str
) -> None:
    with pytest.raises(TypeError, match=says):
        call()


def test_a_queue_that_is_closed_is_not_bound() -> None:
    with JobQueue() as jq:
        pass
    with pytest.raises(QueueClosedError, match=r"bind\(\) was given a queue that is closed"):
        tasks.bind(jq)


def test_an_argument_may_be_named_as_one_of_the_library() -> None:
    odd = Tasks()

    @odd.task(name="keep")
    def keep(**data: int) -> dict[str, int]:
        return data

    @odd.task(name="call")
    async def call(self: int, fn: int) -> int:
        return self + fn

    arguments = {"self": 1, "args": 2, "kwargs": 3, "fn": 4, "task": 5, "tasks": 6}

    async def main() -> None:
        async with odd.open(Config(executor="asyncio")):
            assert await (await keep.aenqueue(**arguments)) == arguments
            assert await call.enqueue(self=1, fn=2) == 3
            assert await call(self=1, fn=2) == 3

    assert keep(**arguments) == arguments
    assert keep.arguments_of(keep.job(**arguments)) == {"data": arguments}
    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_an_open_that_fails_leaves_nothing_open(tmp_path: Path) -> None:
    more = Tasks()

    @more.task(name="odd")
    def odd(x: threading.Event) -> None: ...

    with pytest.raises(TypeError, match="'odd'"):
        more.open(Config(persist_path=tmp_path))
    with JobQueue(Config(persist_path=tmp_path)):  # not locked any more
        pass


def test_a_job_of_an_earlier_process_is_run_by_the_task_of_its_name(tmp_path: Path) -> None:
    config = Config(persist_path=tmp_path)
    with tasks.open(config, start=False):
        job_id = double.enqueue(21).id
    with tasks.open(config) as jq:
        assert jq.handle(job_id).wait(10) is Status.COMPLETED


def test_nothing_that_the_log_names_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "tests.support.slow_to_import.handler"
    config = Config(persist_path=tmp_path / "log")
    with JobQueue(config, start=False) as jq:
        job_id = jq.enqueue(Job(handler=name)).id
    monkeypatch.delitem(sys.modules, "tests.support.slow_to_import", raising=False)
    with tasks.open(config) as jq:
        assert double.enqueue(1).result(PATIENCE) == 2
        assert jq.status(job_id) is Status.QUEUED
    assert "tests.support.slow_to_import" not in sys.modules


def test_errors_are_of_the_kinds_that_a_caller_looks_for() -> None:
    assert issubclass(QueueNotOpenError, RuntimeError)
    assert issubclass(ResultGoneError, JobQueueError)


def test_jobs_of_tasks_go_into_one_batch(tmp_path: Path) -> None:
    with tasks.open(Config(persist_path=tmp_path / "jobs", durability="fsync"), start=False) as jq:
        log = jq.metrics().log
        assert log is not None
        handles = jq.enqueue_many([double.job(1), double.job(2)])
        log_then = jq.metrics().log
        assert log_then is not None
        assert log_then.batches == log.batches + 1
        jq.start()
        assert gather(handles) == [2, 4]


def test_an_awaited_call_that_is_cancelled_while_it_waits_for_room_is_not_accepted() -> None:
    async def main() -> None:
        jq = tasks.open(Config(queue_size=1), start=False)
        first = await double.aenqueue(1)
        second = asyncio.ensure_future(double.using(id="second").aenqueue(2))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        jq.start()
        assert await first == 2
        with pytest.raises(UnknownJobError):
            jq.status("second")
        await jq.aclose()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_attempts_of_an_asyncio_queue_start_on_entering_on_the_running_loop() -> None:
    both, _, _ = both_kinds()

    @both.task(name="loop_of")
    async def loop_of() -> int:
        return id(asyncio.get_running_loop())

    async def main() -> None:
        jq = both.open(Config(executor="asyncio"))
        handle = loop_of.enqueue()
        await asyncio.sleep(0)
        assert handle.status is Status.QUEUED
        async with jq:
            assert await handle == id(asyncio.get_running_loop())

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_context_variables_of_the_caller_do_not_travel_but_headers_do() -> None:
    more = Tasks()
    tenant = ContextVar("tenant", default="nobody")

    @more.task(name="tell")
    def tell(context: JobContext) -> tuple[str, str]:
        return tenant.get(), context.job.headers["tenant"]

    with more.open():
        token = tenant.set("ada")
        try:
            handle = tell.using(headers={"tenant": "ada"}).enqueue()
            assert handle.result(PATIENCE) == ("nobody", "ada")
        finally:
            tenant.reset(token)


def test_delays_are_seconds_a_timedelta_or_an_aware_time() -> None:
    job_clock = ManualClock()
    with tasks.open(start=False, clock=job_clock) as jq:
        due = datetime.fromtimestamp(job_clock.time() + 30, UTC)
        handles = [
            double.using(delay=30).enqueue(1),
            double.using(delay=timedelta(seconds=30)).enqueue(1),
            double.using(at=due).enqueue(1),
        ]
        past = double.using(at=due - timedelta(days=1)).enqueue(1)
        run_all(jq)
        assert past.status is Status.COMPLETED
        job_clock.advance(29)
        run_all(jq)
        assert [handle.status for handle in handles] == [Status.SCHEDULED] * 3
        job_clock.advance(1.1)
        run_all(jq)
        assert [handle.status for handle in handles] == [Status.COMPLETED] * 3


@pytest.mark.parametrize(
    ("options", "kind", "says"),
    [
        ({"at": datetime(2026, 1, 1)}, ValueError, "no time zone"),
        ({"at": 5.0}, TypeError, "at must be a datetime"),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC), "delay": 1}, ValueError, "one of the two"),
        ({"delay": -1}, ValueError, "delay must be a finite number of seconds >= 0"),
        ({"delay": float("nan")}, ValueError, "delay must be"),
        ({"delay": "1"}, TypeError, "delay must be a number"),
        ({"enqueue_timeout": -1}, ValueError, "enqueue_timeout"),
        ({"priority": 7}, ValueError, "priority"),
        ({"max_retries": -1}, ValueError, "max_retries"),
        ({"id": ""}, ValueError, "id"),
        ({"headers": {"a": 1}}, TypeError, "headers"),
        ({"prio": 1}, TypeError, "prio"),
    ],
)
def test_a_wrong_option_is_refused_at_the_call(
    options: dict[str, object], kind: type[Exception], says: str
) -> None:
    with pytest.raises(kind, match=says):
        double.using(**options)  # type: ignore[arg-type]


def test_the_options_of_enqueueing_are_passed_on() -> None:
    with tasks.open(Config(queue_size=1), start=False):
        first = double.using(id="first").enqueue(1)
        assert first.id == "first"
        with pytest.raises(TimeoutError):
            double.using(enqueue_timeout=0).enqueue(2)


def test_map_gives_results_in_order_and_takes_an_endless_iterable() -> None:
    with tasks.open(Config(queue_size=3)):
        results = double.map(itertools.count())
        assert list(itertools.islice(results, 10)) == [2 * x for x in range(10)]
        results.close()


def test_map_checks_and_enqueues_the_first_calls_itself() -> None:
    with tasks.open(Config(queue_size=2), start=False) as jq:
        numbers = iter(range(10))
        double.map(numbers)
        assert next(numbers) == 2
        with pytest.raises(TypeError, match="argument 'x'"):
            double.map(["a"])
        jq.close(0)


def test_closing_the_iterator_of_map_cancels_what_has_not_started() -> None:
    with tasks.open(Config(queue_size=5), start=False) as jq:
        results = double.map(range(5))
        assert jq.metrics().queued == 5
        results.close()
        assert jq.metrics().cancelled == 5


def test_map_gives_up_in_time_and_can_give_errors_in_place_of_results() -> None:
    with tasks.open(start=False):
        results = double.map([1], timeout=timedelta(milliseconds=10))
        with pytest.raises(TimeoutError):
            next(results)
    with tasks.open():
        errors = fail.map(["a", "b"], return_exceptions=True)
        assert [str(error) for error in errors] == ["a", "b"]
        with pytest.raises(ValueError, match="a"):
            next(fail.map(["a", "b"]))


def test_a_map_whose_queue_closes_says_so() -> None:
    with tasks.open(start=False) as jq:
        results = double.map([1, 2], return_exceptions=True)
        jq.close(0)
        with pytest.raises(QueueClosedError):
            next(results)


def test_a_map_inside_of_a_handler_does_not_wait_for_itself() -> None:
    with tasks.open(Config(num_workers=1, queue_size=4)):
        assert count_to.enqueue(20).result(10) == 380


def test_as_completed_gives_handles_as_their_jobs_end(blocked: Blocker) -> None:
    with JobQueue(Config(num_workers=2), handlers={"held": blocked, "free": len}) as jq:
        held = jq.enqueue(Job(handler="held"))
        free = jq.enqueue(Job(handler="free"))
        ended = as_completed([held, free, free], timeout=10)
        assert next(ended) is free
        blocked.gate.set()
        assert list(ended) == [held]


def test_workers_stand_in_for_handlers_that_wait_for_the_first_of_several_jobs() -> None:
    with tasks.open(Config(num_workers=2)):
        assert gather([first_of.enqueue(3), first_of.enqueue(3)]) == [[0, 2, 4], [0, 2, 4]]


def test_as_completed_would_stop_the_loop_and_says_what_to_write() -> None:
    loops = Tasks()

    @loops.task(name="loops.double", max_retries=0)
    async def double_each(count: int) -> None:
        next(as_completed([double_each.enqueue(0) for _ in range(count)]), None)

    with (
        loops.open(Config(executor="asyncio")),
        pytest.raises(RuntimeError, match="await handle"),
    ):
        double_each.enqueue(2).result(PATIENCE)


def test_as_completed_raises_when_the_time_is_over(blocked: Blocker) -> None:
    with JobQueue(handler=blocked) as jq:
        handle = jq.enqueue(Job())
        with pytest.raises(TimeoutError, match="1 of 1"):
            next(as_completed([handle], timeout=0.01))
        blocked.gate.set()


@pytest.mark.parametrize("seconds", [10**400, 1e300, 1e10, Fraction(10**10), timedelta.max])
def test_a_time_longer_than_a_computer_lasts_means_for_ever(seconds: Any) -> None:
    within: Any = Tasks().task(name="within", timeout=seconds)(len)
    with tasks.open(Config(queue_size=1, num_workers=1)) as jq:
        assert next(as_completed([double.enqueue(1)], timeout=seconds)).result() == 2
        assert list(double.map([1, 2, 3], timeout=seconds)) == [2, 4, 6]
        patient = double.using(enqueue_timeout=seconds)
        assert gather([patient.enqueue(each) for each in range(9)])[8] == 16
        assert double.using(delay=seconds).enqueue(1).status is Status.SCHEDULED
        jq.register("within", within.handler, timeout=seconds)
        jq.cancel_jobs()


def test_jobs_of_a_queue_that_closes_end_for_as_completed() -> None:
    jq = JobQueue(handler=len, start=False)
    handle = jq.enqueue(Job())
    ended = as_completed([handle], timeout=10)
    jq.close(0)
    with pytest.raises(QueueClosedError):
        next(ended).result()


def test_gather_gives_results_in_the_order_of_the_handles_and_errors_if_asked() -> None:
    with tasks.open():
        handles = [double.enqueue(1), fail.enqueue("no"), double.enqueue(3)]
        first, error, last = gather(handles, return_exceptions=True)
        assert (first, str(error), last) == (2, "no", 6)
        with pytest.raises(ValueError, match="no"):
            gather(handles)


# ── what is no Exception ─────────────────────────────────────────────────────────────────────


@tasks.task(max_retries=0)
def leave(code: int) -> int:
    raise SystemExit(code)


def test_an_exit_of_a_handler_is_raised_in_who_awaits_it_as_run_in_executor_does() -> None:
    caught: list[SystemExit] = []

    async def main() -> None:
        async with tasks.open(Config(executor="asyncio")):
            with pytest.raises(SystemExit) as first:
                await leave.enqueue(3)
            with pytest.raises(SystemExit) as second:
                await asyncio.get_running_loop().run_in_executor(None, leave, 4)
            caught.extend((first.value, second.value))
            assert await double.enqueue(1) == 2  # the worker and the loop go on
            await leave.enqueue(5)

    with pytest.raises(SystemExit) as ended:  # what nobody catches ends the loop
        asyncio.run(main())
    assert [each.code for each in (*caught, ended.value)] == [3, 4, 5]


def test_an_exit_of_a_handler_is_given_as_any_error_if_asked() -> None:
    with tasks.open():
        first, last = gather([leave.enqueue(3), double.enqueue(3)], return_exceptions=True)
        assert (type(first), last) == (SystemExit, 6)
        given: list[object] = list(leave.map([1, 2], return_exceptions=True))
        assert [type(each) for each in given] == [SystemExit, SystemExit]


def test_an_interrupt_of_who_waits_is_not_given_as_an_error_of_a_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(handle: JobHandle, timeout: float | None = None) -> object:
        raise KeyboardInterrupt

    with tasks.open(start=False) as jq:
        handle = double.enqueue(1)
        results = double.map([1, 2], return_exceptions=True)
        monkeypatch.setattr(JobHandle, "result", interrupted)
        with pytest.raises(KeyboardInterrupt):
            gather([handle], return_exceptions=True)
        with pytest.raises(KeyboardInterrupt):
            next(results)
        assert jq.metrics().queued == 1  # those of the map were cancelled


def both_kinds() -> tuple[Tasks, AsyncTask[[int], int], Task[[int], int]]:
    """A collection with a coroutine function and a plain one."""
    both = Tasks()

    @both.task(name="triple")
    async def triple(x: int, /) -> int:
        await asyncio.sleep(0)
        return 3 * x

    @both.task(name="double")
    def double(x: int, /) -> int:
        return 2 * x

    return both, triple, double


def test_coroutine_functions_and_plain_ones_run_beside_each_other_and_are_awaited() -> None:
    both, triple, double = both_kinds()

    async def main() -> None:
        async with both.open(Config(executor="asyncio")):
            assert await (await triple.aenqueue(2)) == 6
            assert await (await double.aenqueue(2)) == 4
            assert await triple(2) == 6

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
    with both.open(Config(executor="asyncio")):
        assert list(triple.map(range(3))) == [0, 3, 6]


def test_coroutine_functions_are_refused_where_nothing_awaits_them() -> None:
    both, _, _ = both_kinds()
    with pytest.raises(TypeError, match='executor="asyncio"'):
        both.open()
    with pytest.raises(QueueNotOpenError):
        both.queue  # noqa: B018


@dataclasses.dataclass
class Picture:
    path: Path
    width: int


def test_a_stored_result_is_there_after_a_restart_with_its_type(tmp_path: Path) -> None:
    kept = Tasks()

    @kept.task(name="shrink", store_result=True)
    def shrink(path: Path) -> Picture:
        return Picture(path, 200)

    with kept.open(Config(persist_path=tmp_path)):
        handle = shrink.enqueue(Path("cat.png"))
        assert handle.result(PATIENCE) == Picture(Path("cat.png"), 200)
    with kept.open(Config(persist_path=tmp_path)) as jq:
        assert jq.handle(handle.id).result(0) == Picture(Path("cat.png"), 200)
        assert jq.info(handle.id).result == Picture(Path("cat.png"), 200)


def test_a_result_that_cannot_be_kept_fails_the_job_and_a_type_that_cannot_is_told() -> None:
    kept = Tasks()

    @kept.task(name="lies", store_result=True)
    def lies() -> int:
        return "text"  # type: ignore[return-value]

    with kept.open():
        assert lies.enqueue().wait(PATIENCE) is Status.FAILED

    @kept.task(name="lock", store_result=True)
    def lock() -> threading.Event:
        return threading.Event()

    with pytest.raises(TypeError, match=r"task 'lock' returns Event.*store_result"):
        kept.open()
