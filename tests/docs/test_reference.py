"""The site's reference has every public name."""

from __future__ import annotations

import re

import jobqueue
from jobqueue import futures, improved, naive, testing
from tests.support.pages import DOCS

REFERENCE = "".join(
    page.read_text(encoding="utf-8") for page in sorted((DOCS / "reference").glob("*.md"))
)
TOLD = re.findall(r"^::: (\S+)$", REFERENCE, re.MULTILINE)


CONTRIB = [  # not imported here: each needs its framework
    "jobqueue.contrib.asgi.lifespan",
    "jobqueue.contrib.asgi.JobQueueDep",
    "jobqueue.contrib.flask.JobQueueExtension",
    "jobqueue.contrib.django.JobQueueBackend",
    "jobqueue.contrib.django.tasks",
]
POSTGRES = [  # likewise: it needs its extra
    "jobqueue.postgres.NotConnectedError",
    "jobqueue.postgres.PostgresConfig",
    "jobqueue.postgres.PostgresQueue",
    "jobqueue.postgres.SchemaError",
]
PUBLIC = [
    *(f"jobqueue.{name}" for name in jobqueue.__all__),
    *(f"{testing.__name__}.{name}" for name in testing.__all__),
    *(f"{futures.__name__}.{name}" for name in futures.__all__),
    *CONTRIB,
    *POSTGRES,
    naive.__name__,  # the other tiers as a whole
    improved.__name__,
    f"{improved.__name__}.Priority",  # but this with its members, which have no docstrings
]


def test_every_public_name_is_told_once_and_no_other() -> None:
    assert sorted(TOLD) == sorted(PUBLIC)
