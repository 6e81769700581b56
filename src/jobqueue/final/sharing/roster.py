"""What a process would bring along if it became the owner: handlers and schedules.

Guarantees: what is wrong with a handler or a schedule is told when it is registered, as in the
owner.
Whose thread: callers', and the link's when it becomes the owner. The lock of its user guards it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..callers.schedules import checked_entry
from ..life.wiring import make_processes, make_registry
from ..model.checks import check_text
from ..model.policy import checked_policy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..config import Config
    from ..core.periodic import Entry
    from ..middleware import Layers
    from ..model.results import ResultCodec


class Roster:
    """The handlers and schedules of one process."""

    def __init__(
        self,
        config: Config,
        handler: Callable[..., object] | None,
        handlers: Mapping[str, Callable[..., object]] | None,
        layers: Layers,
    ) -> None:
        processes = make_processes(config, layers)
        self._registry = make_registry(config, handler, handlers, processes, layers)
        self.default = handler
        self.functions: dict[str, Callable[..., object]] = dict(handlers or {})
        self._options: dict[str, tuple[Callable[..., object], dict[str, Any]]] = {}
        self._periodics: dict[str, tuple[Entry, Any, dict[str, Any]]] = {}

    def register(self, name: str, fn: Callable[..., object], options: dict[str, Any]) -> None:
        """Note a handler; raises as `JobQueue.register`."""
        name = check_text("handler name", name)
        given = {each: options.get(each) for each in _POLICY}
        handler = self._registry.make(fn).with_policy(checked_policy(**given))
        if self._registry.check(name, handler, replace=bool(options.get("replace"))):
            self._registry.put(name, handler)
            self.functions[name] = fn
            self._options[name] = fn, options

    def periodic(self, name: str, schedule: Any, job_factory: Any, tz: str, catch_up: str) -> None:
        """Note a schedule; raises as `JobQueue.periodic`."""
        entry = checked_entry(name, schedule, job_factory, tz, catch_up)
        known = self._periodics.get(entry.name)
        if known is not None and (known[0].rule != entry.rule or known[0].tz != entry.tz):
            raise ValueError(
                f"the name {entry.name!r} is taken by another schedule, {known[0].schedule!r} in "
                f"{known[0].tz}; give this one a name of its own"
            )
        self._periodics[entry.name] = entry, job_factory, {"tz": tz, "catch_up": catch_up}

    def codec(self, name: str | None) -> ResultCodec | None:
        """What reads the results of a handler."""
        handler = self._registry.find(name)
        return None if handler is None else handler.policy.result_codec

    def bring_along(self, register: Callable[..., object], periodic: Callable[..., object]) -> None:
        """Register all that with the queue that this process now owns, by these calls of it."""
        for name, (fn, options) in self._options.items():
            register(name, fn, **options)
        for entry, job_factory, options in self._periodics.values():
            periodic(entry.name, entry.schedule, job_factory, **options)


_POLICY = ("timeout", "retry_on", "backoff", "result_codec", "limit", "rate")
