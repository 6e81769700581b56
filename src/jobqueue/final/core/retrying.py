"""Whether a job is tried again after an error, and when.

Code of users may be called here (a `backoff`, what a `retry_on` is made of), so the caller has no
lock. It never raises, whatever that code does.
"""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

from ..exact import check_seconds
from ..model.asked import asked_of, leaves
from ..model.job import about
from ..model.policy import NO_POLICY
from ..timing.backoff import backoff_seconds

if TYPE_CHECKING:
    from ..config import Config
    from ..model.handle import JobHandle
    from ..model.policy import Backing
    from ..runtime.reporting import Reporter


_bases: Any = vars(type)["__mro__"]  # what C defines: a class of users may override the attribute


class Retrying:
    """Judges errors, by what they ask, by the handler's policy, and by the queue's settings."""

    def __init__(self, config: Config, reporter: Reporter) -> None:
        self._config = config
        self._reporter = reporter
        self._random = random.Random().random

    def delay(self, handle: JobHandle, error: BaseException) -> float | None:
        """Seconds until the next attempt; `None` if there is none. Without the mutex."""
        job = handle._job
        policy = NO_POLICY if handle._call is None else handle._call.policy
        retries_max = self._config.max_retries if job._max_retries is None else job._max_retries
        asked = asked_of(error)
        if asked.rejects or job._retries >= retries_max:
            return None
        if asked.delay is not None:
            return asked.delay
        wanted = policy.retry_on
        if wanted is not None and not asked.retries and not _is_any(error, wanted):
            return None
        if policy.backoff is not None:
            delay = self._from(policy.backoff, handle, error)
            if delay is not None:
                return delay
        return backoff_seconds(
            job._retries,
            base_delay=self._config.base_delay,
            max_delay=self._config.max_delay,
            jitter=self._config.jitter,
            random=self._random,
        )

    def _from(self, backoff: Backing, handle: JobHandle, error: BaseException) -> float | None:
        job = handle._job
        try:
            return check_seconds("what backoff returned", backoff(job._retries, error))
        except BaseException as inner:  # noqa: BLE001  # the user's code; the job is retried all the same
            self._reporter.report(
                logging.ERROR,
                f"the backoff of the handler of job {job._id!r} failed; the job is retried after "
                f"the delay that Config says",
                inner,
                about(job, job._retries),
            )
            return None


def _is_any(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    """Whether the error is of one of these types, or a group of such alone."""
    if _is(error, types):
        return True
    each_is = [_is(each, types) for each in leaves(error)]
    return bool(each_is) and all(each_is)


def _is(error: BaseException, types: tuple[type[BaseException], ...]) -> bool:
    try:
        return isinstance(error, types)
    except BaseException:  # noqa: BLE001  # its class, or theirs, answers with an error
        bases = _bases.__get__(type(error))
        return any(base is each for base in bases for each in types)
