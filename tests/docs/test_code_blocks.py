"""The Python blocks of README and docs run as they stand, each page as one program.

Blocks of a page run in their order and in one namespace, that of a main module, in an empty
directory. A test runs a whole page, since the suite shuffles tests. What stands behind a print,
as in `print(x)  # 1`, has to be printed (`…` stands for anything). A page must leave no thread and
no open file behind. Blocks with a title are quotations: see `test_quotations`.

A page may import modules that it takes as the reader's own: they stand in `modules`.
"""

from __future__ import annotations

import gc
import logging
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from sybil import Document, Example, Region
from sybil.parsers.markdown.lexers import FencedCodeBlockLexer

from jobqueue import JobQueue
from tests.support.extras import skipped_without_extras
from tests.support.pages import PAGES, blocks_of, page_id

READERS_MODULES = Path(__file__).parent / "modules"
PROMISED = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)
THREAD_END_SECONDS_MAX = 10.0
SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)

WITH_PYTHON = [
    page
    for page in PAGES
    if any(block.info == "python" for block in blocks_of(page.read_text(encoding="utf-8")))
]


class Program:
    """What a reader gets who copies the blocks of a page into one file, as far as they have run.

    The file is there for worker processes, which import a program's main module again.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "page.py"
        self.file.write_text("", encoding="utf-8")
        self.module = ModuleType("__main__")
        self.module.__file__ = str(self.file)

    def __call__(self, document: Document) -> Iterator[Region]:
        """Be a parser: find the blocks, and name who is to run them."""
        for region in FencedCodeBlockLexer("python")(document):
            region.parsed, region.evaluator = region.lexemes["source"], self.run
            yield region

    def run(self, example: Example) -> None:
        source = str(example.parsed)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(source)
        lines_above = "\n" * (example.line + example.parsed.line_offset)
        exec(compile(lines_above + source, example.path, "exec"), vars(self.module))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current directory, from which modules can be imported until the test ends."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.syspath_prepend(READERS_MODULES)
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if _is_below(sys.modules[name], tmp_path, READERS_MODULES):
            del sys.modules[name]


def _is_below(module: ModuleType, *folders: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and any(Path(file).is_relative_to(each) for each in folders)


@contextmanager
def closed_if_skipped(program: Program) -> Iterator[None]:
    """Close what the blocks before have opened, if the test is skipped in the midst of a page."""
    try:
        yield
    except pytest.skip.Exception:
        for each in vars(program.module).values():
            if isinstance(each, JobQueue):
                each.close(0, drain=False)
        raise


@contextmanager
def process_as_before() -> Iterator[None]:
    """Take back what a program may set for its whole process."""
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    loggers = [logging.getLogger(), logging.getLogger("jobqueue")]
    logs = [
        (logger, logger.handlers[:], logger.filters[:], logger.level, logger.propagate)
        for logger in loggers
    ]
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for logger, its_handlers, its_filters, level, propagate in logs:
            logger.handlers[:], logger.filters[:] = its_handlers, its_filters
            logger.propagate = propagate
            logger.setLevel(level)


@pytest.mark.slow
@pytest.mark.parametrize("page", WITH_PYTHON, ids=page_id)
def test_the_blocks_of_a_page_run_and_print_what_they_say(
    page: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    program = Program(folder)
    document = Document.parse(str(page), program)
    monkeypatch.setitem(sys.modules, "__main__", program.module)
    before = set(threading.enumerate())

    with process_as_before(), closed_if_skipped(program), skipped_without_extras():
        for example in document.examples():
            example.evaluate()

    text = program.file.read_text(encoding="utf-8")
    not_printed = _promises_not_kept(text, capsys.readouterr().out)
    assert not not_printed, "promised behind a print, but not printed:\n" + "\n".join(not_printed)
    assert _alive(set(threading.enumerate()) - before) == []
    vars(program.module).clear()
    gc.collect()  # an unclosed file is reported now, by the test that is to blame


def _promises_not_kept(program: str, printed: str) -> list[str]:
    lines = printed.splitlines()
    return [
        promise
        for promise in PROMISED.findall(program)
        if not any(_pattern(promise).fullmatch(line.strip()) for line in lines)
    ]


def _pattern(promise: str) -> re.Pattern[str]:
    return re.compile(".*".join(re.escape(part) for part in promise.split("…")))


def _alive(threads: set[threading.Thread]) -> list[str]:
    deadline = time.monotonic() + THREAD_END_SECONDS_MAX
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [thread.name for thread in threads if thread.is_alive()]


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_a_python_block_is_either_run_or_a_quotation(page: Path) -> None:
    """A fence with anything else behind it would silently be left out."""
    python = [
        block
        for block in blocks_of(page.read_text(encoding="utf-8"))
        if block.language.lower().startswith(("py", "{"))
    ]
    assert [
        f"line {block.line - 1}: {block.info}"
        for block in python
        if not re.fullmatch(r'python( title="[^"]+")?', block.info)
    ] == []


def test_a_promise_that_is_not_kept_is_seen() -> None:
    program = "print(a)  # 1\n    print(b)  # took … s\nprint(c)  # 3\nprint(d)\n"
    assert _promises_not_kept(program, "1\ntook 0.25 s\n3\n") == []
    assert _promises_not_kept(program, "1\ntook long\n33\n") == ["took … s", "3"]


def test_a_block_fails_with_the_line_of_its_page(folder: Path) -> None:
    page = folder / "page.md"
    page.write_text("# A\n\n```python\nx = 1\n```\n\n```python\nassert x == 1\nx / 0\n```\n")
    document = Document.parse(str(page), Program(folder))

    with pytest.raises(ZeroDivisionError) as failure:
        for example in document.examples():
            example.evaluate()

    assert failure.traceback[-1].path == page
    assert failure.traceback[-1].lineno + 1 == 9
