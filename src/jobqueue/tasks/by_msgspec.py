"""Typed JSON by msgspec, and by pydantic where a type is one of its models."""

from __future__ import annotations

import re
import sys
from pathlib import PurePath
from typing import Any, cast

import msgspec

from .parameters import UNSET, Parameters, type_name
from .typed_json import TypedJson, TypedResult


class ByMsgspec(TypedJson):
    """A `Wire` of JSON, checked by the types of the signature.

    Raises:
        TypeError: a type cannot be carried.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        super().__init__(parameters, task)
        self._dump = _ENCODER.encode
        _check_types(parameters, task)
        fields = msgspec.defstruct(
            "Arguments",
            [
                (field, parameters.types[name])
                if name in parameters.required
                else (field, parameters.types[name], UNSET)
                for name, field in self._fields.items()
            ],
            rename={field: name for name, field in self._fields.items()},
            forbid_unknown_fields=True,
            kw_only=True,
            gc=True,
        )
        self.load = msgspec.json.Decoder(fields, dec_hook=_from_wire).decode

    def _load_one(self, of: Any, written: bytes) -> object:
        return msgspec.json.decode(written, type=of, dec_hook=_from_wire)

    def _told(self, error: Exception) -> tuple[str, str]:
        match = _PATH.search(str(error))
        return match[1] if match is not None else "", str(error).replace("`$.", "`")


class ResultByMsgspec(TypedResult):
    """Writes and reads what a task returns, by its return type. Thread-safe.

    Raises:
        TypeError: the type cannot be kept.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        super().__init__(parameters, task)
        returns = parameters.returns
        wrong = _not_possible(returns)
        if wrong is not None:
            raise TypeError(
                f"task {task!r} returns {type_name(returns)}, which store_result cannot keep: "
                f"{wrong[0]}; {wrong[1]}, or do without store_result"
            )
        self._dump = _ENCODER.encode
        self._load = msgspec.json.Decoder(returns, dec_hook=_from_wire).decode


_PATH = re.compile(r"`\$\.([^`.\[]+)")


# ── types that msgspec leaves to us ──────────────────────────────────────────────────────────


def _to_wire(value: object) -> object:
    if isinstance(value, PurePath):
        return str(value)
    if _is_model(type(value)):
        return cast("Any", value).model_dump(mode="json", by_alias=True)
    raise TypeError(f"a value of type {type(value).__qualname__}")


def _from_wire(wanted: type, value: object) -> object:
    if wanted is object:  # as `Any`, which msgspec knows by itself
        return value
    if issubclass(wanted, PurePath):
        if not isinstance(value, str):
            raise ValueError(f"expected a path as text, got {type(value).__name__}")
        return wanted(value)
    if _is_model(wanted):
        return cast("Any", wanted).model_validate_json(msgspec.json.encode(value), strict=True)
    raise TypeError(f"a value of type {wanted.__qualname__}")


def _is_model(of: type) -> bool:
    """Whether it is a model of pydantic; if nobody has imported that, there is none."""
    pydantic = sys.modules.get("pydantic")
    return pydantic is not None and issubclass(of, pydantic.BaseModel)


def _check_types(parameters: Parameters, task: str) -> None:
    """Raises if a type holds one that only its own program could write."""
    for name, of in parameters.types.items():
        wrong = _not_possible(of)
        if wrong is not None:
            raise TypeError(
                f"task {task!r}: argument {name!r} is annotated {type_name(of)}, which cannot be "
                f"carried: {wrong[0]}; {wrong[1]}, or give the task a codec of its own (codec=)"
            )


def _not_possible(of: Any) -> tuple[str, str] | None:
    """What JSON cannot do with a type, and what to write instead; `None` if it can."""
    try:
        foreign = _foreign(msgspec.inspect.type_info(of), set())
        msgspec.json.Decoder(of, dec_hook=_from_wire)
    except (TypeError, NameError) as error:  # the latter of an annotation inside of a class
        is_union = "union" in str(error)
        remedy = _TELL_APART if is_union else _OTHER_TYPES
        return f"in JSON its parts look alike ({error})" if is_union else str(error), remedy
    if foreign is None:
        return None
    return f"a value of type {type_name(foreign)} cannot be written as JSON", _OTHER_TYPES


_OTHER_TYPES = "use built-in types, dataclasses or models"
_TELL_APART = (
    "use one of these types, or a msgspec.Struct with a tag of its own (tag=True) for each part"
)


def _foreign(info: object, seen: set[int]) -> Any | None:
    """A type within this one that cannot be written; `None` if there is none."""
    if id(info) in seen or not isinstance(info, msgspec.Struct):
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        is_known = info.cls is object or issubclass(info.cls, PurePath) or _is_model(info.cls)
        return None if is_known else info.cls
    for field in info.__struct_fields__:
        inner = getattr(info, field)
        for each in inner if isinstance(inner, tuple) else (inner,):
            wrong = _foreign(each, seen)
            if wrong is not None:
                return wrong
    return None


_ENCODER = msgspec.json.Encoder(enc_hook=_to_wire)
