"""A shop in Flask that sends its mails in the background.

flask --app examples.flask_app run
curl -X POST 'http://127.0.0.1:5000/orders?to=ada@example.org'

The dashboard is at http://127.0.0.1:5000/dashboard
"""

import os
import time

from flask import Flask, abort, current_app, request
from starlette.requests import Request

from jobqueue import Tasks, UnknownJobError
from jobqueue.contrib.flask import JobQueueExtension
from jobqueue.web import Access


def who(asked: Request) -> Access:  # … whom your login knows; here it is who sits at this machine
    is_here = asked.client is not None and asked.client.host == "127.0.0.1"
    return "write" if is_here and asked.url.hostname in {"127.0.0.1", "localhost"} else "none"


tasks = Tasks()
jobs = JobQueueExtension(tasks=tasks, web="/dashboard", access=who)


@tasks.task(store_result=True)
def send_mail(to: str) -> str:
    time.sleep(0.05)  # … a mail server
    return f"sent to {to}, from {current_app.config['SENDER']}"


def create_app() -> Flask:
    app = Flask(__name__)
    app.config["SENDER"] = "shop@example.org"
    app.config["JOBQUEUE_PERSIST_PATH"] = os.environ.get("SHOP_JOBS", "shop.jobs")
    app.config["JOBQUEUE_SHUTDOWN_TIMEOUT"] = 20
    jobs.init_app(app)

    @app.post("/orders")
    def order() -> tuple[dict[str, str], int]:
        return {"job": send_mail.enqueue(request.args["to"]).id}, 202

    @app.get("/jobs/<job_id>")
    def job(job_id: str) -> dict[str, str | None]:
        try:
            info = jobs.queue.info(job_id)
        except UnknownJobError:
            abort(404)
        return {"status": info.status.value, "error": info.last_error}

    return app
