"""Results that are kept with their jobs: how they are written and read, and how large they may be.

A handler may have a `ResultCodec` of its own. Without one a result is JSON, and is read as what it
was: what JSON lacks (bytes, tuples, sets, other keys than text) stands in an object of one key, as
`{"$bytes": "aGk="}`. Only exact built-in types are taken, since others would come back as those.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from ..errors import JobQueueError, RejectJobError
from ..exact import exact_bytes
from ..runtime.reporting import describe

if TYPE_CHECKING:
    from collections.abc import Callable

RESULT_BYTES_MAX = 64 * 1024


class ResultCodec(Protocol):
    """Writes and reads the results of a handler. Thread-safe; called without locks."""

    def encode(self, result: object, /) -> bytes:
        """What is kept of a result; whatever this raises fails the job."""

    def decode(self, data: bytes, /) -> object:
        """The result that was written as `data`."""


class StoredResult(NamedTuple):
    """A result as it is kept.

    Attributes:
        data: what was written.
        coded: whether the handler's own codec wrote it.
    """

    data: bytes
    coded: bool


def stored_result(job_id: str, result: object, codec: ResultCodec | None) -> StoredResult:
    """Write a result.

    Raises:
        RejectJobError: it cannot be written, or is too large.
    """
    try:
        data = encode_plain(result) if codec is None else _bytes_of(codec.encode(result))
    except Exception as error:
        remedy = (
            "return built-in types, or register the handler with a result_codec"
            if codec is None
            else "look at what it returns, and at the result_codec of its handler"
        )
        raise RejectJobError(
            f"job {job_id!r} ran, but its result, of type {type(result).__name__}, cannot be kept "
            f"with it (store_result): {describe(error)[0]}; {remedy}"
        ) from error
    # guard: what is too large for the log fails its job
    if len(data) > RESULT_BYTES_MAX:
        raise RejectJobError(
            f"job {job_id!r} ran, but its result has {len(data)} bytes as it is written; at most "
            f"{RESULT_BYTES_MAX} can be kept with a job (store_result): store it elsewhere and "
            f"return where it is"
        )
    return StoredResult(data, codec is not None)


def read_result(job_id: str, stored: StoredResult, codec: ResultCodec | None) -> object:
    """Read a result.

    Args:
        codec: the one of the handler that the job names, if that is registered and has one.

    Raises:
        JobQueueError: it cannot be read.
    """
    if stored.coded and codec is None:
        raise JobQueueError(
            f"the result of job {job_id!r} is kept, but was written by the result_codec of its "
            f"handler, which is not registered here; register it first, with that"
        )
    try:
        # guard: the codec that wrote a result reads it
        #   without: return (decode_plain if codec is None else codec.decode)(stored.data)
        return (codec.decode if codec and stored.coded else decode_plain)(stored.data)
    except Exception as error:
        raise JobQueueError(
            f"the result of job {job_id!r} is kept, but cannot be read: {describe(error)[0]}"
        ) from error


def _bytes_of(data: object) -> bytes:
    if not isinstance(data, bytes):
        raise TypeError(f"encode must return bytes, not {type(data).__name__}")
    return exact_bytes(data)


# ── built-in types as JSON ───────────────────────────────────────────────────────────────────────


def encode_plain(result: object) -> bytes:
    """Write a result of built-in types.

    Raises:
        TypeError: there is something else in it.
    """
    import json  # here, since it takes a while to import

    return json.dumps(_plain(result), ensure_ascii=False, separators=(",", ":")).encode()


def decode_plain(data: bytes) -> object:
    """Read what `encode_plain` wrote."""
    import json

    return _made(json.loads(data))


def _plain(value: Any) -> Any:
    """What JSON has for a value."""
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return value
    if kind is float:
        return value if math.isfinite(value) else {"$float": str(value)}
    if kind is list:
        return [_plain(each) for each in value]
    if kind is dict:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: _plain(each) for key, each in value.items()}
        return {"$dict": [[_plain(key), _plain(each)] for key, each in value.items()]}
    if kind in (bytes, bytearray):
        return {f"${kind.__name__}": base64.b64encode(value).decode()}
    if kind in (tuple, set, frozenset):
        return {f"${kind.__name__}": [_plain(each) for each in value]}
    raise TypeError(f"{kind.__name__} is no built-in type that JSON can be made of")


def _made(value: Any) -> Any:
    """The value that `_plain` was given."""
    if type(value) is list:
        return [_made(each) for each in value]
    if type(value) is not dict:
        return value
    if len(value) == 1:
        ((key, inner),) = value.items()
        if key in _MAKE:
            return _MAKE[key](inner)
    return {key: _made(each) for key, each in value.items()}


_MAKE: dict[str, Callable[[Any], object]] = {
    "$float": float,
    "$bytes": base64.b64decode,
    "$bytearray": lambda text: bytearray(base64.b64decode(text)),
    "$dict": lambda pairs: {_made(key): _made(each) for key, each in pairs},
    "$tuple": lambda items: tuple(map(_made, items)),
    "$set": lambda items: set(map(_made, items)),
    "$frozenset": lambda items: frozenset(map(_made, items)),
}
