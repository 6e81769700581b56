"""The site's reference has every public name, what signatures name, and all settings."""

from __future__ import annotations

import ast
import builtins
import dataclasses
import inspect
import re
import typing
from collections import abc
from collections.abc import Iterator

import jobqueue
from jobqueue import futures, improved, naive, testing
from tests.support import settings
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
    "jobqueue.contrib.django.web.dashboard",
    "jobqueue.contrib.django.web.mount_wsgi",
    "jobqueue.contrib.django.web.staff_access",
]
WEB = [  # it needs its extra
    f"jobqueue.web.{name}"
    for name in (
        *("Access", "Dashboard", "DashboardServer", "as_text", "dashboard", "serve_dashboard"),
    )
]
TELEMETRY = [  # likewise: each needs its extra
    "jobqueue.telemetry.prometheus.JobQueueCollector",
    "jobqueue.telemetry.opentelemetry.Tracing",
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
    *TELEMETRY,
    *WEB,
    *POSTGRES,
    naive.__name__,  # the other tiers as a whole
    improved.__name__,
    f"{improved.__name__}.Priority",  # but this with its members, which have no docstrings
]


def test_every_public_name_is_told_once_and_no_other() -> None:
    assert sorted(TOLD) == sorted(PUBLIC)


STANDARD = {"AbstractContextManager", "Future", "datetime", "logging", "os", "threading"}
NOT_SHOWN = {  # of constructors that the library alone calls, and of what serves other modules
    *("Board", "Declaration", "HandleOwner", "Holder", "Home", "Options", "StopRequest", "Target"),
}
PARAMETERS_OF_TYPES = {"A", "B", "C", "D", "E", "P", "R", "R_co"}


def names_in_signatures() -> set[str]:
    """What the annotations of public functions and methods name."""
    return {name for signature in _signatures() for name in _names_in(signature)}


def _signatures() -> Iterator[inspect.Signature]:
    for module in (jobqueue, futures, testing):
        for name in module.__all__:
            value = getattr(module, name)
            members = [value.__init__, *_public(value)] if inspect.isclass(value) else [value]
            yield from (inspect.signature(each) for each in members if inspect.isfunction(each))


def _public(cls: type) -> Iterator[object]:
    for name, member in inspect.getmembers(cls):
        if not name.startswith("_"):
            yield member.fget if isinstance(member, property) else member


def _names_in(signature: inspect.Signature) -> Iterator[str]:
    shown = (each for name, each in signature.parameters.items() if not name.startswith("_"))
    for annotation in [*(each.annotation for each in shown), signature.return_annotation]:
        if isinstance(annotation, str):
            nodes = ast.walk(ast.parse(annotation, mode="eval"))
            yield from (node.id for node in nodes if isinstance(node, ast.Name))


def test_what_signatures_name_is_public_or_told() -> None:
    names = names_in_signatures()
    assert {"Seconds", "Statuses", "JobHandle"} <= names
    public = {*jobqueue.__all__, *futures.__all__, *testing.__all__, *STANDARD}
    known = public | set(dir(builtins)) | set(dir(typing)) | set(dir(abc))
    told = set(re.findall(r"^\| `(\w+)` \|", REFERENCE, re.MULTILINE))
    assert sorted(names - known - told - NOT_SHOWN - PARAMETERS_OF_TYPES) == []


def test_no_signature_names_anything_private() -> None:
    assert [name for name in names_in_signatures() if name.startswith("_")] == []


def test_the_table_of_settings_is_that_of_the_code() -> None:
    """If this fails: `python -m tests.support.settings`."""
    (block,) = settings.BLOCK.findall(settings.PAGE.read_text(encoding="utf-8"))
    assert block.strip() == settings.table().strip()
    assert block.count("\n| `") == len(dataclasses.fields(jobqueue.Config))
