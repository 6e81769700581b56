"""Every message of the package in one file, for whoever reads them all at once.

    python -m tests.support.messages >messages.txt

A message says what happened, to which job or file, and what to do. To see whether each does, they
have to be read one after the other: the errors that are raised, the log records, and what the
command complains of, each with its place. What a message is put together of stands in braces.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "jobqueue"
REPORTS = ("report", "_report", "report_job", "tell_failure", "complain")
"""Functions and methods that make a record, or a line on stderr."""
_LEVELS = ("debug", "info", "warning", "error", "exception", "critical")


class Message(NamedTuple):
    """A message in the sources.

    Attributes:
        where: file and line.
        kind: the class of the error, or what makes the record.
        text: the words, with the expressions in braces.
    """

    where: str
    kind: str
    text: str


@cache
def all_messages(package: Path = PACKAGE) -> list[Message]:
    """All of them, in the order of the files."""
    return [each for path in sorted(package.rglob("*.py")) for each in messages_in(path)]


def messages_in(path: Path) -> Iterator[Message]:
    """Those of one file."""
    file = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        call = _message_of(node)
        if call is None:
            continue
        text = " | ".join(
            filter(None, map(_words, [*call.args, *(k.value for k in call.keywords)]))
        )
        if text:
            yield Message(f"{file}:{call.lineno}", _name(call.func), text)


def _message_of(node: ast.AST) -> ast.Call | None:
    """The call that makes an error or a record, if this is one."""
    if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        return node.exc
    if not isinstance(node, ast.Call):
        return None
    name = _name(node.func)
    is_log = isinstance(node.func, ast.Attribute) and name in _LEVELS
    made_elsewhere = name.endswith(("Error", "Warning")) and name[0].isupper()
    return node if is_log or name in REPORTS or made_elsewhere else None


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ast.unparse(function)


def _words(node: ast.expr) -> str:
    """The text of an argument; nothing if it has none."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(
            f"{{{ast.unparse(part.value)}}}"
            if isinstance(part, ast.FormattedValue)
            else _words(part)
            for part in node.values
        )
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return _words(node.left) + _words(node.right)
    return f"{{{ast.unparse(node)}}}" if isinstance(node, (ast.Name, ast.Call)) else ""


def main() -> None:
    """Write them to stdout, each once."""
    for each in dict.fromkeys(all_messages()):
        sys.stdout.write(f"{each.where}  {each.kind}\n    {each.text}\n")


if __name__ == "__main__":
    main()
