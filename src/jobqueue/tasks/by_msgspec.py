"""Typed JSON by msgspec, and by pydantic where a type is one of its models."""

from __future__ import annotations

import re
import sys
from pathlib import PurePath
from typing import Any, cast

import msgspec

from .parameters import UNSET, Parameters, type_name
from .typed_json import TypedJson


class ByMsgspec(TypedJson):
    """A `Wire` of JSON, checked by the types of the signature.

    Raises:
        TypeError: a type cannot be carried.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        super().__init__(parameters, task)
        self._dump = _ENCODER.encode
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
            self.load = msgspec.json.Decoder(fields, dec_hook=_from_wire).decode
        except TypeError as error:
            raise TypeError(
                f"the arguments of task {task!r} cannot be told apart in JSON: {error}; "
                f"change its annotations, or give it a codec of its own (codec=)"
            ) from error

    def _told(self, error: Exception) -> tuple[str, str]:
        match = _PATH.search(str(error))
        return match[1] if match is not None else "", str(error).replace("`$.", "`")


class ResultByMsgspec:
    """Writes and reads what a task returns, by its return type. Thread-safe.

    Raises:
        TypeError: the type cannot be kept.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        returns = parameters.returns
        wrong = _foreign(msgspec.inspect.type_info(returns), set())
        if wrong is not None:
            raise TypeError(
                f"task {task!r} returns {type_name(returns)}, and a {type_name(wrong)} cannot be "
                f"written as JSON, so store_result cannot keep it; return built-in types, "
                f"dataclasses or models"
            )
        self._load = msgspec.json.Decoder(returns, dec_hook=_from_wire).decode

    def encode(self, result: object) -> bytes:
        """Raises `TypeError` or `ValueError` if the result does not fit its type."""
        written = _ENCODER.encode(result)
        self._load(written)
        return written

    def decode(self, data: bytes) -> object:
        """The result."""
        return self._load(data)


_PATH = re.compile(r"at `\$\.([^`.\[]+)")


# ── types that msgspec leaves to us ──────────────────────────────────────────────────────────


def _to_wire(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if _is_model(type(value)):
        return cast("Any", value).model_dump(mode="json", by_alias=True)
    # What msgspec asks of a hook that does not know a type; the caller names the argument.
    raise NotImplementedError(f"a value of type {type(value).__qualname__}")


def _from_wire(wanted: type, value: object) -> object:
    if issubclass(wanted, PurePath):
        if not isinstance(value, str):
            raise ValueError(f"expected a path as text, got {type(value).__name__}")
        return wanted(value)
    if _is_model(wanted):
        return cast("Any", wanted).model_validate_json(msgspec.json.encode(value), strict=True)
    # As above: msgspec asks for this error.
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
