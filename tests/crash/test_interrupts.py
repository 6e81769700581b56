"""KeyboardInterrupt by real signals: the queue stays usable, or is closed, and keeps its word.

`tests/final/test_races.py` interrupts at each place in turn; here they hit whatever runs.
"""

from __future__ import annotations

import ast
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

import jobqueue.final
from jobqueue.final import Config, JobQueue, Status
from tests.support.children import run_json
from tests.support.left_out import often
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.usefixtures("no_tracer")

SOURCES = sorted(Path(jobqueue.final.__file__).parent.rglob("*.py"))
TRIES = {
    "enqueue": often(600, 1500),
    "blocked": often(400, 1000),
    "join": often(200, 500),
    "close": often(20, 40),
}
INTERRUPTED_MIN = 0.2  # of all tries: else this would test nothing


@pytest.mark.slow
@pytest.mark.parametrize(
    ("durability", "how"),
    [
        ("memory", "timer"),
        ("write", "thread"),
        pytest.param("fsync", "timer", marks=pytest.mark.daily),
    ],
)
@pytest.mark.parametrize("what", TRIES)
def test_whatever_is_interrupted_the_queue_stays_usable_and_keeps_what_it_accepted(
    tmp_path: Path, what: str, durability: str, how: str
) -> None:
    """Fault 16 of docs/reliability.md."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    tries = TRIES[what] // (4 if durability == "fsync" else 1)

    found = run_json("interrupted", what, how, durability, tmp_path, tries, seed)

    assert found["interrupted"] >= tries * INTERRUPTED_MIN
    if durability != "memory":
        _assert_kept(tmp_path, what, found["accepted"])


def _assert_kept(directory: Path, what: str, accepted: list[str]) -> None:
    """The accepted jobs are in the log, or logs, and were run."""
    logs: dict[str, list[str]] = defaultdict(list)
    for job_id in accepted:
        logs[job_id.split("-")[0] if what == "close" else "0"].append(job_id)
    for name, ids in logs.items():
        with JobQueue(Config(persist_path=directory / name), handler=len) as jq:
            assert jq.join(PATIENCE)
            assert {jq.status(job_id) for job_id in ids} == {Status.COMPLETED}


def test_no_loop_stands_where_an_interrupt_would_pass_by_what_cleans_up() -> None:
    """From 3.12 on, `while condition` ends in a jump that belongs to no `try` or `with` around it.

    An exception that a signal raises there passes by their handlers: a lock would stay taken. In
    a function of its own the loop does no harm, and neither on a thread that sees no signals.
    """
    own_threads = {"timer.py: _run", "log_thread.py: _run", "link.py: _run", "visitor.py: _go_on"}
    own_threads |= {"greeting.py: greet"}  # the link's
    harmless = {"admission.py: accept_all", "cut.py: _keep_copy"}  # nothing is left taken

    found = {f"{path.name}: {name}" for path in SOURCES for name in _risky_loops(path)}

    assert found <= own_threads | harmless


def _risky_loops(path: Path) -> Iterator[str]:
    """The functions with a loop that has a condition inside of a `try` or `with`."""
    for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(function, ast.FunctionDef):
            yield from (function.name for block in _blocks(function) if _has_loop(block))


def _blocks(function: ast.FunctionDef) -> Iterator[ast.AST]:
    return (node for node in _own_nodes(function) if isinstance(node, ast.With | ast.Try))


def _has_loop(block: ast.AST) -> bool:
    return any(
        isinstance(node, ast.While) and not isinstance(node.test, ast.Constant)
        for node in _own_nodes(block)
    )


def _own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """All nodes below, but for those of functions that are defined there."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.Lambda):
            yield child
            yield from _own_nodes(child)


@pytest.mark.parametrize(
    ("body", "risky"),
    [
        ("with lock:\n  while queue:\n   queue.pop()", True),
        ("try:\n  for x in y:\n   while x: x()\n finally: z()", True),
        ("with lock:\n  while True:\n   queue.pop()", False),
        ("with lock:\n  for each in queue:\n   each()", False),
        ("while queue:\n  with lock: queue.pop()", False),
    ],
)
def test_such_a_loop_is_seen(tmp_path: Path, body: str, risky: bool) -> None:
    path = tmp_path / "source.py"
    path.write_text(f"def f():\n {body}\n")

    assert list(_risky_loops(path)) == ["f"] * risky
