"""`Struct` and `Meta` of msgspec, or a stand-in on the standard library.

The stand-in takes the same declarations, so that each record is declared once. It makes plain
dataclasses: slower and larger, equal in behaviour as far as this package uses them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from msgspec import Meta, Struct

    HAVE_MSGSPEC: bool
else:
    try:
        from msgspec import Meta, Struct

        HAVE_MSGSPEC = True
    except ImportError:
        from ._stand_in import Meta, Struct

        HAVE_MSGSPEC = False

__all__ = ["HAVE_MSGSPEC", "Meta", "Struct"]
