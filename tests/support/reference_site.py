"""What `make docs` does to the reference: no private name stands in a signature.

Both parts are named in `mkdocs.yml`. A parameter that begins with an underscore is for the library
itself, or for its tests, and is left out of what users read. Any other private name is a warning,
which ends the build: mend the signature in the source.
"""

from __future__ import annotations

import html
import logging
import re
from typing import Any

from griffe import Extension, Function, Parameters

LOG = logging.getLogger("mkdocs.plugins.reference_site")
SIGNATURE = re.compile(r'<div class="[^"]*doc-signature[^"]*".*?</div>', re.DOTALL)
TAG = re.compile(r"<[^>]+>")
PRIVATE = re.compile(r"(?<![\w.])_[A-Za-z]\w*")


class PublicParameters(Extension):  # type: ignore[misc]  # griffe is there for `make docs` alone
    """Leaves private parameters out."""

    def on_function(self, *, func: Function, **_: Any) -> None:
        shown = (each for each in func.parameters if not PRIVATE.fullmatch(each.name))
        func.parameters = Parameters(*shown)


def on_page_content(content: str, page: Any, **_: Any) -> None:
    """Have the build fail if a signature of a page has a private name in it."""
    for signature in SIGNATURE.findall(content):
        text = html.unescape(TAG.sub("", signature))
        for name in PRIVATE.findall(text):
            LOG.warning("%s: a signature has the private name %s: %s", page.file, name, text)
