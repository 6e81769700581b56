"""Puts the parts of a queue together, in the order in which they need each other.

When it fails, nothing is left: no thread has been started and the log is unlocked.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from ..callers.admission import Admission
from ..callers.changes import Changes
from ..callers.queries import Queries
from ..callers.schedules import Schedules
from ..callers.through_middleware import AdmissionThroughMiddleware
from ..callers.ticks import TickAdmission
from ..config import Config, name_in_records
from ..core.bindings import Bindings
from ..core.endings import Endings
from ..core.isolation import Isolation
from ..core.outcomes import Outcomes
from ..core.periodic import PeriodicRoom
from ..core.placement import Placement
from ..core.queue_state import QueueState, State
from ..core.registry import HandlerRegistry
from ..core.scheduler import FairScheduler
from ..core.seats import Seats
from ..core.status_map import StatusMap
from ..core.watchers import Watchers
from ..errors import ConfigError, JobQueueError, LogWriteError, thread_died
from ..middleware import wrapped
from ..model.checks import check_text
from ..model.handlers import Handler, HandlerWithin
from ..runtime.clock import CheckedClock, Clock, SystemClock
from ..runtime.mutex import make_mutex
from ..runtime.reporting import Reporter
from ..timing.timer import Timer
from ..workers.pool import WorkerPool
from .runners import Runners
from .shutdown import Lifecycle
from .ticking import Ticking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..middleware import Layer, Layers
    from ..model.handle import HandleOwner
    from ..processes.stock import Processes
    from ..wal.writing.callbacks import OnEnded, OnFailed
    from .opening import OpenedLog
    from .recovery import LockedLog


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a `JobQueue` is the door to."""

    placement: Placement
    state: QueueState
    seats: Seats
    admission: Admission
    changes: Changes
    life: Lifecycle
    queries: Queries
    schedules: Schedules


def assemble(
    owner: HandleOwner,
    config: Config,
    registry: HandlerRegistry,
    clock: Clock,
    processes: Processes | None,
    layers: Layers,
) -> Parts:
    """Make the parts and open the log; starts the timer and the log, but no worker.

    Raises:
        LogLockedError, LogCorruptError, OSError: the log cannot be opened.
    """
    placement = _make_placement(config, registry, clock, layers)
    state = QueueState()
    placement.bindings = bindings = Bindings(placement, state)
    seats = Seats(config.num_workers, placement.scheduler, placement.status)
    outcomes = Outcomes(config, placement, state, seats)
    Isolation(placement, seats, config.job_timeout)

    def fail(fault: JobQueueError) -> None:
        life.fail(fault)  # `life` is made before anything runs that could fail

    def log_failed(error: LogWriteError) -> None:
        life.fail_locked(error)

    def log_ended() -> None:
        # A log that failed stays locked until the queue is closed: handlers may still run. Only of
        # a shared one the next owner waits for that.
        # guard: a log that failed has no second owner
        #   without: if True:
        if state.now >= State.CLOSING or config.is_shared:
            life.unlock()
        placement.endings.tell_owed_aside()
        if placement.journal is not None and placement.journal.writer.failure is not None:
            _report_failure(placement.reporter, placement.journal.writer.failure)

    pool = _make_pool(config, outcomes, processes, fail)
    with _path_in_errors(config):
        log = _open_log(config, placement, log_failed, log_ended)
    placement.timer = Timer(clock, placement.fire, lambda error: fail(_timer_died(error)))
    bindings.use(placement.timer)
    placement.reporter.open(placement.timer.call_soon)
    placement.missing.timer = placement.timer
    if processes is not None:
        processes.reporter = placement.reporter
    locked = None if log is None else log.locked
    life = Lifecycle(config, placement, state, pool, locked, processes)
    with closed_on_error(life), _path_in_errors(config):
        admission = _make_admission(layers, owner, config, placement, state, seats)
        schedules = _make_schedules(layers, owner, placement, state, admission, life, locked)
        _begin(owner, placement, log)
    changes, queries = Changes(owner, placement, state), Queries(placement, state, outcomes)
    return Parts(placement, state, seats, admission, changes, life, queries, schedules)


def _begin(owner: HandleOwner, placement: Placement, log: OpenedLog | None) -> None:
    """Bring back the jobs of the log, and start the timer and the log."""
    if log is not None:
        log.restore(owner)
    placement.timer.start()
    if log is not None:
        log.start()
    placement.reporter.catch_up()  # so that what a start says is said when it returns
    interruption = placement.endings.tell_owed()
    if interruption is not None:
        raise interruption


def _make_admission(layers: Layers, *args: Any) -> Admission:
    if layers.enqueue:
        return AdmissionThroughMiddleware(layers.enqueue, *args)
    return Admission(*args)


def _make_schedules(
    layers: Layers,
    owner: HandleOwner,
    placement: Placement,
    state: QueueState,
    admission: Admission,
    life: Lifecycle,
    log: LockedLog | None,
) -> Schedules:
    """The schedules, and what enqueues their jobs; starts no thread."""
    room = PeriodicRoom() if log is None else PeriodicRoom(log.state.ticks, log.state.working_ticks)
    ticks = TickAdmission(tuple(layers.enqueue), owner, placement, admission)
    ticking = Ticking(placement, state, room, ticks)
    life.at_end.append(ticking.stop)
    return Schedules(placement, state, room, ticks, ticking.look)


def _make_pool(
    config: Config,
    outcomes: Outcomes,
    processes: Processes | None,
    fail: Callable[[JobQueueError], None],
) -> Runners:
    """What runs the attempts, by the port that `outcomes` is; starts no thread."""
    if config.executor == "asyncio":
        from ..aio.runners import LoopRunners  # imported here: most queues do without asyncio

        return LoopRunners(outcomes, fail)
    if processes is None:
        return WorkerPool(outcomes, fail)
    from ..processes.executor import ProcessRunners  # imported here: most queues do without it

    return ProcessRunners(outcomes, processes, fail)


def _make_placement(
    config: Config, registry: HandlerRegistry, clock: Clock, layers: Layers
) -> Placement:
    mutex, reporter = make_mutex(), Reporter(name_in_records(config))
    status = StatusMap(
        retention=config.status_retention,
        dead_letters_max=config.max_dead_letters,
        result_retention=min(config.result_retention, sys.maxsize),
    )
    return Placement(
        mutex=mutex,
        clock=clock,
        status=status,
        scheduler=FairScheduler(
            mutex,
            size=config.queue_size,
            fairness=config.fairness,
            reserved=config.reserved_workers,
        ),
        registry=registry,
        watchers=Watchers(mutex),
        endings=Endings(status, layers.finished, reporter),
        reporter=reporter,
    )


@contextmanager
def closed_on_error(life: Lifecycle) -> Iterator[None]:
    """Close the queue if making it fails, so that no thread and no lock is left."""
    try:
        yield
    except BaseException:
        # guard: a start that fails leaves no segment
        life.undo_start()
        life.close_aside(0.0, drain=False)
        raise


@contextmanager
def _path_in_errors(config: Config) -> Iterator[None]:
    """Name the log's directory in an error that names no file, as those of a write do not."""
    try:
        yield
    except OSError as error:
        if error.filename is None and config.persist_path is not None:
            error.filename = os.fspath(config.persist_path)
        raise


def _open_log(
    config: Config, placement: Placement, on_failed: OnFailed, on_ended: OnEnded
) -> OpenedLog | None:
    if config.persist_path is None:
        return None
    from .opening import OpenedLog  # imported here: a queue in memory has nothing to do with a log

    return OpenedLog(config, placement, on_failed, on_ended)


def _report_failure(reporter: Reporter, error: LogWriteError) -> None:
    reporter.report(
        logging.ERROR,
        f"nothing runs any more, for the log has failed: {error}; jobs that were accepted and "
        f"written are in it: mend the cause, and start the queue again",
        error,
    )


def _timer_died(error: BaseException) -> JobQueueError:
    return thread_died("the timer thread", error)


_OF_A_CLOCK = ("manual", "monotonic", "time", "subscribe")


def checked_clock(clock: Clock | None) -> Clock:
    """The clock to use: the system's, or one whose readings are finite numbers.

    Raises:
        TypeError: it is no clock.
        ValueError: they are not.
    """
    if clock is None:
        return SystemClock()
    if isinstance(clock, type) or not all(hasattr(clock, name) for name in _OF_A_CLOCK):
        raise TypeError(
            f"clock must be a clock, as in clock=ManualClock(), or None, not {clock!r}; "
            f"one of your own has {', '.join(_OF_A_CLOCK)} (ports.Clock)"
        )
    return clock if type(clock) is SystemClock else CheckedClock(clock)


def checked_config(config: Config | None, clock: Clock) -> Config:
    """The settings to use.

    Raises:
        TypeError: `config` is not a `Config`.
        ConfigError: the settings do not go with this clock.
    """
    if config is None:
        return Config()
    if not isinstance(config, Config):
        is_anothers = hasattr(config, "open") and hasattr(config, "num_workers")
        how = "; settings of another engine make their own queue: config.open(...)"
        raise TypeError(
            f"config must be a Config or None, not {config!r}{how if is_anothers else ''}"
        )
    if config.executor == "process" and clock.manual:
        raise ConfigError(
            "executor='process' does not go with a clock that is moved by hand, which handlers in "
            "other processes cannot see; use executor='thread' with it, or the system's clock"
        )
    return config


def checked_handlers(
    handlers: Mapping[str, Callable[..., object]] | None,
) -> Mapping[str, Callable[..., object]]:
    """The handlers that a queue is made with.

    Raises:
        TypeError: they have no names.
    """
    if handlers is None:
        return {}
    if not isinstance(handlers, Mapping):
        raise TypeError(
            f"handlers must map names to functions, as in handlers={{'mail.send': send}}, "
            f"not {handlers!r}; one function for all jobs is handler=..."
        )
    return handlers


def make_registry(
    config: Config,
    default: Callable[..., object] | None,
    handlers: Mapping[str, Callable[..., object]] | None,
    processes: Processes | None,
    layers: Layers,
) -> HandlerRegistry:
    """The registry with the handlers that a queue is made with."""
    make: Callable[[Callable[..., object]], Handler]
    if processes is not None:
        make = processes.handler  # what is around its attempts is made in the processes
    elif config.executor == "asyncio":
        from ..aio.handlers import loop_handler

        make = partial(loop_handler, layers)
    elif layers.attempt:
        make = partial(_handler_within, layers.attempt)
    else:
        make = Handler
    registry = HandlerRegistry(
        default,
        make,
        config.queue_size,
        refuses_unknown=config.unknown_handlers == "refuse",
    )
    for name, function in checked_handlers(handlers).items():
        registry.put(check_text("handler name", name), registry.make(function))
    return registry


def _handler_within(layers: tuple[Layer, ...], function: Callable[..., object]) -> Handler:
    return HandlerWithin(Handler(function), partial(wrapped, layers))


def make_processes(config: Config, layers: Layers) -> Processes | None:
    """The processes that run the handlers, if worker threads do not; starts none yet."""
    if config.executor != "process":
        return None
    from ..processes.stock import Processes  # imported here: most queues do without it

    return Processes(layers)
