"""`@tasks.periodic`: tasks that are called by themselves."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jobqueue import AsyncTask, Config, Job, JobContext, JobQueue, Priority, Task, Tasks
from jobqueue.tasks.settings import checked_options
from jobqueue.testing import ManualClock, immediate, run_all

HOUR = 3600.0
NINE = datetime(2026, 11, 29, 9, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NINE)


@pytest.fixture
def tasks() -> Tasks:
    return Tasks()


def test_a_periodic_task_is_called_at_each_tick_and_otherwise_as_any_task(
    tasks: Tasks, clock: ManualClock
) -> None:
    called: list[str] = []

    @tasks.periodic("@hourly", name="report", priority=Priority.LOW, max_retries=7)
    def report(what: str = "all") -> None:
        called.append(what)

    assert isinstance(report, Task)
    report()
    with tasks.open(clock=clock, start=False) as jq:
        assert [(info.name, info.schedule) for info in jq.periodics()] == [("report", "@hourly")]
        clock.advance(HOUR)
        info = jq.info("report@2026-11-29T10:00:00Z")
        assert (info.handler, info.priority) == ("report", Priority.LOW)
        report.enqueue("some")
        run_all(jq)
    assert sorted(called) == ["all", "all", "some"]


def test_in_tests_a_periodic_task_runs_where_it_is_called(tasks: Tasks) -> None:
    @tasks.periodic(timedelta(milliseconds=1), name="report")
    def report() -> int:
        return 3

    with immediate(tasks):
        assert report.enqueue().result() == 3


def test_a_coroutine_function_may_be_periodic(tasks: Tasks, clock: ManualClock) -> None:
    called: list[int] = []

    @tasks.periodic(timedelta(hours=1), name="poll")
    async def poll(context: JobContext) -> None:
        called.append(context.attempt)

    assert isinstance(poll, AsyncTask)
    with tasks.open(Config(executor="asyncio"), clock=clock) as jq:
        clock.advance(HOUR)
        assert jq.join(10)
    assert called == [0]


def test_one_that_is_declared_while_a_queue_is_open_begins_at_once(
    tasks: Tasks, clock: ManualClock
) -> None:
    with tasks.open(clock=clock) as jq:
        tasks.periodic("@daily", name="late", tz="Europe/Berlin")(lambda: None)
        assert [(info.name, info.tz) for info in jq.periodics()] == [("late", "Europe/Berlin")]


def test_those_of_an_included_module_have_its_prefix(tasks: Tasks, clock: ManualClock) -> None:
    called: list[int] = []
    early, late = Tasks(), Tasks()
    for module in (early, late):
        module.periodic("@hourly", name="report")(lambda: called.append(1))
    tasks.include(early, "early.")
    with tasks.open(clock=clock) as jq:
        tasks.include(late, "late.")
        assert [info.name for info in jq.periodics()] == ["early.report", "late.report"]
        clock.advance(HOUR)
        assert jq.info("late.report@2026-11-29T10:00:00Z").handler == "late.report"
        assert jq.join(10)
    assert called == [1, 1]


def test_bound_to_a_second_queue_they_begin_there(tasks: Tasks, clock: ManualClock) -> None:
    called: list[int] = []
    tasks.periodic("@hourly", name="report")(lambda: called.append(1))
    for _ in range(2):
        with JobQueue(clock=clock) as jq:
            tasks.bind(jq)
            clock.advance(HOUR)
            assert jq.join(10)
    assert called == [1, 1]


def test_missed_ticks_are_caught_up_with_at_the_next_open(
    tasks: Tasks, clock: ManualClock, tmp_path: Any
) -> None:
    called: list[int] = []
    tasks.periodic("@hourly", name="report", catch_up="all")(lambda: called.append(1))
    config = Config(persist_path=tmp_path / "jobs.db")
    for advance in (0, 3):
        clock.advance(advance * HOUR)
        with tasks.open(config, clock=clock) as jq:
            assert jq.join(10)
    assert called == [1, 1, 1]


def wants_arguments(path: str, width: int = 3, *more: int) -> None: ...


def wants_keyword(*, path: str) -> None: ...


@pytest.mark.parametrize("function", [wants_arguments, wants_keyword])
def test_a_function_that_wants_arguments_is_refused(tasks: Tasks, function: Any) -> None:
    with pytest.raises(TypeError, match="by a schedule, which gives no arguments, and wants path"):
        tasks.periodic("@hourly")(function)
    assert tasks.task(function).name == function.__name__  # the name is free


@pytest.mark.parametrize(
    ("schedule", "options", "error", "words"),
    [
        ("* * *", {}, ValueError, "five fields"),
        (60, {}, TypeError, "a timedelta"),
        (timedelta(0), {}, ValueError, "a millisecond"),
        ("@daily", {"tz": "Nowhere"}, ValueError, "no time zone"),
        ("@daily", {"catch_up": "some"}, ValueError, "'none' or 'last' or 'all'"),
        ("@daily", {"retries": 3}, TypeError, "no option 'retries'; did you mean 'max_retries'"),
        ("@daily", {"max_retries": -1}, ValueError, "max_retries"),
        ("@daily", {"name": ""}, ValueError, "1 to 255"),
        (len, {}, TypeError, "a timedelta"),
    ],
)
def test_what_cannot_be_is_refused_at_the_declaration(
    tasks: Tasks, schedule: Any, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words) as caught:
        tasks.periodic(schedule, **options)
    assert "@tasks." in str(caught.value)


def test_each_option_of_a_task_is_one_of_a_periodic_task_with_the_same_default(
    tasks: Tasks,
) -> None:
    parameters = dict(inspect.signature(tasks.task).parameters)
    del parameters["fn"]
    defaults = {name: each.default for name, each in parameters.items()}
    assert checked_options({}) == defaults
    with pytest.raises(TypeError) as caught:
        tasks.periodic("@daily", unheard_of=1)  # type: ignore[call-arg]
    assert all(name in str(caught.value) for name in defaults)


def test_a_queue_that_has_another_schedule_of_this_name_refuses_the_task(tasks: Tasks) -> None:
    tasks.periodic("@daily", name="report")(lambda: None)
    with JobQueue() as jq:
        jq.periodic("report", "@hourly", Job)
        with pytest.raises(ValueError, match="'report' is taken by another schedule"):
            tasks.bind(jq)


def test_a_schedule_above_a_task_is_told_as_a_second_declaration(tasks: Tasks) -> None:
    @tasks.task(name="sweep")
    def sweep() -> None: ...

    with pytest.raises(TypeError, match=r"is a task already; .*@tasks\.periodic, which takes"):
        tasks.periodic(timedelta(hours=1))(sweep)
