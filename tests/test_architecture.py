"""Rules on the code's form that no linter can express.

Who may import whom is told in `pyproject.toml` (`tool.importlinter`) and checked by
`make lint`.
"""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from tests.support.extras import skipped_without_extras

pytestmark = pytest.mark.usefixtures("no_tracer")

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
TESTS = ROOT / "tests"
PACKAGE = SRC / "jobqueue"
LAB = ROOT / "lab"

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 60

# Tests wait on events, never for a while. "file::function" of each exception: its reason.
SLEEPS: dict[str, str] = {
    "tests/support/recording_files.py::RecordingFiles._sync": (
        "a modelled disk takes its time for an fsync, as a real one does; nothing waits for it"
    ),
    "tests/support/pictures.py::main": (
        "no test: the charts of which it makes pictures are of real time, and fill meanwhile"
    ),
}

# The one module of the tests that reaches into the package, and who may do so besides: the reason.
INSIDES = TESTS / "support" / "insides.py"
REACH_IN: dict[str, str] = {
    "tests/lab": "the steps of an experiment are functions of its module, with no other door",
}
# Underscored names that do not belong to the package.
NOT_OURS: dict[str, str] = {
    "_exit": "`os._exit`, a documented function",
    "_replace": "a documented method of a NamedTuple",
    "_bootstrap_inner": "of `threading.Thread`: a thread that is slow to start",
    "_set_ident": "of `threading.Thread`, likewise",
    "_is_gil_enabled": "of `sys`, a documented function",
}


def _modules(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.py"))


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@dataclass(frozen=True)
class Findings:
    """What the rules want to know of one file."""

    long_functions: list[str]
    log_calls: list[str]
    sleeps: set[str]
    private_names: list[str]
    underscored: set[str]


@cache
def _findings(path: Path) -> Findings:
    """All at once: to parse the file takes longer than to look for any of it."""
    tree = _tree(path)
    return Findings(
        long_functions=_long_functions(tree),
        log_calls=list(_log_calls(tree)),
        sleeps=set(_sleeps(tree)),
        private_names=list(_private_names(tree)),
        underscored=set(_underscored(tree)),
    )


def _offenders(paths: Iterable[Path], look: Callable[[Path], object]) -> dict[str, object]:
    """The files in which something was found that should not be there, and what."""
    return {_id(path): found for path in paths if (found := look(path))}


def _id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _module_name(path: Path) -> str:
    top = SRC if PACKAGE in path.parents else ROOT
    parts = path.relative_to(top).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


# --- size ---------------------------------------------------------------------------------


def test_files_of_final_stay_short() -> None:
    def lines_too_many(path: Path) -> int:
        return max(0, len(path.read_text(encoding="utf-8").splitlines()) - FILE_LINES_MAX)

    assert _offenders(_modules(PACKAGE / "final"), lines_too_many) == {}


def test_functions_stay_short() -> None:
    paths = [*_modules(PACKAGE), *_modules(LAB)]
    assert _offenders(paths, lambda path: _findings(path).long_functions) == {}


def _long_functions(tree: ast.Module) -> list[str]:
    return [
        f"{node.name}: {lines} lines"
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or node.lineno) - node.lineno + 1) > FUNCTION_LINES_MAX
    ]


def test_one_line_too_many_is_seen() -> None:
    body = "    pass\n" * FUNCTION_LINES_MAX
    assert _long_functions(ast.parse(f"def f():\n{body}")) == ["f: 61 lines"]
    assert _long_functions(ast.parse(f"def f():\n{body[:-9]}")) == []


# --- public surface -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*sorted(PACKAGE.rglob("__init__.py")), LAB / "__init__.py"], ids=_id
)
def test_package_exports_exactly_what_it_names(path: Path) -> None:
    name = _module_name(path)
    with skipped_without_extras():
        listed = getattr(importlib.import_module(name), "__all__", [])
    assert sorted(listed) == sorted(_public_names(_tree(path), name))


def _public_names(tree: ast.Module, package: str) -> list[str]:
    """Names without underscore that a package's `__init__` defines or takes from its own."""
    return [
        name
        for node in tree.body
        for name in _bound_names(node, package)
        if not name.startswith("_") or name == "__version__"
    ]


def _bound_names(node: ast.stmt, package: str) -> list[str]:
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.ImportFrom(module=module, level=level) if level or _within(module, package):
            return [alias.asname or alias.name for alias in node.names]
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body):  # imported at their first use
            return [name for each in body for name in _bound_names(each, package)]
        case ast.Try(body=body):  # what an extra brings: without it, it is told which
            return [name for each in body for name in _bound_names(each, package)]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []


def _within(module: str | None, package: str) -> bool:
    return module is not None and f"{module}.".startswith(f"{package.partition('.')[0]}.")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import os", []),
        ("from os import path", []),
        ("from .job import Job, _hidden", ["Job"]),
        ("from jobqueue.final import Job as Task", ["Task"]),
        ("class A: ...\ndef b(): ...\nC = 1\nD: int = 2\n_e = 3", ["A", "b", "C", "D"]),
        ("try:\n    from .job import Job\nexcept ImportError:\n    raise", ["Job"]),
        ("__version__ = '1'\n__all__ = ['__version__']", ["__version__"]),
    ],
)
def test_public_names_are_told_from_the_rest(source: str, names: list[str]) -> None:
    assert _public_names(ast.parse(source), "jobqueue") == names


# --- one place makes log records -----------------------------------------------------------

REPORTING = PACKAGE / "final" / "runtime" / "reporting.py"
MAKES_RECORDS = {"debug", "info", "warning", "warn", "error", "exception", "critical", "log"}


def test_only_one_module_of_final_makes_log_records() -> None:
    paths = [path for path in _modules(PACKAGE / "final") if path != REPORTING]
    assert _offenders(paths, lambda path: _findings(path).log_calls) == {}


def _log_calls(tree: ast.Module) -> Iterator[str]:
    """What has to do with a logger: users' log handlers may raise anything, or never come back."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr="getLogger" | "makeRecord" as name):
                yield name
            case ast.Attribute(value=ast.Name(id="logger" | "logging"), attr=name) if (
                name in MAKES_RECORDS
            ):
                yield name
            case ast.ImportFrom(module="logging"):
                yield "from logging"


def test_a_log_record_is_seen_by_any_name() -> None:
    assert list(_log_calls(_tree(REPORTING)))
    for source in ("logging.error('x')", "logger.log(1, 'x')", "from logging import warning"):
        assert list(_log_calls(ast.parse(source)))
    assert list(_log_calls(ast.parse("report(logging.WARNING, 'x')"))) == []


# --- no sleeping tests --------------------------------------------------------------------


def test_no_test_sleeps() -> None:
    sleeps = {
        f"{_id(path)}::{where}" for path in _modules(TESTS) for where in _findings(path).sleeps
    }
    assert sleeps == set(SLEEPS)  # an exception that is needed no longer has to go


def test_exceptions_name_files_that_exist() -> None:
    assert [place for place in SLEEPS if not (ROOT / place.split("::")[0]).is_file()] == []


def _sleeps(tree: ast.Module) -> Iterator[str]:
    """The functions ("" is the module itself) that call `time.sleep`, by any of its names."""
    modules, functions = _names_of_sleep(tree)
    for owner, call in _calls(tree, ""):
        match call.func:
            case ast.Attribute(value=ast.Name(id=name), attr="sleep") if name in modules:
                yield owner
            case ast.Name(id=name) if name in functions:
                yield owner


def _names_of_sleep(tree: ast.Module) -> tuple[set[str], set[str]]:
    modules, functions = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {a.asname or a.name for a in node.names if a.name == "time"}
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            functions |= {a.asname or a.name for a in node.names if a.name == "sleep"}
    return modules, functions


def _calls(node: ast.AST, owner: str) -> Iterator[tuple[str, ast.Call]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call):
            yield owner, child
        inside = owner
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = f"{owner}.{child.name}".lstrip(".")
        yield from _calls(child, inside)


@pytest.mark.parametrize(
    "source",
    [
        "import time\ndef f(): time.sleep(1)",
        "import time as t\ndef f(): t.sleep(1)",
        "from time import sleep\ndef f(): sleep(1)",
        "def f():\n from time import sleep as nap\n nap(1)",
        "import time\ndef f(): g(lambda: time.sleep(1))",
    ],
)
def test_sleep_is_seen_by_any_name(source: str) -> None:
    assert list(_sleeps(ast.parse(source))) == ["f"]


def test_waiting_on_an_event_is_no_sleep() -> None:
    assert list(_sleeps(ast.parse("import time\ntime.monotonic(); event.wait(1)"))) == []


# --- private names ------------------------------------------------------------------------


def _test_modules() -> list[Path]:
    return [
        path
        for path in _modules(TESTS)
        if path != INSIDES and not any(_id(path).startswith(f"{folder}/") for folder in REACH_IN)
    ]


def test_only_one_module_of_the_tests_reaches_into_the_package() -> None:
    found = _offenders(_test_modules(), lambda path: _findings(path).private_names)
    assert found == {}, "ask for it through tests/support/insides.py"


def test_those_who_may_reach_in_still_do() -> None:
    for folder in REACH_IN:
        assert any(_findings(path).private_names for path in _modules(ROOT / folder)), folder
    used = {name for path in _test_modules() for name in _findings(path).underscored}
    assert set(NOT_OURS) <= used


def _private_names(tree: ast.Module) -> Iterator[str]:
    """Underscored names that are asked for elsewhere, and that this module does not define."""
    own = _own_names(tree) | set(NOT_OURS)
    return (name for name in _underscored(tree) if name not in own)


def _underscored(tree: ast.Module) -> Iterator[str]:
    """`x._name`, but for `self._name`, and "_name" as an argument of what gets or sets one."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self" | "cls")):
                pass
            case ast.Attribute(attr=name) if _is_private(name):
                yield name
            case ast.Call(
                func=ast.Name(id="getattr" | "setattr" | "delattr")
                | ast.Attribute(attr="setattr" | "delattr" | "object"),
                args=[_, ast.Constant(value=str(name)), *_],
            ) if _is_private(name):
                yield name
            case ast.ImportFrom(module=module, names=imported) if _within(module, "jobqueue"):
                yield from (alias.name for alias in imported if _is_private(alias.name))


def _own_names(tree: ast.Module) -> set[str]:
    """What the module's classes and functions are called, and what its objects keep."""
    names = set()
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Attribute(value=ast.Name(id="self"), attr=name, ctx=ast.Store()):
                names.add(name)
    return names


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("jq._mutex.acquire()", ["_mutex"]),
        ("f(lambda: jq._pool)", ["_pool"]),
        ("jq._pool = None", ["_pool"]),
        ("monkeypatch.setattr(jq, '_refuse', f)", ["_refuse"]),
        ("patch.object(Tail, '_start', f)", ["_start"]),
        ("getattr(jq, '_life')", ["_life"]),
        ("from jobqueue.final.callers.admission import _Wait", ["_Wait"]),
        ("monkeypatch.setattr(subprocess, 'Popen', f)", []),
        ("os._exit(0); jq.__class__; insides.mutex(jq)", []),
        ("class A:\n def f(self): self._x = 1\nA()._x", []),
    ],
)
def test_private_names_are_told_from_the_rest(source: str, names: list[str]) -> None:
    assert list(_private_names(ast.parse(source))) == names
