"""A client's call on its way: what is sent, and who is told the answer.

Whose thread: guarded by the lock of the link that has it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .frames import framed
from .messages import Request, pack

if TYPE_CHECKING:
    from collections.abc import Callable

    import msgspec

    from .messages import Answer


class Pending:
    """A request that is not answered yet.

    Attributes:
        tell: called once, with the answer, by the link's thread or by who closes it; never raises.
        sent: whether an owner may have got it.
        began: when it was made, in monotonic seconds.
        is_led: whether a thread waits for it, and may read the answers meanwhile.
        left_at: when an owner that closes has left it to the next one.
    """

    __slots__ = ("arguments", "began", "call", "is_led", "left_at", "number", "sent", "tell")

    def __init__(
        self,
        number: int,
        call: str,
        arguments: msgspec.Raw,
        tell: Callable[[Answer], object],
        began: float,
        *,
        is_led: bool,
    ) -> None:
        self.number = number
        self.call = call
        self.arguments = arguments
        self.tell = tell
        self.began = began
        self.is_led = is_led
        self.left_at: float | None = None
        self.sent = False

    def frame(self) -> bytes:
        """The request as it is sent."""
        return framed(pack(Request(self.number, self.call, self.sent, self.arguments)))
