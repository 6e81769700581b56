"""The dashboard's own files: style, script, icons. Nothing is loaded from elsewhere."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from starlette.responses import Response

from .errors import MissingError

_KINDS = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
NAMES = (
    "htmx.LICENSE.txt",
    "htmx.min.js",
    "icon-bad.svg",
    "icon-ok.svg",
    "icon-warn.svg",
    "live.js",
    "style.css",
)


@cache
def contents(name: str) -> bytes:
    """The bytes of one of the files."""
    return (files(__package__) / "static" / name).read_bytes()


def file_response(name: str) -> Response:
    """One of the files.

    Raises:
        Missing: there is none of this name.
    """
    if name not in NAMES:
        raise MissingError("The dashboard has no such file.")
    kind = _KINDS[name.rpartition(".")[2]]
    return Response(contents(name), headers={"Content-Type": kind})
