"""What an error asks of the queue: `RejectJobError` and `RetryJobError`, alone or in a group.

Errors come from the users' world: their classes may override anything, and the code in here must
not raise whatever they do. So an error is judged by its type's place among all types, which no
class can change, and not by `isinstance`, which asks the error itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, cast

from ..errors import RejectJobError, RetryJobError

if TYPE_CHECKING:
    from collections.abc import Iterator

_members = BaseExceptionGroup.exceptions.__get__


class Asked(NamedTuple):
    """What an error asks for.

    Attributes:
        rejects: to fail the job at once.
        retries: to retry it, as long as it has retries left.
        delay: after so many seconds; `None` leaves that to the backoff.
    """

    rejects: bool = False
    retries: bool = False
    delay: float | None = None


_NOTHING = Asked()


def asked_of(error: BaseException) -> Asked:
    """What an error asks for. A group asks for what its errors ask for, if each asks.

    One error that rejects the job rejects it; else the longest delay counts.
    """
    kind = type(error)
    if not issubclass(kind, (RejectJobError, RetryJobError, BaseExceptionGroup)):
        return _NOTHING  # mostly so
    delays: list[float] = []
    rejects, is_asked = False, False
    for each in leaves(error):
        is_asked = True
        if issubclass(type(each), RejectJobError):
            rejects = True
        elif not issubclass(type(each), RetryJobError):
            return _NOTHING
        elif (delay := _delay(cast("RetryJobError", each))) is not None:
            delays.append(delay)
    if rejects or not is_asked:
        return Asked(rejects=rejects)
    return Asked(retries=True, delay=max(delays, default=None))


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors in a group, and in groups in it; the error itself if it is no group."""
    left = [error]
    while left:
        each = left.pop()
        if issubclass(type(each), BaseExceptionGroup):
            left.extend(reversed(_members(each)))
        else:
            yield each


def _delay(error: RetryJobError) -> float | None:
    """The delay that it asks for; `None` if a subclass lacks or broke it."""
    try:
        return RetryJobError(delay=error.delay).delay
    except BaseException:  # noqa: BLE001  # a subclass of the user's may make `delay` raise anything
        return None
