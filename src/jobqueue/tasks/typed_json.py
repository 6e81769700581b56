"""The arguments of a call as JSON, by the types of the signature: what is said if they do not fit.

The payload is one JSON object of the arguments that were given, by name. It is read back at once
when it is written: what a worker would refuse later is refused at the call, and nothing else is.
With msgspec that costs less than a microsecond, and it needs no second set of rules.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from .parameters import UNSET, Parameters, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..final import JobContext

FOUND_CHARS_MAX = 80


class TypedJson(ABC):
    """A `Wire` of JSON over a library that writes and reads it by types."""

    _dump: Callable[[Any], bytes]
    """Writes arguments by name; raises whatever it raises."""
    load: Callable[[bytes], Any]
    """Reads them into attributes `field_0`, …; raises whatever it raises."""

    def __init__(self, parameters: Parameters, task: str) -> None:
        self._parameters = parameters
        self._task = task
        self._names = list(parameters.types)
        self.call: Callable[[Any, JobContext | None], Any] = parameters.call_fields

    @abstractmethod
    def _told(self, error: Exception) -> tuple[str, str]:
        """The argument that an error of `load` is about, and what it says of it."""

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """See `Wire`."""
        try:
            payload = self._dump(arguments)
            self.load(payload)
            return payload
        except Exception as error:  # noqa: BLE001  # of a hook for a user's type
            raise self._refused(arguments, error) from None

    def _refused(self, arguments: dict[str, Any], error: Exception) -> TypeError:
        """Which of the arguments it is; `error` is what encoding or decoding them raised."""
        for name, value in arguments.items():
            try:
                self._dump({name: value})
            except Exception as own:  # noqa: BLE001  # of a hook for a user's type
                return TypeError(
                    f"task {self._task!r}: argument {name!r} is {_found(value)} "
                    f"({type(value).__name__}), which cannot be carried: {own}; wanted is "
                    f"{type_name(self._parameters.types[name])}"
                )
        name, told = self._told(error)
        value = arguments.get(name)
        return TypeError(
            f"task {self._task!r}: argument {name!r} is {_found(value)} "
            f"({type(value).__name__}), wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {told}"
        )

    def decode(self, payload: bytes) -> dict[str, Any]:
        """See `Wire`."""
        try:
            found = self.load(payload)
        except Exception as error:  # noqa: BLE001  # of a hook for a user's type
            raise ValueError(self.misfit(payload, error)) from None
        values = ((name, getattr(found, f"field_{i}")) for i, name in enumerate(self._names))
        return {name: value for name, value in values if value is not UNSET}

    def misfit(self, payload: bytes, error: Exception) -> str:
        """See `Wire`."""
        try:
            found = json.loads(payload)
        except ValueError as malformed:
            return f"the payload is no JSON ({malformed}): {_found(payload)}"
        if not isinstance(found, dict):
            return f"the payload is no JSON object of arguments by name: {_found(found)}"
        wrong = self._parameters.check(found)
        if wrong is not None:
            return wrong
        name, told = self._told(error)
        return (
            f"argument {name!r} was found as {_found(found.get(name))}, wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {told}"
        )


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= FOUND_CHARS_MAX else f"{text[: FOUND_CHARS_MAX - 1]}…"
