"""The arguments of a call as JSON, by the types of the signature.

The payload is one JSON object of the arguments that were given, by name. msgspec writes it and
reads it strictly. It is read back at once when it is written: what a worker would refuse later is
refused at the call, and nothing else is. That costs less than a microsecond and needs no second
set of rules.
"""

from __future__ import annotations

import re
import sys
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

import msgspec

from .parameters import UNSET, Parameters, type_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..final import JobContext

FOUND_CHARS_MAX = 80


class ByMsgspec:
    """A `Wire` of JSON, checked by the types of the signature.

    Raises:
        TypeError: a type cannot be carried.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        self._parameters = parameters
        self._task = task
        self._encode = _ENCODER.encode
        self._names = list(parameters.types)
        _check_types(parameters, task)
        try:
            fields = msgspec.defstruct(
                "Arguments",
                [
                    (f"field_{index}", of)
                    if name in parameters.required
                    else (f"field_{index}", of, UNSET)
                    for index, (name, of) in enumerate(parameters.types.items())
                ],
                rename={f"field_{i}": name for i, name in enumerate(self._names)},
                forbid_unknown_fields=True,
                kw_only=True,
                gc=True,
            )
            self._decode = msgspec.json.Decoder(fields, dec_hook=_from_wire).decode
        except TypeError as error:
            raise TypeError(
                f"the arguments of task {task!r} cannot be told apart in JSON: {error}; "
                f"change its annotations, or give it a codec of its own (codec=)"
            ) from error

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """See `Wire`."""
        try:
            payload = self._encode(arguments)
            self._decode(payload)
            return payload
        except Exception as error:  # noqa: BLE001  # of a hook for a user's type
            raise self._refused(arguments, error) from None

    def _refused(self, arguments: dict[str, Any], error: Exception) -> TypeError:
        """Which of the arguments it is; `error` is what encoding or decoding them raised."""
        for name, value in arguments.items():
            try:
                self._encode({name: value})
            except Exception as own:  # noqa: BLE001  # likewise
                return TypeError(
                    f"task {self._task!r}: argument {name!r} is {_found(value)} "
                    f"({type(value).__name__}), which cannot be carried: {own}; wanted is "
                    f"{type_name(self._parameters.types[name])}"
                )
        name = _argument_in(str(error))
        value = arguments.get(name)
        return TypeError(
            f"task {self._task!r}: argument {name!r} is {_found(value)} "
            f"({type(value).__name__}), wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {_told(error)}"
        )

    def read(self, payload: bytes) -> Any:
        """The arguments as attributes `field_0`, …; raises `ValueError`."""
        try:
            return self._decode(payload)
        except Exception as error:  # noqa: BLE001  # likewise
            raise ValueError(self._misfit(payload, error)) from None

    def decode(self, payload: bytes) -> dict[str, Any]:
        """See `Wire`."""
        found = self.read(payload)
        values = ((name, getattr(found, f"field_{i}")) for i, name in enumerate(self._names))
        return {name: value for name, value in values if value is not UNSET}

    def reader(self) -> Callable[[bytes], Any]:
        """See `Wire`."""
        return self.read

    def caller(self) -> Callable[[Any, JobContext | None], Any]:
        """See `Wire`."""
        return self._parameters.call_fields

    def _misfit(self, payload: bytes, error: Exception) -> str:
        try:
            found = msgspec.json.decode(payload)
        except msgspec.DecodeError as malformed:
            return f"the payload is no JSON ({malformed}): {_found(payload)}"
        if not isinstance(found, dict):
            return f"the payload is no JSON object of arguments by name: {_found(found)}"
        wrong = self._parameters.check(found)
        if wrong is not None:
            return wrong
        name = _argument_in(str(error))
        return (
            f"argument {name!r} was found as {_found(found.get(name))}, wanted is "
            f"{type_name(self._parameters.types.get(name, Any))}: {_told(error)}"
        )


class ResultCodec:
    """Writes and reads what a task returns, by its return type. Thread-safe."""

    def __init__(self, parameters: Parameters) -> None:
        returns = Any if parameters.returns is None else parameters.returns
        self._decode = msgspec.json.Decoder(
            type(None) if parameters.returns is type(None) else returns, dec_hook=_from_wire
        ).decode

    def encode(self, result: object) -> bytes:
        """Raises `TypeError` or `ValueError` if the result does not fit."""
        written = _ENCODER.encode(result)
        self._decode(written)
        return written

    def decode(self, written: bytes) -> object:
        """The result."""
        return self._decode(written)


_PATH = re.compile(r"at `\$\.([^`.\[]+)")


def _argument_in(message: str) -> str:
    """The argument that a message of msgspec is about."""
    match = _PATH.search(message)
    return match[1] if match is not None else ""


def _told(error: Exception) -> str:
    """A message of msgspec, with the path as its own messages have it."""
    return str(error).replace("`$.", "`")


def _found(value: object) -> str:
    text = repr(value)
    return text if len(text) <= FOUND_CHARS_MAX else f"{text[: FOUND_CHARS_MAX - 1]}…"


# ── types that msgspec leaves to us ──────────────────────────────────────────────────────────


def _to_wire(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if _is_model(type(value)):
        return cast("Any", value).model_dump(mode="json", by_alias=True)
    raise NotImplementedError(f"a value of type {type(value).__qualname__}")


def _from_wire(wanted: type, value: object) -> object:
    if issubclass(wanted, PurePath):
        if not isinstance(value, str):
            raise ValueError(f"expected a path as text, got {type(value).__name__}")
        return wanted(value)
    if _is_model(wanted):
        return cast("Any", wanted).model_validate_json(msgspec.json.encode(value), strict=True)
    raise NotImplementedError(f"a value of type {wanted.__qualname__}")


def _is_model(of: type) -> bool:
    """Whether it is a model of pydantic; if nobody has imported that, there is none."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(of, pydantic.BaseModel)


def _check_types(parameters: Parameters, task: str) -> None:
    """Raises if a type holds one that only its own program could write."""
    for name, of in parameters.types.items():
        try:
            wrong = _foreign(msgspec.inspect.type_info(of), set())
        except TypeError as error:
            raise TypeError(
                f"task {task!r}: argument {name!r} cannot be carried: {error}"
            ) from None
        if wrong is not None:
            raise TypeError(
                f"task {task!r}: argument {name!r} is annotated {type_name(of)}, and a "
                f"{type_name(wrong)} cannot be written as JSON; use built-in types, dataclasses "
                f"or models, or give the task a codec of its own (codec=)"
            )


def _foreign(info: object, seen: set[int]) -> Any | None:
    """A type within this one that cannot be written; `None` if there is none."""
    if id(info) in seen or not isinstance(info, msgspec.Struct):
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        is_known = issubclass(info.cls, PurePath) or _is_model(info.cls)
        return None if is_known else info.cls
    for field in info.__struct_fields__:
        inner = getattr(info, field)
        for each in inner if isinstance(inner, tuple) else (inner,):
            wrong = _foreign(each, seen)
            if wrong is not None:
                return wrong
    return None


_ENCODER = msgspec.json.Encoder(enc_hook=_to_wire)
