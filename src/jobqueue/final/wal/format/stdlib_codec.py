"""The record codec on the standard library, used if msgspec cannot be had.

It writes the very bytes that msgspec writes and is as strict in reading. Beyond that it refuses
an object that has the same key twice.
"""

from __future__ import annotations

import base64
import inspect
import json
import types
from json.encoder import encode_basestring
from typing import (
    TYPE_CHECKING,
    Annotated,
    Any,
    NamedTuple,
    NoReturn,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

from . import record as _record

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .base import Meta

_REQUIRED = inspect.Parameter.empty


class _Field(NamedTuple):
    """One field of a record type, as its annotation tells it."""

    name: str
    kind: type
    nullable: bool
    meta: Meta | None
    default: Any
    of: Meta | None
    """The bounds of a tuple's numbers; `None` for a tuple of records."""


def _field(name: str, annotation: Any, default: Any) -> _Field:
    """Take an annotation apart: `T`, `Annotated[T, Meta]`, either of them `| None`."""
    nullable = False
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(a for a in get_args(annotation) if a is not type(None))
        nullable = True
    meta = None
    if get_origin(annotation) is Annotated:
        annotation, meta = get_args(annotation)
    kind = get_origin(annotation) or annotation
    element = get_args(annotation)[0] if kind is tuple else None
    of = get_args(element)[1] if get_origin(element) is Annotated else None
    return _Field(name, kind, nullable, meta, default, of)


def _fields(cls: type) -> tuple[_Field, ...]:
    hints = get_type_hints(cls, include_extras=True)
    return tuple(
        _field(name, hints[name], parameter.default)
        for name, parameter in inspect.signature(cls).parameters.items()
    )


_TYPES: dict[str, type[_record.Record]] = {
    cls.__name__.lower(): cls for cls in get_args(_record.Record)
}
_FIELDS = {cls: _fields(cls) for cls in _TYPES.values()}


class StdlibLines:
    """Encodes and decodes record lines with `json`; see `codec.Lines`."""

    def encode(self, records: Sequence[_record.Record]) -> bytes:
        """Return one line for each record."""
        return b"".join(_encode(record).encode() for record in records)

    def decode(self, data: bytes) -> list[_record.Record]:
        """Return the records of `data`; raises `ValueError` or `RecursionError`."""
        return [_decode(line) for line in data.split(b"\n") if line]

    def integers(self, data: bytes) -> list[int]:
        """Decode a JSON array of integers that is known to be one."""
        numbers: list[int] = json.loads(data)
        return numbers


def _encode(record: _record.Record) -> str:
    return f"{_encode_object(record)}\n"


def _encode_object(record: _record.Record) -> str:
    cls = type(record)
    parts = [f'{{"op":"{cls.__name__.lower()}"']
    for field in _FIELDS[cls]:
        value = getattr(record, field.name)
        if value is not field.default:
            parts.append(f'"{field.name}":{_encode_value(value)}')
    return ",".join(parts) + "}"


def _encode_value(value: Any) -> str:
    if type(value) is str:
        return encode_basestring(value)
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        return _encode_float(value)
    if isinstance(value, tuple):
        return f"[{','.join(map(_encode_value, value))}]"
    if type(value) in _FIELDS:
        return _encode_object(value)
    if isinstance(value, bytes):
        return f'"{base64.b64encode(value).decode()}"'
    return _ENCODER.encode(value)


def _encode_float(value: float) -> str:
    """Write a float as msgspec does: no `+` and no leading zeros in the exponent."""
    text = repr(value)
    mantissa, e, exponent = text.partition("e")
    if not e:
        return text
    if exponent == "-05":
        return "-" * text.startswith("-") + "0.0000" + mantissa.replace(".", "").lstrip("-")
    return f"{mantissa}e{int(exponent)}"


def _decode(line: bytes) -> _record.Record:
    return _decode_object(_OBJECT.decode(line.decode()))


def _decode_object(fields: Any) -> _record.Record:
    if not isinstance(fields, dict):
        raise ValueError("a record must be an object")
    tag = fields.get("op")
    if not isinstance(tag, str) or tag not in _TYPES:
        raise ValueError(f"unknown record type {str(tag)[:40]!r}")
    cls = _TYPES[tag]
    return cls(*[_decode_field(field, fields) for field in _FIELDS[cls]])


def _decode_field(field: _Field, values: dict[str, Any]) -> Any:
    if field.name not in values:
        if field.default is _REQUIRED:
            raise ValueError(f"field {field.name!r} is missing")
        return field.default
    value = values[field.name]
    if value is None and field.nullable:
        return None
    value = _CONVERT[field.kind](value, field.name)
    if field.meta is not None:
        _check_bounds(field, field.meta, value)
    if field.of is not None:
        for each in value:
            _check_bounds(field, field.of, each)
    return value


def _check_bounds(field: _Field, meta: Meta, value: Any) -> None:
    size = len(value) if isinstance(value, str) else None
    if (
        (meta.ge is not None and value < meta.ge)
        or (meta.le is not None and value > meta.le)
        or (size is not None and size < (meta.min_length or 0))
        or (size is not None and meta.max_length is not None and size > meta.max_length)
    ):
        raise ValueError(f"field {field.name!r} is out of bounds")


def _wrong(name: str) -> NoReturn:
    raise ValueError(f"field {name!r} has the wrong type")


def _to_int(value: Any, name: str) -> int:
    return value if type(value) is int else _wrong(name)


def _to_bool(value: Any, name: str) -> bool:
    return value if type(value) is bool else _wrong(name)


def _to_float(value: Any, name: str) -> float:
    if type(value) not in (int, float):
        _wrong(name)
    return float(value)


def _to_str(value: Any, name: str) -> str:
    if not isinstance(value, str):
        _wrong(name)
    value.encode()  # raises UnicodeEncodeError, a ValueError, if there are lone surrogates
    return value


def _to_bytes(value: Any, name: str) -> bytes:
    return base64.b64decode(_to_str(value, name), validate=True)


def _to_dict(value: Any, name: str) -> dict[str, str]:
    if not isinstance(value, dict):
        _wrong(name)
    return {_to_str(key, name): _to_str(item, name) for key, item in value.items()}


def _to_tuple(value: Any, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        _wrong(name)
    if name == "children":
        return tuple(_to_enqueued(each, name) for each in value)
    return tuple(_to_int(each, name) for each in value)


def _to_enqueued(value: Any, name: str) -> _record.Enqueued:
    record = _decode_object({"op": "enqueued"} | value if isinstance(value, dict) else value)
    return record if isinstance(record, _record.Enqueued) else _wrong(name)


_CONVERT: dict[type, Callable[[Any, str], Any]] = {
    bool: _to_bool,
    int: _to_int,
    float: _to_float,
    str: _to_str,
    bytes: _to_bytes,
    dict: _to_dict,
    tuple: _to_tuple,
}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("the same key appears twice")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_OBJECT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
