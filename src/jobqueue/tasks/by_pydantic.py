"""Typed JSON by pydantic: the stand-in for a Python that has no msgspec, as 3.13 without the GIL.

The JSON is the same but for `bytes`, which pydantic writes in the URL-safe alphabet of base64. It
knows no msgspec Structs and no attrs classes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pydantic
import pydantic_core

from .parameters import UNSET, Parameters, type_name
from .typed_json import TypedJson, TypedResult


class ByPydantic(TypedJson):
    """A `Wire` of JSON, checked by the types of the signature.

    Raises:
        TypeError: a type cannot be carried.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        super().__init__(parameters, task)
        for name, of in parameters.types.items():
            try:
                pydantic.TypeAdapter(of)
            except pydantic.errors.PydanticUserError as error:
                raise TypeError(
                    f"task {task!r}: argument {name!r} is annotated {type_name(of)}, which cannot "
                    f"be written as JSON; use built-in types, dataclasses or models, or give the "
                    f"task a codec of its own (codec=): {error.message}"
                ) from error
        fields: dict[str, Any] = {
            f"field_{index}": (
                of,
                pydantic.Field(... if name in parameters.required else UNSET, alias=name),
            )
            for index, (name, of) in enumerate(parameters.types.items())
        }
        config = pydantic.ConfigDict(extra="forbid", val_json_bytes="base64")
        model = pydantic.create_model("Arguments", __config__=config, **fields)
        self.load = partial(model.model_validate_json, strict=True)  # in models within, too

    @staticmethod
    def _dump(arguments: Any) -> bytes:
        return _dump(arguments)

    def _load_one(self, of: Any, written: bytes) -> object:
        return pydantic.TypeAdapter[Any](of).validate_json(written, strict=True)

    def _told(self, error: Exception) -> tuple[str, str]:
        if not isinstance(error, pydantic.ValidationError):
            return "", str(error)
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        if not place:
            return "", first["msg"]
        return str(first["loc"][0]), f"{first['msg']} - at `{place}`"


class ResultByPydantic(TypedResult):
    """Writes and reads what a task returns, by its return type. Thread-safe.

    Raises:
        TypeError: the type cannot be kept.
    """

    def __init__(self, parameters: Parameters, task: str) -> None:
        super().__init__(parameters, task)
        try:
            adapter: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(parameters.returns)
        except pydantic.errors.PydanticUserError as error:
            raise TypeError(
                f"task {task!r} returns {type_name(parameters.returns)}, which cannot be written "
                f"as JSON, so store_result cannot keep it; return built-in types, dataclasses or "
                f"models: {error.message}"
            ) from error
        self._load = partial(adapter.validate_json, strict=True)

    @staticmethod
    def _dump(result: Any) -> bytes:
        return _dump(result)


def _dump(value: Any) -> bytes:
    return pydantic_core.to_json(value, bytes_mode="base64", inf_nan_mode="null")
