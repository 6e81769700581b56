"""How a task's calls become payloads, and payloads calls: JSON, or a codec of the user's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .arrival import shortened

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ..final import JobContext
    from ..final.ports import ResultCodec
    from .parameters import Parameters


class Codec(Protocol):
    """Writes the arguments of a call into a payload and reads them back; must be thread-safe.

    One that raises in `decode` fails the job at once, and it is kept as a dead letter.
    """

    def encode(self, arguments: Mapping[str, object]) -> bytes:
        """The payload for arguments by the names of their parameters."""

    def decode(self, payload: bytes) -> Mapping[str, object]:
        """The arguments that were given to `encode`."""


class Wire(Protocol):
    """How one task's calls become payloads, and payloads calls. Thread-safe.

    Attributes:
        load: makes of a payload the first argument of `call`; raises whatever it raises.
        call: calls the function with that, and a context or `None`.
    """

    load: Callable[[bytes], Any]
    call: Callable[[Any, JobContext | None], Any]

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """Raises `TypeError` that names what cannot be carried."""

    def decode(self, payload: bytes) -> dict[str, Any]:
        """The arguments that a payload holds; raises `ValueError` that says what does not fit."""

    def misfit(self, payload: bytes, error: Exception) -> str:
        """What does not fit in a payload for which `load` raised this error."""


class ByCodec:
    """A `Wire` over a codec that the user gave."""

    def __init__(self, codec: Codec, parameters: Parameters, task: str) -> None:
        self._codec = codec
        self._parameters = parameters
        self._task = task
        self.load: Callable[[bytes], Any] = self.decode
        self.call = parameters.call

    def encode(self, arguments: dict[str, Any]) -> bytes:
        """See `Wire`."""
        try:
            payload = self._codec.encode(arguments)
        except Exception as error:  # it is the user's, and may raise anything
            named = ", ".join(map(repr, arguments)) or "none"
            raise TypeError(
                f"the codec of task {self._task!r} could not encode its arguments ({named}): "
                f"{type(error).__name__}: {error}"
            ) from error
        if type(payload) is not bytes:
            raise TypeError(
                f"the codec of task {self._task!r} must encode to bytes, not "
                f"{type(payload).__name__}"
            )
        return payload

    def decode(self, payload: bytes) -> dict[str, Any]:
        """See `Wire`."""
        try:
            arguments = dict(self._codec.decode(payload))
        except Exception as error:  # as in `encode`
            raise ValueError(
                f"its codec could not make arguments by name of the payload {shortened(payload)}: "
                f"{type(error).__name__}: {error}"
            ) from error
        wrong = self._parameters.check(arguments)
        if wrong is not None:
            raise ValueError(wrong)
        return arguments

    def misfit(self, payload: bytes, error: Exception) -> str:
        """See `Wire`."""
        return str(error)


def wire(codec: Codec | None, parameters: Parameters, task: str) -> Wire:
    """The wire of a task; `None` is JSON by its signature.

    Raises:
        TypeError: a type of the signature cannot be carried, or nothing is there to carry it.
    """
    if codec is not None:
        return ByCodec(codec, parameters, task)
    return _typed_json(task)[0](parameters, task)


def result_codec(parameters: Parameters, task: str) -> ResultCodec:
    """What writes the results of a task, by its return type; raises `TypeError` as `wire` does."""
    return _typed_json(task)[1](parameters, task)


def _typed_json(
    task: str,
) -> tuple[Callable[[Parameters, str], Wire], Callable[[Parameters, str], ResultCodec]]:
    """What writes by types here; imported now, since a codec of the user's needs none."""
    try:
        from .by_msgspec import ByMsgspec, ResultByMsgspec
    except ImportError:
        pass
    else:
        return ByMsgspec, ResultByMsgspec
    try:
        from .by_pydantic import ByPydantic, ResultByPydantic
    except ImportError as error:
        raise TypeError(
            f"task {task!r} needs msgspec or pydantic, and this Python has neither ({error}); "
            f"install one, or give the task a codec of its own (codec=)"
        ) from error
    return ByPydantic, ResultByPydantic
