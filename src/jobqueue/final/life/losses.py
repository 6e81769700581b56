"""What a queue that closes has accepted and its log could not take."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from ..model.transitions import Status

if TYPE_CHECKING:
    from ..core.placement import Placement
    from ..errors import LogWriteError
    from ..model.shutdown_report import ShutdownReport


def with_loss(
    report: ShutdownReport, placement: Placement
) -> tuple[ShutdownReport, LogWriteError | None]:
    """Count what is lost. With the mutex, when nothing is written any more.

    Returns:
        The report with it, and an error that tells of it, if there is any.
    """
    journal, status = placement.journal, placement.status
    numbers = [each._number for each in status.live.values()]
    numbers += [each.number for each in status.dead.values()]
    lost = set() if journal is None else journal.lost(numbers)
    # guard: what close loses is told
    #   without: if True:
    if journal is None or not lost:
        return report, None
    left = sum(
        each._number in lost and each._status is not Status.PROCESSING
        for each in status.live.values()
    )
    report = replace(report, remaining=report.remaining - left, lost=len(lost))
    loss = journal.writer.loss(len(lost))
    loss.report = report
    return report, loss


def tell(placement: Placement, loss: LogWriteError | None, repeated: str | None) -> None:
    """Have log records tell of what is lost, and of what `repeats` has said. Without the mutex."""
    if repeated is not None:
        placement.reporter.report(logging.WARNING, repeated)
    if loss is not None:
        placement.reporter.report(logging.ERROR, f"the queue is closed; {loss}", loss)


def repeats(placement: Placement) -> str | None:
    """Say that jobs have run and will run again, if the log could not take their ends.

    With the mutex, when nothing is written any more.
    """
    journal = placement.journal
    if journal is None or not (count := journal.repeated()):
        return None
    jobs = "1 job is" if count == 1 else f"{count} jobs are"
    return (
        f"the queue is closed; {jobs} run again at the next start, though they have ended, for "
        f"that could not be written: {journal.writer.why_unwritten()}"
    )
