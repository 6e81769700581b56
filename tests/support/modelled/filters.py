"""Which jobs a look or a change is about, as the model sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jobqueue.final import Status

if TYPE_CHECKING:
    from jobqueue.final import Priority
    from tests.support.modelled.jobs import Known


@dataclass(frozen=True)
class Sought:
    """What a job is to be like; `None` takes any."""

    status: tuple[Status, ...] | None = None
    handler: str | None = None
    priority: Priority | None = None
    key: str | None = None
    error: str | None = None
    text: str | None = None

    def options(self) -> dict[str, Any]:
        """As `jobs` and its like take it."""
        return dict(vars(self))

    def fits(self, known: Known) -> bool:
        """Whether a job is like that."""
        job, error = known.job, known.error
        return (
            (self.status is None or known.status in self.status)
            and self.handler in {None, job.handler}
            and self.priority in {None, job.priority}
            and self.key in {None, job.key}
            and (self.error is None or (error is not None and error.split(":")[0] == self.error))
            and (self.text is None or any(self.text in each for each in self._texts(known)))
        )

    @staticmethod
    def _texts(known: Known) -> list[str]:
        job = known.job
        texts = [job.id, job.key or "", known.error or "", *job.headers.values()]
        return texts if known.has_ended else [*texts, job.payload.decode()]
