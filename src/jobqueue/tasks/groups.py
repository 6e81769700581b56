"""`chain` and `group`: several calls that are enqueued in one, all of them or none."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar, cast, overload

from ..final import Job, JobHandle
from .atomic import holding_back
from .call import Call, checked_calls

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .options import Seconds
    from .task import Home

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
R = TypeVar("R")
Step: TypeAlias = Call[Any] | tuple[Call[Any], ...] | list[Call[Any]]


# ── one after the other ──────────────────────────────────────────────────────────────────────


@overload
def chain(a: Call[A], b: Call[B], /) -> tuple[JobHandle[A], JobHandle[B]]: ...


@overload
def chain(
    a: Call[A], b: Call[B], c: Call[C], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C]]: ...


@overload
def chain(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D]]: ...


@overload
def chain(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D], JobHandle[E]]: ...


@overload
def chain(*steps: Step) -> tuple[JobHandle[Any], ...]: ...


def chain(*steps: Step) -> tuple[JobHandle[Any], ...]:
    """Enqueue calls that run one after the other: each when the one before is completed.

        first, second = chain(fetch.call(url), index.call(url))

    All are enqueued in one: if the process dies meanwhile, all of them are there at the next start,
    or none. If one fails for good or is cancelled, those after it are cancelled. A result is not
    passed on; the next one gets the arguments that it was given here.

    Args:
        steps: calls, as `task.call(...)` makes them; a tuple of calls in place of one runs them at
            the same time, and the next step after all of them: `chain(a, (b, c), d)`.

    Returns:
        The handles of all calls, in order. Inside of an atomic task: nothing, as `task.enqueue`.

    Raises:
        TypeError: something else than a call is among them.
        ValueError: the tasks do not belong to one queue; or it never has room for all.
        QueueNotOpenError, JobQueueError, RuntimeError: as `task.enqueue`; none was enqueued then.
    """
    return _Together("chain", checked_calls("chain", steps), is_chain=True).enqueue()


@overload
async def achain(a: Call[A], b: Call[B], /) -> tuple[JobHandle[A], JobHandle[B]]: ...


@overload
async def achain(
    a: Call[A], b: Call[B], c: Call[C], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C]]: ...


@overload
async def achain(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D]]: ...


@overload
async def achain(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D], JobHandle[E]]: ...


@overload
async def achain(*steps: Step) -> tuple[JobHandle[Any], ...]: ...


async def achain(*steps: Step) -> tuple[JobHandle[Any], ...]:
    """As `chain`; the event loop goes on while it waits for room or the log."""
    return await _Together("achain", checked_calls("achain", steps), is_chain=True).aenqueue()


# ── at the same time ─────────────────────────────────────────────────────────────────────────


@overload
def group(calls: Iterable[Call[R]], /) -> tuple[JobHandle[R], ...]: ...


@overload
def group(a: Call[A], b: Call[B], /) -> tuple[JobHandle[A], JobHandle[B]]: ...


@overload
def group(
    a: Call[A], b: Call[B], c: Call[C], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C]]: ...


@overload
def group(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D]]: ...


@overload
def group(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D], JobHandle[E]]: ...


@overload
def group(*calls: Call[Any]) -> tuple[JobHandle[Any], ...]: ...


def group(*calls: Any) -> tuple[JobHandle[Any], ...]:
    """Enqueue calls that run at the same time, in one: all of them or none.

        handles = group(thumbnail.call(path) for path in paths)
        print(gather(handles))

    Blocks until there is room for all of them at once.

    Args:
        calls: calls, as `task.call(...)` makes them, or one iterable of such.

    Returns:
        Their handles, in order. Inside of an atomic task: nothing, as `task.enqueue`.

    Raises:
        Exception: as `chain`.
    """
    return _Together("group", _listed("group", calls), is_chain=False).enqueue()


@overload
async def agroup(calls: Iterable[Call[R]], /) -> tuple[JobHandle[R], ...]: ...


@overload
async def agroup(a: Call[A], b: Call[B], /) -> tuple[JobHandle[A], JobHandle[B]]: ...


@overload
async def agroup(
    a: Call[A], b: Call[B], c: Call[C], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C]]: ...


@overload
async def agroup(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D]]: ...


@overload
async def agroup(
    a: Call[A], b: Call[B], c: Call[C], d: Call[D], e: Call[E], /
) -> tuple[JobHandle[A], JobHandle[B], JobHandle[C], JobHandle[D], JobHandle[E]]: ...


@overload
async def agroup(*calls: Call[Any]) -> tuple[JobHandle[Any], ...]: ...


async def agroup(*calls: Any) -> tuple[JobHandle[Any], ...]:
    """As `group`; the event loop goes on while it waits for room or the log."""
    return await _Together("agroup", _listed("agroup", calls), is_chain=False).aenqueue()


# ── what they share ──────────────────────────────────────────────────────────────────────────


class _Jobs(NamedTuple):
    jobs: list[Job]
    delays: list[float]


class _Together:
    """The calls of one `chain` or `group`, by steps."""

    def __init__(
        self, caller: str, steps: Sequence[Sequence[Call[Any]]], *, is_chain: bool
    ) -> None:
        self._steps = steps
        self._is_chain = is_chain
        self._calls = [call for step in steps for call in step]
        homes = [call.home for call in self._calls]
        for each in homes[1:]:
            if not each.shares_queue(homes[0]):
                raise ValueError(
                    f"{caller}() takes calls of tasks of one queue; {self._calls[0].name!r} and "
                    f"another belong to different Tasks: include one in the other"
                )

    def enqueue(self) -> tuple[JobHandle[Any], ...]:
        """Enqueue them."""
        if not self._calls:
            return ()
        if self._hold_back(self._calls[0].home):
            return cast("tuple[JobHandle[Any], ...]", None)
        target = self._calls[0].home.target()
        jobs, delays = self._jobs(target.now())
        return tuple(target.enqueue_together(jobs, delays=delays, timeout=self._timeout()))

    async def aenqueue(self) -> tuple[JobHandle[Any], ...]:
        """Enqueue them; the event loop goes on meanwhile."""
        if not self._calls:
            return ()
        if self._hold_back(self._calls[0].home):
            return cast("tuple[JobHandle[Any], ...]", None)
        target = await self._calls[0].home.atarget()
        jobs, delays = self._jobs(target.now())
        timeout = self._timeout()
        return tuple(await target.aenqueue_together(jobs, delays=delays, timeout=timeout))

    def _hold_back(self, home: Home) -> bool:
        """Have the attempt of an atomic task enqueue them, if this is inside of one."""
        context = holding_back(home)
        if context is not None:
            jobs, delays = self._jobs(home.now())
            context.enqueue_many(jobs, delays=delays)
        return context is not None

    def _jobs(self, now: float) -> _Jobs:
        jobs: list[Job] = []
        before: tuple[str, ...] = ()
        for step in self._steps:
            new = [call.job(before) for call in step]
            jobs += new
            if self._is_chain:
                before = tuple(job.id for job in new)
        return _Jobs(jobs, [call.options.delay_from(now) for call in self._calls])

    def _timeout(self) -> Seconds | None:
        """The shortest of their timeouts."""
        timeouts = [call.options.enqueue_timeout for call in self._calls]
        return min((each for each in timeouts if each is not None), default=None)


def _listed(caller: str, given: tuple[Any, ...]) -> list[list[Call[Any]]]:
    if len(given) == 1 and not isinstance(given[0], Call) and isinstance(given[0], Iterable):
        given = tuple(given[0])
    calls = checked_calls(caller, given)
    return [[call] for step in calls for call in step]
