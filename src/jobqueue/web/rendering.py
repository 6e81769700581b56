"""Makes pages of templates: everything that is put into one is escaped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from . import formatting
from .concerns import concerns, grade_of
from .searching import NOTICE
from .site import NAVIGATION, PAGES

if TYPE_CHECKING:
    from .desk import Desk
    from .errors import PageError
    from .security import Access

_environment = Environment(
    loader=PackageLoader(__package__ or "jobqueue.web"),
    autoescape=True,
    auto_reload=False,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_environment.filters |= {
    name: getattr(formatting, name)
    for name in (
        *("visible", "duration", "whole", "moment", "iso", "number", "rate", "share", "size"),
        *("in_form", "row_id"),
    )
}
_environment.globals |= {"link": formatting.link}
GRADES = {"ok": "All is well", "warn": "Needs a look", "bad": "Needs you now"}


def render(desk: Desk, page: str, query: dict[str, str], level: Access, is_fragment: bool) -> str:
    """A page, or the part of it that is live; in a thread, for it asks the queue.

    Raises:
        PageError: there is none.
        Exception: as the queue's calls.
    """
    shown = PAGES[page]
    given = {name: value for name, value in query.items() if value}
    context = shown.show(desk, given)
    metrics, trouble = desk.samples.latest()
    paused = None if trouble is not None else desk.paused()
    found = concerns(metrics, trouble, paused, desk.samples, desk.late_after)
    grade = grade_of(found)
    return _template(shown.template).render(
        _frame(page, level, is_fragment),
        concerns=found,
        grade=grade,
        state=GRADES[grade] if not found else _count(len(found)),
        title=context.pop("title", shown.title),
        self_link=formatting.link(page or "./", **given),
        notice=_notice(given),
        now=desk.wall(),
        shows_payloads=desk.payload is not None,
        **context,
    )


def render_error(error: PageError, level: Access, *, is_fragment: bool, base: str) -> str:
    """The page of an error."""
    return _template("error.html").render(
        _frame("", level, is_fragment) | {"base": base, "page": None},
        error=error,
        text=formatting.visible(str(error), 2000),
        concerns=[],
        grade="bad" if error.status >= 500 else "ok",
        state="",
        title=error.title,
        self_link="",
        notice=None,
    )


def _frame(page: str, level: Access, is_fragment: bool) -> dict[str, Any]:
    return {
        "base": "",
        "can_write": level == "write",
        "can_read": level != "none",
        "is_fragment": is_fragment,
        "navigation": NAVIGATION,
        "page": page,
    }


def _count(concerns_: int) -> str:
    return "1 thing needs you" if concerns_ == 1 else f"{concerns_} things need you"


_DID = {
    "cancel": "cancelled, or asked to stop",
    "requeue": "queued again",
    "discard": "discarded",
    "run": "queued now",
}
_STEERED = {
    "pause": "Paused.",
    "resume": "Resumed.",
    "tick": "A job of the schedule is queued.",
    "like": "A job of the schedule is queued already, so none was added.",
}


def _notice(query: dict[str, str]) -> str | None:
    """What an action that led to this page has done."""
    did, count = (query.get(name, "") for name in NOTICE)
    if did in _STEERED:
        return _STEERED[did]
    if did not in _DID or not (count.isascii() and count.isdigit() and len(count) < 10):
        return None
    if int(count) == 0:
        return f"No job was {_DID[did]}: none is in a state for that any more."
    jobs = "1 job was" if int(count) == 1 else f"{formatting.number(int(count))} jobs were"
    return f"{jobs} {_DID[did]}."


def _template(name: str) -> Template:
    return _environment.get_template(name)
