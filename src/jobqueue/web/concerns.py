"""What needs a person, by the rules that the guide on observing tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..final import Priority
from .formatting import link, number, share, whole

if TYPE_CHECKING:
    from ..final import Metrics, Paused
    from .sampling import Samples

LOOK_BACK = 900.0
FAILING_SECONDS = 300.0
_ATTEMPTS_MIN = 10

Grade = Literal["bad", "warn"]


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that somebody has to see to.

    Attributes:
        name: the rule's, as in the guide.
        grade: "bad" if at once.
        text: what is wrong, in a sentence.
        page: where to look.
    """

    name: str
    grade: Grade
    text: str
    page: str


def concerns(
    metrics: Metrics | None,
    trouble: str | None,
    paused: Paused | None,
    samples: Samples,
    late_after: float,
) -> list[Concern]:
    """What needs a person, the most urgent first.

    Args:
        metrics: the last snapshot.
        trouble: why the queue could not be asked since then, if so.
        late_after: seconds after which a job that waits is late.
    """
    found = [_stopped(metrics, trouble)]
    if metrics is not None:
        found.append(_stuck(metrics))
        found += [_late(metrics, each, paused, late_after) for each in Priority]
        found += [_giving_up(samples), _failing(samples)]
    return [each for each in found if each is not None]


def grade_of(found: list[Concern]) -> Literal["ok", "warn", "bad"]:
    """The worst of them."""
    grades = {each.grade for each in found}
    return "bad" if "bad" in grades else "warn" if grades else "ok"


def _stopped(metrics: Metrics | None, trouble: str | None) -> Concern | None:
    if trouble is not None or metrics is None:
        return Concern("stopped", "bad", f"The queue does not answer: {trouble}", "")
    if metrics.log is not None and metrics.log.error is not None:
        text = f"The log cannot be written: {metrics.log.error}"
        return Concern("stopped", "bad", text, "")
    if metrics.workers.count == 0:
        text = "No worker runs, so nothing is done."
        if not metrics.workers.size:
            text = "No process runs this queue. This is what is in its log."
        return Concern("stopped", "bad", text, "")
    return None


def _stuck(metrics: Metrics) -> Concern | None:
    if not 0 < metrics.workers.size <= metrics.overrunning:
        return None
    text = (
        f"{number(metrics.overrunning)} attempts run past their time and have used up all "
        f"stand-ins; each further one costs a worker."
    )
    return Concern("stuck", "bad", text, link("jobs", status="processing"))


def _late(
    metrics: Metrics, priority: Priority, paused: Paused | None, late_after: float
) -> Concern | None:
    lane = metrics.by_priority[priority]
    if lane.oldest_wait <= late_after:
        return None
    name = priority.name.capitalize()
    why = ""
    if paused is not None and (paused.all or priority in paused.priorities):
        why = " The queue is paused." if paused.all else " The lane is paused."
    text = f"{name}: the oldest job has waited for {whole(lane.oldest_wait)}.{why}"
    page = link("jobs", status="queued", priority=priority.name.lower())
    return Concern("late", "warn", text, page)


def _giving_up(samples: Samples) -> Concern | None:
    grown, span = samples.growth(LOOK_BACK)
    failed = grown["failed"]
    if not failed:
        return None
    jobs = "1 job has" if failed == 1 else f"{number(failed)} jobs have"
    text = f"{jobs} failed for good in the last {_minutes(span)}."
    return Concern("giving up", "warn", text, "dead")


def _failing(samples: Samples) -> Concern | None:
    grown, span = samples.growth(FAILING_SECONDS)
    attempts, failures = sum(grown.values()), grown["retried"] + grown["failed"]
    if attempts < _ATTEMPTS_MIN or 3 * failures <= attempts:
        return None
    text = f"{share(failures, attempts)} of all attempts failed in the last {_minutes(span)}."
    return Concern("failing", "warn", text, "handlers")


def _minutes(span: float) -> str:
    minutes = round(span / 60)
    return "minute" if minutes < 2 else f"{minutes} minutes"
