"""The examples as they are, but each answer tells which process it is from. Each by its name."""

from __future__ import annotations

import os
from typing import Any

from tests.support.web import PROCESS


def __getattr__(name: str) -> Any:
    """Only the one that is asked for is imported."""
    if name == "fastapi":
        from examples.fastapi_app import app

        return _asgi(app)
    if name == "flask":
        from examples.flask_app import create_app

        return _wsgi(create_app())
    if name == "django":
        from examples.django_app import application

        return _wsgi(application)
    if name == "litestar":
        return _asgi(_litestar())
    raise AttributeError(name)


def _litestar() -> Any:
    """The example in FastAPI, in Litestar."""
    from litestar import Litestar, get, post
    from litestar.datastructures import State

    from examples.fastapi_app import config, send_mail, tasks
    from jobqueue.contrib.asgi import lifespan

    # It looks at annotations that have to be there, not at their text.
    async def order(to: str) -> dict[str, str]:
        return {"job": (await send_mail.aenqueue(to)).id}

    def job(job_id: str, state: State) -> dict[str, str]:
        return {"status": state.jobqueue.status(job_id).value}

    order.__annotations__ = {"to": str, "return": dict[str, str]}
    job.__annotations__ = {"job_id": str, "state": State, "return": dict[str, str]}
    handlers = [
        post("/orders", status_code=202)(order),
        get("/jobs/{job_id:str}", sync_to_thread=True)(job),
    ]
    return Litestar(handlers, lifespan=[lifespan(tasks, config)])


def _asgi(app: Any) -> Any:
    async def told(scope: Any, receive: Any, send: Any) -> None:
        async def send_told(message: Any) -> None:
            if message["type"] == "http.response.start":
                pid = (PROCESS.encode(), str(os.getpid()).encode())
                message = {**message, "headers": [*message["headers"], pid]}
            await send(message)

        await app(scope, receive, send_told)

    return told


def _wsgi(app: Any) -> Any:
    def told(environ: Any, start_response: Any) -> Any:
        def start(status: str, headers: Any, *more: Any) -> Any:
            return start_response(status, [*headers, (PROCESS, str(os.getpid()))], *more)

        return app(environ, start)

    return told
