"""What a `Queue` over another engine is made of: the parts of this one that know of no store.

`jobqueue.postgres` is such a one. How handlers are looked into and called, which error is retried
and when, what middleware is put around, how results are written: users see no difference, for it is
the same code. No part in here knows of the log, the mutex or the scheduler.
"""

from __future__ import annotations

from .aio.from_thread import in_thread
from .aio.threads import KeptThreads
from .callers.room_wait import check_event
from .callers.schedules import checked_entry
from .callers.through_middleware import NESTED_MAX, Nested, handle_from
from .callers.ticks import job_of
from .core.counters import BusyMeter
from .core.periodic import Entry
from .core.registry import HandlerRegistry
from .core.retrying import Retrying
from .core.telling import quantiles
from .errors import repeated
from .exact import Schedule, Seconds, check_drain, check_seconds
from .life.process_hooks import watch
from .life.served import Served
from .life.wiring import make_registry
from .middleware import Layers, wrapped
from .model.attempt import ATTEMPTS_MAX, and_one_more
from .model.checks import check_id, check_text
from .model.context import RUNNING, Closing, StopRequest
from .model.existing import ExistingHandle, ForwardingHandle
from .model.filters import Filter, checked_filter, checked_ids, checked_limit, checked_priority
from .model.frozen_dict import FrozenDict
from .model.handle import NO_RESULT, JobHandle, was_cancelled
from .model.handler_meter import Spread
from .model.handlers import Handler, importable_name, name_of
from .model.ids import new_id
from .model.job import listed_jobs
from .model.policy import checked_policy
from .model.progress import Told, progress_of
from .model.results import ResultCodec, StoredResult, read_result, stored_result
from .model.transitions import FINAL
from .model.undone import refuse_undone
from .runtime.clock import SystemClock
from .runtime.parking import Parker
from .runtime.reporting import Reporter, begun_in_handler, describe
from .timing.schedules import utc_text

__all__ = [
    "ATTEMPTS_MAX",
    "FINAL",
    "NESTED_MAX",
    "NO_RESULT",
    "RUNNING",
    "BusyMeter",
    "Closing",
    "Entry",
    "ExistingHandle",
    "Filter",
    "ForwardingHandle",
    "FrozenDict",
    "Handler",
    "HandlerRegistry",
    "JobHandle",
    "KeptThreads",
    "Layers",
    "Nested",
    "Parker",
    "Reporter",
    "ResultCodec",
    "Retrying",
    "Schedule",
    "Seconds",
    "Served",
    "Spread",
    "StopRequest",
    "StoredResult",
    "SystemClock",
    "Told",
    "and_one_more",
    "begun_in_handler",
    "check_drain",
    "check_event",
    "check_id",
    "check_seconds",
    "check_text",
    "checked_entry",
    "checked_filter",
    "checked_ids",
    "checked_limit",
    "checked_policy",
    "checked_priority",
    "describe",
    "handle_from",
    "importable_name",
    "in_thread",
    "job_of",
    "listed_jobs",
    "make_registry",
    "name_of",
    "new_id",
    "progress_of",
    "quantiles",
    "read_result",
    "refuse_undone",
    "repeated",
    "stored_result",
    "utc_text",
    "was_cancelled",
    "watch",
    "wrapped",
]
