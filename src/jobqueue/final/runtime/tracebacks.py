"""Tracebacks that tell where an error was raised and hold nothing of those who raised it.

A frame holds its variables and its function, and that holds variables of the functions around it.
`frame.clear` lets go of the first alone. So other frames stand in for those of a kept error: of
generators that are never run, whose code has the same file and names; the line is the traceback's
own. What prints a traceback asks for no more. Only the marks below a part of a line are lost: they
are found by the code's own table, and a table that does not fit its code would be read beyond its
end. Cf. the library tblib, which makes its frames by raising in them.
"""

from __future__ import annotations

import traceback
from types import FunctionType, TracebackType
from typing import TYPE_CHECKING, Any

from .reporting import trace_of

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import FrameType

_NOWHERE = -1
"""In the place of an instruction."""
_OF_MODULE = ("__name__", "__file__", "__loader__", "__spec__")
"""By these globals of a frame the lines of its file are found."""
# What C defines, for classes of users may override the attributes.
_cause: Any = vars(BaseException)["__cause__"]
_context: Any = vars(BaseException)["__context__"]
_members: Any = vars(BaseExceptionGroup)["exceptions"]


def stand_in_for(trace: TracebackType | None) -> TracebackType | None:
    """A traceback that prints as this one does, and holds nothing."""
    entries = []
    while trace is not None:
        entries.append(trace)
        trace = trace.tb_next
    frames: dict[tuple[int, int], FrameType] = {}  # a function may call itself a thousand times
    made = None
    for entry in reversed(entries):
        frame = entry.tb_frame
        line: Any = entry.tb_lineno  # None if the code does not tell
        key = id(frame.f_code), id(frame.f_globals)
        if key not in frames:
            frames[key] = _stand_in(frame)
        made = TracebackType(made, frames[key], _NOWHERE, -1 if line is None else line)
    return made


def let_go(error: BaseException, trace: TracebackType | None, made: TracebackType | None) -> None:
    """Let go of all that the frames hold in which an error and what led to it were raised.

    Args:
        trace: what the error's traceback was. If it is another one now, the error has been raised
            again meanwhile, from its handle: then the frames in it are those of a caller.
        made: what stands in for it.
    """
    if trace_of(error) is trace:
        BaseException.with_traceback(error, made)
    traces, seen, left = [trace], {id(error)}, _that_led_to(error)
    while left:
        each = left.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        traces.append(trace_of(each))
        BaseException.with_traceback(each, stand_in_for(traces[-1]))
        left += _that_led_to(each)
    for old in traces:  # a log handler may have kept it
        traceback.clear_frames(old)


def _that_led_to(error: BaseException) -> list[BaseException | None]:
    found = [_cause.__get__(error), _context.__get__(error)]
    if issubclass(type(error), BaseExceptionGroup):
        found += _members.__get__(error)
    return found


def _never_run() -> Generator[None, None, None]:
    yield


def _stand_in(frame: FrameType) -> FrameType:
    """A frame of the same function in the same module, but without variables."""
    code, module = frame.f_code, frame.f_globals
    same = _never_run.__code__.replace(
        co_filename=code.co_filename,
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_firstlineno=code.co_firstlineno,
    )
    own = {name: dict.get(module, name) for name in _OF_MODULE}
    made: FrameType = FunctionType(same, own)().gi_frame
    return made
