"""Tells a log of a later format from a damaged one."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from ...errors import LogVersionError
from ..format.codec import VERSION, Header
from ..names import list_present
from .scan import blames_the_file, scan

if TYPE_CHECKING:
    from ..files import Files
    from ..names import LogFile

__all__ = ["refuse_later_version"]


def refuse_later_version(files: Files, directory: str) -> None:
    """Look at the headers of all files, before anything else can be taken for damage.

    Raises:
        LogVersionError: one is of a format that a later release has written.
        OSError: a file cannot be read, though it is a regular file.
    """
    for file in list_present(files, directory).files:
        version = _version(files, file)
        if version > VERSION:  # guard: a later format is no damage
            raise LogVersionError(
                directory,
                file.name,
                0,
                f"its format version is {version}, this release reads {VERSION}",
            )


def _version(files: Files, file: LogFile) -> int:
    """Read the version of a file; if it does not tell, that is damage, not another version."""
    try:
        with closing(scan(files, file)) as items:
            first = next(items, None)
    except OSError as error:
        if not blames_the_file(error):
            raise
        return VERSION
    return first.version if isinstance(first, Header) else VERSION
