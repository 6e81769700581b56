"""How numbers, times and texts are shown. Whatever is returned is text that templates escape."""

from __future__ import annotations

import json
import math
import unicodedata
from codecs import utf_8_decode
from datetime import UTC, datetime
from hashlib import blake2s
from urllib.parse import quote, urlencode

TEXT_MAX = 300
PAYLOAD_MAX = 32_768
"""Characters of a payload, or of a result, that are shown."""
_CUT = "…"
_HIDDEN = {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"  # within words of some languages, and within emoji


def visible(text: str, limit: int = TEXT_MAX, *, lines: bool = False) -> str:
    """A text as it can be shown: cut, and with what cannot be seen, or turns text around, as codes.

    Args:
        limit: how many characters at most.
        lines: whether line ends and tabs stay.
    """
    cut = text[:limit] + _CUT if len(text) > limit else text
    if cut.isascii() and cut.isprintable():
        return cut
    return "".join(_seen(each, lines=lines) for each in cut)


def _seen(character: str, *, lines: bool) -> str:
    if (lines and character in "\n\t") or character in _JOINERS:
        return character
    if unicodedata.category(character) in _HIDDEN:
        code = ord(character)
        return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    return character


def as_text(value: object) -> str:
    """A payload or a result as text: JSON with indents, else text, else bytes in hexadecimal.

    What `serve_dashboard(queue, payload=as_text)` shows payloads and results with. Write one of
    your own to leave out what nobody is to see.
    """
    if isinstance(value, bytes):
        try:
            # Where it is cut, a character may end that has begun; at the payload's own end, none.
            is_whole = len(value) <= 4 * PAYLOAD_MAX
            text, _ = utf_8_decode(value[: 4 * PAYLOAD_MAX], "strict", is_whole)
        except UnicodeDecodeError:
            return _hexadecimal(value)
        if len(value) > PAYLOAD_MAX:
            return text
        try:
            value = json.loads(text)
        except ValueError:  # it is no JSON, or nested deeper than can be read
            return text
        except RecursionError:
            return text
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, default=repr)
    except (ValueError, TypeError, RecursionError):
        return repr(value)


def _hexadecimal(data: bytes) -> str:
    rows = [data[at : at + 16] for at in range(0, min(len(data), PAYLOAD_MAX // 4), 16)]
    more = _CUT if len(data) > PAYLOAD_MAX // 4 else ""
    return "\n".join(f"{16 * n:06x}  {row.hex(' ')}" for n, row in enumerate(rows)) + more


def duration(seconds: float | None) -> str:
    """So many seconds, to two places or so: "340 ms", "4.2 s", "3 min 20 s", "2 h 5 min"."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    seconds = max(0.0, seconds)
    if seconds == 0:
        return "0 s"
    if seconds < 0.001:
        return f"{1e6 * seconds:.0f} µs"
    if seconds < 0.9995:
        return f"{1e3 * seconds:.{0 if seconds >= 0.01 else 1}f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def whole(seconds: float | None) -> str:
    """The same without fractions, for what is told anew every two seconds."""
    if seconds is None or not math.isfinite(seconds) or seconds >= 59.5:
        return duration(seconds)
    return f"{max(0, round(seconds))} s"


def moment(wall: float | None) -> str:
    """A Unix time in UTC: "2026-11-29 10:00:00"."""
    if wall is None:
        return "–"
    try:
        return datetime.fromtimestamp(wall, UTC).strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):
        return f"{wall:.0f}"


def iso(wall: float) -> str:
    """A Unix time as the attribute `datetime` has it."""
    return moment(wall).replace(" ", "T") + "Z"


def number(count: float) -> str:
    """A count with a comma between thousands."""
    return f"{count:,.0f}"


def rate(per_second: float) -> str:
    """So many a second."""
    if per_second >= 100:
        return number(per_second)
    return f"{per_second:.1f}" if per_second else "0"


def share(part: float, whole_: float) -> str:
    """A fraction as a percentage; "–" of nothing."""
    if not whole_:
        return "–"
    if not part:
        return "0 %"
    percent = 100 * part / whole_
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if not percent:
        return "0 %"
    return f"{percent:.1f} %" if percent < 10 else f"{percent:.0f} %"


def size(count: int) -> str:
    """So many bytes: "4.2 MiB"."""
    if count < 1024:
        return f"{count} B"
    value, units = count / 1024, ["KiB", "MiB", "GiB"]
    while value >= 1024 and len(units) > 1:
        value /= 1024
        del units[0]
    return f"{value:.1f} {units[0]}"


def link(page: str, **parameters: str | int | None) -> str:
    """A link to a page of the dashboard: names and ids are in its query."""
    given = {name: str(value) for name, value in parameters.items() if value not in {None, ""}}
    return f"{page}?{urlencode(given, quote_via=quote, safe='')}" if given else page


def in_form(text: str) -> str:
    """A text as the value of a hidden field: a browser would change line ends, and more."""
    return quote(text, safe="")


def row_id(of: object) -> str:
    """The id of a row that shows this: by it the row stays the same one when the page is refreshed.

    So what has the keyboard's focus keeps it, though other rows come before it.
    """
    name = repr(of).encode("utf-8", "backslashreplace")
    return f"row-{blake2s(name, digest_size=8).hexdigest()}"
