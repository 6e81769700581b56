"""`Struct` and `Meta` of msgspec, or a stand-in on the standard library.

The stand-in takes the same declarations, so that each record is declared once. It makes plain
dataclasses: slower and larger, equal in behaviour as far as this package uses them.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, dataclass_transform

if TYPE_CHECKING:
    from msgspec import Meta, Struct

    HAVE_MSGSPEC: bool
else:
    try:
        from msgspec import Meta, Struct

        HAVE_MSGSPEC = True
    except ImportError:
        HAVE_MSGSPEC = False

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
            """Base of the records if msgspec cannot be had."""

            __struct_fields__: ClassVar[tuple[str, ...]]


__all__ = ["HAVE_MSGSPEC", "Meta", "Struct"]
