"""A shop in Django that sends its mails in the background, in one file.

python -m examples.django_app runserver
curl -X POST 'http://127.0.0.1:8000/orders?to=ada@example.org'
python -m examples.django_app jobqueue inspect

The dashboard is at http://127.0.0.1:8000/dashboard, and the jobs at /admin/, for whom this adds:

python -m examples.django_app migrate
python -m examples.django_app createsuperuser
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
from django.views.decorators.csrf import csrf_exempt

HERE = Path(os.environ.get("SHOP_DIRECTORY", "."))

if not settings.configured:  # a project has this in its settings.py
    settings.configure(
        DEBUG=True,
        SECRET_KEY="not one to keep",
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["127.0.0.1"],
        WSGI_APPLICATION=f"{__name__}.application",
        INSTALLED_APPS=[
            "django.contrib.admin",
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.messages",
            "django.contrib.sessions",
            "django.contrib.staticfiles",
            "jobqueue.contrib.django",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.contrib.messages.middleware.MessageMiddleware",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {
                    "context_processors": [
                        "django.template.context_processors.request",
                        "django.contrib.auth.context_processors.auth",
                        "django.contrib.messages.context_processors.messages",
                    ]
                },
            }
        ],
        STATIC_URL="/static/",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": HERE / "shop.db"}},
        USE_TZ=True,
        JOBQUEUE={"persist_path": HERE / "jobs", "shutdown_timeout": 20},
    )
    django.setup()

from django.contrib import admin

from jobqueue import UnknownJobError
from jobqueue.contrib.django import tasks
from jobqueue.contrib.django.web import mount_wsgi


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


urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders", csrf_exempt(order)),  # so that curl may order
    path("jobs/<str:job_id>", job),
]

application = mount_wsgi("/dashboard", get_wsgi_application())

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
