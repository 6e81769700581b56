"""The figures of the final tier, each measured by a small function."""

from collections.abc import Callable

from benchmarks.measure import Findings

from .costs import costs
from .crowds import crowds
from .dashboard import dashboard
from .growth import backlog, memory, wheel
from .latency import latency
from .load import processes, questions, waiting
from .recovery import recovery, replay
from .schedules import ticks
from .tasks import awaited, calls, coroutines
from .throughput import batches, group_commit, producers
from .tied import ties

PARTS: tuple[Callable[[], Findings], ...] = (
    producers,
    crowds,
    batches,
    group_commit,
    costs,
    latency,
    memory,
    backlog,
    wheel,
    replay,
    recovery,
    questions,
    waiting,
    processes,
    calls,
    coroutines,
    awaited,
    ticks,
    ties,
    dashboard,
)
"""All of them, in the order in which they are told."""
