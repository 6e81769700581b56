"""A shop in Django that sends its mails in the background, in one file.

python -m examples.django_app runserver
curl -X POST 'http://127.0.0.1:8000/orders?to=ada@example.org'
python -m examples.django_app jobqueue inspect
"""

import os
import sys
import time
from pathlib import Path

import django
from django.conf import settings
from django.core.management import execute_from_command_line
from django.core.wsgi import get_wsgi_application
from django.http import Http404, HttpRequest, JsonResponse
from django.urls import path

HERE = Path(os.environ.get("SHOP_DIRECTORY", "."))

if not settings.configured:  # a project has this in its settings.py
    settings.configure(
        DEBUG=True,
        SECRET_KEY="not one to keep",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1"],
        INSTALLED_APPS=["jobqueue.contrib.django"],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "shop.db"}},
        USE_TZ=True,
        JOBQUEUE={"persist_path": HERE / "jobs", "shutdown_timeout": 20},
    )
    django.setup()

from jobqueue import UnknownJobError
from jobqueue.contrib.django import tasks


@tasks.task(name="send_mail", store_result=True)  # a project has this in a module named tasks
def send_mail(to: str) -> str:
    time.sleep(0.05)  # … a mail server
    return f"sent to {to}"


def order(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"job": send_mail.enqueue(request.GET["to"]).id}, status=202)


def job(request: HttpRequest, job_id: str) -> JsonResponse:
    try:
        info = tasks.queue.info(job_id)
    except UnknownJobError:
        raise Http404 from None
    return JsonResponse({"status": info.status.value, "error": info.last_error})


urlpatterns = [path("orders", order), path("jobs/<str:job_id>", job)]

application = get_wsgi_application()

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
