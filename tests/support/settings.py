"""`python -m tests.support.settings`: writes the table of all settings into the reference.

Names and defaults are those of `Config`, and what a setting is for is the first part of what its
docstring says. The table stands in the block `<!-- settings -->`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import fields

from jobqueue import Config
from tests.support.pages import DOCS

PAGE = DOCS / "reference" / "config.md"
BLOCK = re.compile(r"(?<=<!-- settings -->\n).*?(?=<!-- /settings -->)", re.DOTALL)
ATTRIBUTES = re.compile(r"^Attributes:\n(.*?)^$", re.DOTALL | re.MULTILINE)
ATTRIBUTE = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w|\Z)", re.DOTALL | re.MULTILINE)
MIB = 1024 * 1024


def table() -> str:
    """The table, as Markdown."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    told = {name: " ".join(text.split()) for name, text in ATTRIBUTE.findall(_attributes())}
    yield "| setting | default | |"
    yield "|---|---|---|"
    for field in fields(Config):
        first, _, _ = told[field.name].partition(". ")
        first = re.split(r": |; |, if the ", first)[0].rstrip(".")
        yield f"| `{field.name}` | {_shown(field.default)} | {first.replace('|', chr(92) + '|')} |"


def _attributes() -> str:
    text = inspect.cleandoc(Config.__doc__ or "")  # Python 3.13 has it without indentation
    found = ATTRIBUTES.search(text)
    assert found is not None
    return found[1]


def _shown(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value // MIB} MiB" if value >= MIB and value % MIB == 0 else f"{value:,}"
    return f"`{value!r}`".replace("'", '"')


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda _: f"\n{table()}\n", text), encoding="utf-8")


if __name__ == "__main__":
    main()
