"""What was meant by a name that nobody knows, for error messages.

`difflib` is loaded when such an error is made, and not before.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Function = TypeVar("Function", bound="Callable[..., Any]")

_COMPARED_MAX = 1000
"""With so many names at most one is compared: that takes some milliseconds."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The name that is most like this one, if one is much like it; upper case does not matter.

    One that has other digits is none: `tenant-1` is no misspelt `tenant-2`.
    """
    from difflib import get_close_matches
    from itertools import islice

    shape = _without_digits(name)
    folded = {
        each.casefold(): each
        for each in islice(known, _COMPARED_MAX)
        if _without_digits(each) != shape
    }
    found = get_close_matches(name.casefold(), folded, n=1)
    return folded[found[0]] if found else None


def _without_digits(name: str) -> str:
    return "".join("0" if each.isdigit() else each for each in name)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a message on a name that is not known: "; did you mean 'x'?", or nothing."""
    found = nearest(name, known)
    return "" if found is None else f"; did you mean {found!r}?"


def unknown_name(what: str, name: str, known: Iterable[str]) -> str:
    """The message on a name that is not known: the one that may be meant, or all there are."""
    names = list(known)
    return f"{what} {name!r}{did_you_mean(name, names) or '; there are ' + ', '.join(names)}"


def tells_names(
    what: str, names: Callable[[], Iterable[str]] | None = None
) -> Callable[[Function], Function]:
    """Decorator: of a keyword that the function does not take, tell which one was meant.

    It costs a call more. Python tells that by itself from 3.13 on, but not what else there is.

    Args:
        what: how the message begins, as in "Config has no setting".
        names: gives the keywords that there are, if they are needed; those of the function itself,
            if it takes no others.

    Returns:
        What makes the function raise `TypeError` in these words. Its other errors stay as they are.
    """

    def wrap(function: Function) -> Function:
        @wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            try:
                return function(*args, **options)
            except TypeError:
                known = list(_keywords_of(function) if names is None else names())
                unknown = next((each for each in options if each not in known), None)
                if unknown is None:
                    raise
            raise TypeError(unknown_name(what, unknown, known))

        return cast("Function", call)

    return wrap


def _keywords_of(function: Any) -> Iterable[str]:
    code = function.__code__
    named = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    return (each for each in named[code.co_posonlyargcount :] if each != "self")
