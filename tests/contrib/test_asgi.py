"""The queue in ASGI applications, within the frameworks themselves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from jobqueue import Config, JobQueue, QueueNotOpenError, Status, Tasks
from jobqueue.testing import recorded
from tests.support.waiting import PATIENCE

pytest.importorskip("fastapi", reason="needs the extra 'fastapi'")
httpx = pytest.importorskip("httpx", reason="needs httpx")

from fastapi import FastAPI  # noqa: E402  # once it is known to be there
from litestar import Litestar, get  # noqa: E402
from starlette.applications import Starlette  # noqa: E402
from starlette.requests import Request  # noqa: E402
from starlette.responses import JSONResponse  # noqa: E402
from starlette.routing import Route  # noqa: E402

from jobqueue.contrib.asgi import JobQueueDep, lifespan  # noqa: E402


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    async def in_time() -> Any:
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(in_time())


def shop() -> Tasks:
    tasks = Tasks()

    @tasks.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    return tasks


async def ask(app: Any, path: str) -> Any:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        return (await client.get(path)).json()


def test_an_endpoint_of_fastapi_enqueues_and_asks(tmp_path: Path) -> None:
    tasks = Tasks()

    @tasks.task(name="double")
    def double(number: int) -> int:
        return 2 * number

    app = FastAPI(lifespan=lifespan(tasks, Config(persist_path=tmp_path / "jobs")))

    @app.get("/double/{number}")
    async def endpoint(number: int, queue: JobQueueDep) -> dict[str, Any]:
        handle = await double.aenqueue(number)
        result = await handle
        return {"result": result, "status": queue.status(handle.id).value}

    async def main() -> Any:
        async with app.router.lifespan_context(app):
            return await ask(app, "/double/21")

    assert run(main()) == {"result": 42, "status": Status.COMPLETED.value}
    with pytest.raises(QueueNotOpenError):
        double.enqueue(1)


def test_a_queue_that_a_test_has_bound_is_used_and_left_open(
    jobs: JobQueue, tmp_path: Path
) -> None:
    tasks = shop()
    tasks.bind(jobs)

    async def main() -> None:
        async with lifespan(tasks, Config(persist_path=tmp_path / "jobs"))(None) as state:
            assert state["jobqueue"] is jobs

    run(main())
    assert not jobs.closed
    assert not (tmp_path / "jobs").exists()


@pytest.mark.parametrize("inside", [True, False])
def test_calls_of_an_application_are_recorded_whenever_its_queue_is_opened(inside: bool) -> None:
    tasks = Tasks()

    @tasks.task(name="add")
    def add(a: int, b: int) -> int:
        return a + b

    async def main() -> None:
        async with AsyncExitStack() as stack:
            if inside:
                await stack.enter_async_context(lifespan(tasks)(None))
            calls = stack.enter_context(recorded(tasks))
            if not inside:
                await stack.enter_async_context(lifespan(tasks)(None))
            await add.aenqueue(1, 2)
            assert [each.arguments for each in calls] == [{"a": 1, "b": 2}]

    run(main())


def test_coroutine_tasks_run_on_the_applications_loop() -> None:
    tasks = Tasks()
    loops: list[object] = []

    @tasks.task(name="look")
    async def look() -> None:
        loops.append(asyncio.get_running_loop())

    async def main() -> object:
        async with lifespan(tasks)(None):
            await (await look.aenqueue())
        return asyncio.get_running_loop()

    assert [run(main())] == loops


def test_what_is_running_is_finished_when_the_server_ends(tmp_path: Path) -> None:
    tasks = Tasks()
    begun: list[asyncio.Event] = []
    done: list[str] = []

    @tasks.task(name="slow")
    async def slow() -> None:
        queue = tasks.queue
        begun[0].set()
        while not queue.closed:  # it goes on while the queue closes
            await asyncio.sleep(0)
        done.append("slow")

    async def main() -> None:
        begun.append(asyncio.Event())
        async with lifespan(tasks, Config(persist_path=tmp_path / "jobs"))(None):
            await slow.aenqueue()
            await begun[0].wait()

    run(main())
    assert done == ["slow"]


def test_it_goes_into_a_lifespan_of_the_applications_own() -> None:
    tasks = shop()
    came: list[str] = []

    @asynccontextmanager
    async def own(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        came.append("pool opened")
        async with lifespan(tasks)(app) as state:
            yield {"pool": "of the shop", **state}
        came.append("pool closed")

    async def endpoint(request: Request) -> JSONResponse:
        queue = request.state.jobqueue
        return JSONResponse([request.state.pool, queue is request.app.state.jobqueue])

    app = Starlette(routes=[Route("/", endpoint)], lifespan=own)

    async def main() -> Any:
        async with app.router.lifespan_context(app) as state:

            async def with_state(scope: Any, receive: Any, send: Any) -> None:
                await app({**scope, "state": dict(state or {})}, receive, send)

            return await ask(with_state, "/")

    assert run(main()) == ["of the shop", True]
    assert came == ["pool opened", "pool closed"]


def test_litestar_takes_it_too() -> None:
    tasks = shop()
    seen: list[JobQueue] = []

    @get("/")
    async def endpoint() -> int:
        seen.append(app.state.jobqueue)
        return seen[0].metrics().completed

    app = Litestar([endpoint], lifespan=[lifespan(tasks)], logging_config=None)

    async def main() -> Any:
        async with app.lifespan():
            return await ask(app, "/")

    assert run(main()) == 0
    assert seen[0].closed


def test_a_log_that_cannot_be_opened_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    async def main() -> None:
        async with lifespan(shop(), Config(persist_path=tmp_path / "file"))(None):
            raise AssertionError("it was opened")

    with pytest.raises(NotADirectoryError):
        run(main())


def test_a_start_that_is_cancelled_leaves_the_log_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks, config = shop(), Config(persist_path=tmp_path / "jobs")
    really_open, is_opening, is_cancelled = tasks.open, threading.Event(), threading.Event()

    def open_later(config: Config) -> JobQueue:
        is_opening.set()
        assert is_cancelled.wait(PATIENCE)
        return really_open(config)

    monkeypatch.setattr(tasks, "open", open_later)

    async def main() -> None:
        starting = asyncio.ensure_future(lifespan(tasks, config)(None).__aenter__())
        await asyncio.to_thread(is_opening.wait, PATIENCE)
        starting.cancel()
        asyncio.get_running_loop().call_soon(is_cancelled.set)
        with pytest.raises(asyncio.CancelledError):
            await starting

    run(main())
    really_open(config).close()


def test_a_start_that_is_cancelled_and_fails_is_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks, is_opening, is_cancelled = shop(), threading.Event(), threading.Event()

    def fail(config: Config) -> JobQueue:
        is_opening.set()
        assert is_cancelled.wait(PATIENCE)
        raise PermissionError("not today")

    monkeypatch.setattr(tasks, "open", fail)

    async def main() -> None:
        starting = asyncio.ensure_future(lifespan(tasks)(None).__aenter__())
        await asyncio.to_thread(is_opening.wait, PATIENCE)
        starting.cancel()
        asyncio.get_running_loop().call_soon(is_cancelled.set)
        with pytest.raises(asyncio.CancelledError) as cancelled:
            await starting
        assert "not today" in cancelled.value.__notes__[0]

    run(main())


def test_an_application_without_the_lifespan_is_told() -> None:
    app = FastAPI()

    @app.get("/")
    async def endpoint(queue: JobQueueDep) -> None: ...

    with pytest.raises(RuntimeError, match=r"lifespan\(tasks, config\)"):
        run(ask(app, "/"))


def test_a_dashboard_needs_a_path_and_who_may_use_it() -> None:
    with pytest.raises(ValueError, match="give both"):
        lifespan(shop(), web="/jobs")
    with pytest.raises(ValueError, match="as in web='/jobs'"):
        lifespan(shop(), web="jobs", access=lambda _: "read")
    with pytest.raises(TypeError, match="access must be a function"):
        lifespan(shop(), web="/jobs", access="read")  # type: ignore[arg-type]


@pytest.mark.parametrize("arguments", [(Config(),), (shop(), "jobs.db"), (shop(), Config)])
def test_other_things_than_tasks_and_a_config_are_refused(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(TypeError, match=r"lifespan\(\) takes"):
        lifespan(*arguments)
