"""Checks of names and ids that users hand in; an error says what is wrong with them."""

from __future__ import annotations

from ..exact import exact_str

ID_LENGTH_MAX = 255


def check_text(what: str, text: object) -> str:
    """The text as a `str`.

    Raises:
        TypeError: it is no text.
        ValueError: it has not 1 to 255 characters, or UTF-8 cannot hold it.
    """
    if not isinstance(text, str):
        raise TypeError(f"{what} must be text (str), not {type(text).__name__}")
    exact = exact_str(text)
    if not 0 < len(exact) <= ID_LENGTH_MAX:
        raise ValueError(f"{what} must have 1 to {ID_LENGTH_MAX} characters, not {len(exact)}")
    check_utf8(what, exact)
    return exact


def check_utf8(what: str, text: str) -> None:
    """Raises `ValueError` if UTF-8 cannot hold the text, an exact `str`."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(
            f"{what} has a lone surrogate, which UTF-8 cannot hold: {text!r}"
        ) from None


def check_id(job_id: object) -> str:
    """An id that a job is looked up by, as a `str`.

    Raises:
        TypeError: it is no text, so that no job can have it.
    """
    if not isinstance(job_id, str):
        raise TypeError(f"a job's id is text (str), not {type(job_id).__name__}")
    return exact_str(job_id)
