"""A shop in FastAPI that sends its mails in the background.

uvicorn examples.fastapi_app:app
curl -X POST 'http://127.0.0.1:8000/orders?to=ada@example.org'

The dashboard is at http://127.0.0.1:8000/dashboard
"""

import asyncio
import os

from fastapi import FastAPI, HTTPException, Request

from jobqueue import Config, Tasks, UnknownJobError
from jobqueue.contrib.asgi import JobQueueDep, lifespan
from jobqueue.web import Access


def who(request: Request) -> Access:  # … whom your login knows; here it is who sits at this machine
    is_here = request.client is not None and request.client.host == "127.0.0.1"
    return "write" if is_here and request.url.hostname in {"127.0.0.1", "localhost"} else "none"


tasks = Tasks()
config = Config(persist_path=os.environ.get("SHOP_JOBS", "shop.jobs"), shutdown_timeout=20)
app = FastAPI(lifespan=lifespan(tasks, config, web="/dashboard", access=who))


@tasks.task(store_result=True)
async def send_mail(to: str) -> str:
    await asyncio.sleep(0.05)  # … a mail server
    return f"sent to {to}"


@app.post("/orders", status_code=202)
async def order(to: str) -> dict[str, str]:
    handle = await send_mail.aenqueue(to)
    return {"job": handle.id}


@app.get("/jobs/{job_id}")
def job(job_id: str, queue: JobQueueDep) -> dict[str, str | None]:
    try:
        info = queue.info(job_id)
    except UnknownJobError:
        raise HTTPException(404, "no such job") from None
    return {"status": info.status.value, "error": info.last_error}
