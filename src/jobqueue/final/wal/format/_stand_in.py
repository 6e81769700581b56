"""The few features of msgspec's `Struct` and `Meta` that the records use, without msgspec."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, dataclass_transform


@dataclass(frozen=True)
class Meta:
    """Bounds of a field; `codec` checks them when it decodes."""

    ge: float | None = None
    le: float | None = None
    min_length: int | None = None
    max_length: int | None = None


@dataclass_transform(field_specifiers=(field,))
class StructMeta(type):
    """Turns each subclass of `Struct` into a dataclass and notes its tag."""

    def __new__(
        mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> Any:
        for attribute in namespace.get("__annotations__", ()):
            if namespace.get(attribute) == {}:
                namespace[attribute] = field(default_factory=dict)
        cls: Any = dataclass(super().__new__(mcs, name, bases, namespace))
        cls.__struct_fields__ = tuple(f.name for f in fields(cls))
        if "tag" in options:
            cls.__struct_tag__ = options["tag"]
        return cls

    def __init__(
        cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any
    ) -> None:
        super().__init__(name, bases, namespace)


class Struct(metaclass=StructMeta):
    """Base of the records where msgspec cannot be had."""

    __struct_fields__: ClassVar[tuple[str, ...]]
