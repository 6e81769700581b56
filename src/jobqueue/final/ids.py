"""New job ids: UUID4 in hex (RFC 9562), some hundred at a time.

Each `os.urandom` lets go of the interpreter's lock and so invites a change of threads. One a job
would cost as much as all else that is done for the job.
"""

from __future__ import annotations

import os

_AT_ONCE = 256
_BYTES = 16
_DIGITS = 2 * _BYTES
_VERSION = bytes(octet & 0x0F | 0x40 for octet in range(256))
_VARIANT = bytes(octet & 0x3F | 0x80 for octet in range(256))

_fresh: list[str] = []  # not given to anybody yet


def new_id() -> str:
    """An id that no other job has, here or in a forked child, and that nobody can guess.

    Thread-safe without a lock: each step on the list is atomic.
    """
    while True:
        try:
            return _fresh.pop()
        except IndexError:  # also where others were quicker
            _fresh.extend(_make(_AT_ONCE))


def _make(count: int) -> list[str]:
    octets = bytearray(os.urandom(count * _BYTES))
    octets[6::_BYTES] = octets[6::_BYTES].translate(_VERSION)
    octets[8::_BYTES] = octets[8::_BYTES].translate(_VARIANT)
    text = octets.hex()
    return [text[start : start + _DIGITS] for start in range(0, len(text), _DIGITS)]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fresh.clear)  # the parent will give them away
