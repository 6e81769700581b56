"""Takes the guards out of the code, one at a time, and shows that the tests notice each.

    make mutants                        all of them
    make mutants ARGS='flock sealing'   those with one of these words in their name

Each mutant is a copy of the code without one of the guards that stand beside their lines, see
`tests/support/guards.py`. First the tests have to pass with all guards in place; then some of them
have to fail for each mutant: it is killed. Ends with 0 if all were, with 1 if one survived, with 2
if that cannot be told.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.guards import FINAL, Guard, all_guards

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
TEST_SECONDS_MAX = 20
RUN_SECONDS_MAX = 120
PLUGINS_LEFT_OUT = ("cacheprovider", "faker", "randomly")  # faker takes long to import
PYTEST = ("-m", "pytest", "-v", "-x", *(f"-pno:{name}" for name in PLUGINS_LEFT_OUT))
PASSED, FAILED = 0, 1
TRIES = 3
MISCOUNTED = "AST constructor recursion depth mismatch"
"""CPython 3.11 counts for all threads together how deep `ast.parse` is. So if another thread prints
a traceback meanwhile, pytest breaks off as it shows a failure: such a run is tried again."""
_IGNORED = shutil.ignore_patterns("__pycache__")


class UntellableError(Exception):
    """Whether a mutant survives cannot be told."""


@dataclass(frozen=True)
class Run:
    """What came of some tests.

    Attributes:
        failed: the test that failed, or did not come to an end; `None` where all passed.
        output: what pytest printed.
    """

    failed: str | None
    seconds: float
    output: str = ""


def copy_tree(source: Path, target: Path) -> None:
    """Copy code and tests."""
    for name in ("src", "tests"):
        shutil.copytree(source / name, target / name, ignore=_IGNORED)
    shutil.copy2(source / "pyproject.toml", target)


def run(tree: Path, tests: Sequence[str], *, slow: bool = False) -> Run:
    """Run tests of a tree on its own code until one fails; the slow ones where they are asked for.

    Raises:
        UntellableError: pytest could not run them.
    """
    for _ in range(TRIES - 1):
        try:
            return _run(tree, tests, slow=slow)
        except UntellableError as error:
            if MISCOUNTED not in str(error):
                raise
    return _run(tree, tests, slow=slow)


def _run(tree: Path, tests: Sequence[str], *, slow: bool) -> Run:
    began = time.monotonic()
    which = () if slow else ("-m", "not slow")
    command = [sys.executable, *PYTEST, f"--timeout={TEST_SECONDS_MAX}", *which, *tests]
    environment = os.environ | {"PYTHONPATH": str(tree / "src"), "CI": "1"}
    process = subprocess.Popen(
        command,
        cwd=tree,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=RUN_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        output, _ = process.communicate()
    seconds = time.monotonic() - began
    if process.returncode == PASSED:
        return Run(None, seconds)
    failed = _last_test(output)
    if failed is None or process.returncode > FAILED:
        raise UntellableError(f"pytest ended with {process.returncode}:\n{output}")
    return Run(failed, seconds, output)


def _last_test(output: str) -> str | None:
    """The last test that pytest names; with -x that is the one that failed, or never ended."""
    names = [line.split()[0] for line in output.splitlines() if line.startswith("tests/")]
    return next((name for name in reversed(names) if "::" in name), None)


def try_without(guard: Guard, sound: Path, place: Path) -> Run | UntellableError:
    """Run the guard's tests on a copy of the sound tree that lacks it."""
    tree = place / f"{all_guards().index(guard):02d}"
    copy_tree(sound, tree)
    (tree / FINAL / guard.file).write_text(guard.text, encoding="utf-8")
    try:
        return run(tree, guard.tests, slow=guard.slow)
    except UntellableError as error:
        return error
    finally:
        shutil.rmtree(tree)


def check_sound(sound: Path, guards: Iterable[Guard], pool: ThreadPoolExecutor) -> None:
    """Raises `UntellableError` where tests fail with all guards in place."""
    began = time.monotonic()
    tests = sorted({(test, guard.slow) for guard in guards for test in guard.tests})
    for outcome in pool.map(lambda test: run(sound, test[:1], slow=test[1]), tests):
        if outcome.failed is not None:
            raise UntellableError(
                f"with all guards in place {outcome.failed} fails:\n{outcome.output}"
            )
    seconds = time.monotonic() - began
    print(f"with all guards in place {len(tests)} files pass in {seconds:.0f} s\n", flush=True)


def try_all(guards: Sequence[Guard]) -> Iterator[tuple[Guard, Run | UntellableError]]:
    """Try each guard, as many at a time as there are processors.

    Raises:
        UntellableError: a test fails with all guards in place.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        place = Path(directory)
        sound = place / "sound"
        copy_tree(ROOT, sound)
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            check_sound(sound, guards, pool)
            runs = pool.map(lambda guard: try_without(guard, sound, place), guards)
            yield from zip(guards, runs, strict=True)


def main(words: Sequence[str]) -> int:
    """Print what becomes of each mutant; see the module."""
    guards = [g for g in all_guards() if not words or any(word in g.name for word in words)]
    if not guards:
        print("no guard has one of these words in its name", file=sys.stderr)
        return 2
    survivors = untold = 0
    began = time.monotonic()
    try:
        for guard, outcome in try_all(guards):
            if isinstance(outcome, UntellableError):
                untold += 1
                print(f"{guard.name:48} {guard.file:30} CANNOT BE TOLD: {outcome}", flush=True)
                continue
            killer = outcome.failed or "SURVIVED"
            survivors += outcome.failed is None
            print(f"{guard.name:48} {guard.file:30} {outcome.seconds:5.1f} s  {killer}", flush=True)
    except UntellableError as error:
        print(error, file=sys.stderr)
        return 2
    seconds = time.monotonic() - began
    killed = len(guards) - survivors - untold
    print(f"\n{killed} of {len(guards)} mutants killed in {seconds:.0f} s")
    return 1 if survivors else 2 if untold else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
