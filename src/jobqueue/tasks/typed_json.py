"""The arguments of a call as JSON, by the types of the signature: what is said if they do not fit.

The payload is one JSON object of the arguments that were given, by name. It is read back at once
when it is written: what a worker would refuse later is refused at the call, and so is what would
arrive as something else (`arrival.py`). With msgspec that costs less than a microsecond, and it
needs no second set of rules. An argument whose exact type is the annotation's, as most are, needs
no comparison; if all are text, no reading back either.
"""

from __future__ import annotations

import json
import math
import typing
from abc import ABC, abstractmethod
from collections import abc
from typing import TYPE_CHECKING, Any

from .arrival import Difference, described, difference, shortened
from .parameters import UNSET, Parameters, type_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..final import JobContext

_ALWAYS_READ: tuple[type, ...] = (str, bool, type(None))
"""Types whose values, if JSON can be made of them, come back as they were."""

_READ_OR_REFUSED: tuple[type, ...] = (*_ALWAYS_READ, int, float)
"""Types whose values come back as they were, or not at all: as `nan`, or an endless number."""


class TypedJson(ABC):
    """A `Wire` of JSON over a library that writes and reads it by types."""

    _dump: Callable[[Any], bytes]
    """Writes arguments by name; raises whatever it raises."""
    load: Callable[[bytes], Any]
    """Reads them into attributes `field_0`, …; raises whatever it raises."""

    def __init__(self, parameters: Parameters, task: str) -> None:
        self._parameters = parameters
        self._task = task
        self._fields = {name: f"field_{index}" for index, name in enumerate(parameters.types)}
        self._exact = {
            name: of if _is_one(of, _READ_OR_REFUSED) else None
            for name, of in parameters.types.items()
        }
        """The types of which an argument needs no comparison."""
        self._is_always_read = all(_is_one(of, _ALWAYS_READ) for of in parameters.types.values())
        self.call: Callable[[Any, JobContext | None], Any] = parameters.call_fields

    @abstractmethod
    def _load_one(self, of: Any, written: bytes) -> object:
        """Reads a value of this type; raises whatever it raises."""

    @abstractmethod
    def _told(self, error: Exception) -> tuple[str, str]:
        """The argument that an error of `load` is about, and what it says of it.

        An error of the code of a user's class names none: the argument is empty text then.
        """

    def _blamed(self, arguments: Mapping[str, Any], error: Exception) -> tuple[str, str]:
        """The same, of these arguments: that which cannot be read by itself, if none is named."""
        name, told = self._told(error)
        if name in self._parameters.types:
            return name, told
        for name, value in arguments.items():
            try:
                self._load_one(self._parameters.types[name], self._dump(value))
            except Exception as own:  # noqa: BLE001  # code of a user's class
                return name, _said(own, self._told(own)[1])
        return "", told

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """See `Wire`."""
        exact = self._exact
        try:
            payload = self._dump(arguments)
            for name, value in arguments.items():
                if exact[name] is not type(value):
                    found = self.load(payload)
                    break
            else:
                if not self._is_always_read:
                    self.load(payload)
                return payload
        except Exception as error:  # noqa: BLE001  # to write a user's type runs code of its class
            raise self._refused(arguments, error) from None
        self._compare(arguments, found)
        return payload

    def _compare(self, arguments: dict[str, Any], found: object) -> None:
        """Raises `TypeError` if an argument would arrive as something else."""
        for name, value in arguments.items():
            if self._exact[name] is type(value):
                continue
            of = self._parameters.types[name]
            given = list(value) if name == self._parameters.star else _of_one_kind(value, of)
            arrives = _of_one_kind(getattr(found, self._fields[name]), of)
            try:
                unlike = difference(given, arrives)
                told = None if unlike is None else _advice(unlike, of)
            except Exception as error:  # noqa: BLE001  # a user's `==` may raise anything
                told = f"it cannot be compared with what would arrive: {error}"
            if told is not None:
                raise TypeError(
                    f"task {self._task!r}: argument {name!r} is {described(value)}, wanted is "
                    f"{type_name(of)}: {told}"
                )

    def _refused(self, arguments: dict[str, Any], error: Exception) -> TypeError:
        """Which of the arguments it is; `error` is what encoding or decoding them raised."""
        for name, value in arguments.items():
            try:
                self._dump({name: value})
            except Exception as own:  # noqa: BLE001  # as above: code of a user's class
                return TypeError(
                    f"task {self._task!r}: argument {name!r} is {described(value)}, which "
                    f"cannot be carried: {own}; wanted is "
                    f"{type_name(self._parameters.types[name])}"
                )
        name, told = self._blamed(arguments, error)
        value = arguments.get(name)
        if isinstance(value, float) and not math.isfinite(value):
            told = "JSON has no such number"
        return TypeError(
            f"task {self._task!r}: argument {name!r} is {described(value)}, wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {told}"
        )

    def decode(self, payload: bytes) -> dict[str, Any]:
        """See `Wire`."""
        try:
            found = self.load(payload)
        except Exception as error:  # noqa: BLE001  # to read a user's type runs code of its class
            raise ValueError(self.misfit(payload, error)) from None
        values = ((name, getattr(found, field)) for name, field in self._fields.items())
        return {name: value for name, value in values if value is not UNSET}

    def misfit(self, payload: bytes, error: Exception) -> str:
        """See `Wire`."""
        try:
            found = json.loads(payload.decode(), parse_constant=_no_number)
        except (ValueError, RecursionError) as malformed:
            return f"the payload is no JSON ({malformed}): {shortened(payload)}"
        if not isinstance(found, dict):
            return f"the payload is no JSON object of arguments by name: {shortened(found)}"
        wrong = self._parameters.check(found)
        if wrong is not None:
            return wrong
        name, told = self._blamed(found, error)
        if not name:
            return f"the payload cannot be read ({told}): {shortened(payload)}"
        return (
            f"argument {name!r} was found as {shortened(found.get(name))}, wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {told}"
        )


def _said(error: Exception, told: str) -> str:
    """What an error says, with its kind unless it is the JSON library's own."""
    kind = type(error).__name__
    return told if kind == "ValidationError" else f"{kind}: {told}".removesuffix(": ")


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number there")


class TypedResult(ABC):
    """Writes and reads what a task returns, by its return type. Thread-safe."""

    _dump: Callable[[Any], bytes]
    """Writes a result; raises whatever it raises."""
    _load: Callable[[bytes], Any]
    """Reads it; raises whatever it raises."""

    def __init__(self, parameters: Parameters, task: str) -> None:
        self._returns = parameters.returns
        self._task = task

    def encode(self, result: object) -> bytes:
        """Raises `TypeError` if the result does not fit its type."""
        try:
            written = self._dump(result)
            found = difference(result, self._load(written))
        except Exception as error:  # to write and read a user's type runs code of its class
            raise self._refused(result, _said(error, str(error))) from error
        if found is not None:
            raise self._refused(result, _advice(found, self._returns))
        return written

    def _refused(self, result: object, why: str) -> TypeError:
        return TypeError(
            f"task {self._task!r} returned {described(result)}, wanted is "
            f"{type_name(self._returns)}: {why}"
        )

    def decode(self, data: bytes) -> object:
        """The result."""
        return self._load(data)


_KINDS: dict[Any, Callable[[Any], object]] = {
    abc.Collection: list,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Set: set,
    abc.MutableSet: set,
    abc.Mapping: dict,
    abc.MutableMapping: dict,
}
"""What stands for any kind of an abstract container: the very type does not matter there."""


def _of_one_kind(value: Any, of: Any) -> object:
    origin = typing.get_origin(of)
    kind = _KINDS.get(origin)
    return value if kind is None or not isinstance(value, origin) else kind(value)


def _is_one(annotation: Any, of: tuple[type, ...]) -> bool:
    return any(annotation is each for each in of)  # `in` would ask what the annotation is equal to


def _advice(found: Difference, of: Any) -> str:
    """What would go wrong, and what to do about it."""
    if not _leaves_open(of):
        return str(found)
    return (
        f"{found}; where no type is said, only None, bool, int, float, str, list and dict with "
        f"str keys are carried, so annotate it with the type that it has"
    )


def _leaves_open(of: Any) -> bool:
    """Whether an annotation does not say what is in it: `Any`, `object` or a bare container."""
    return _is_one(of, (Any, object, list, dict, tuple, set, frozenset)) or any(
        map(_leaves_open, typing.get_args(of))
    )
