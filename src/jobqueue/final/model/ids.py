"""New job ids: UUID4 in hex (RFC 9562), some hundred at a time.

Each `os.urandom` lets go of the interpreter's lock and so invites a change of threads. One call
for each job would cost as much as all else that is done for the job.
"""

from __future__ import annotations

import os

_AT_ONCE = 256
_BYTES = 16
_DIGITS = 2 * _BYTES
_VERSION = bytes(octet & 0x0F | 0x40 for octet in range(256))
_VARIANT = bytes(octet & 0x3F | 0x80 for octet in range(256))

_stock: list[str] = []
"""Job ids that this process has not given away yet. Replaced as a whole in a forked child."""


def new_id() -> str:
    """An id that no other job has, here or in a forked child, and that cannot be guessed.

    Thread-safe: each step on the list is one call of the list's.
    """
    while True:
        fresh = _stock
        try:
            return fresh.pop()
        except IndexError:  # also if other threads were quicker
            fresh.extend(_make(_AT_ONCE))


def _leave_parents_stock() -> None:
    """Called in a forked child, which gives away ids of its own.

    The list is not emptied but left: another thread of the parent may have been at it.
    """
    global _stock
    _stock = []  # guard: a forked child gives none of its parent's ids away


if hasattr(os, "register_at_fork"):  # to ask for the process id at each job is a system call
    os.register_at_fork(after_in_child=_leave_parents_stock)


def _make(count: int) -> list[str]:
    octets = bytearray(os.urandom(count * _BYTES))
    octets[6::_BYTES] = octets[6::_BYTES].translate(_VERSION)
    octets[8::_BYTES] = octets[8::_BYTES].translate(_VARIANT)
    text = octets.hex()
    return [text[start : start + _DIGITS] for start in range(0, len(text), _DIGITS)]
