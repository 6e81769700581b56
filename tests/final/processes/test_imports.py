"""Which handlers a process can import by name, and what is said of the others."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from multiprocessing import spawn
from pathlib import Path

import pytest

from jobqueue.final import Config, ConfigError, Job, JobQueue, RejectJobError
from jobqueue.final.processes.imports import import_path, reference_to
from tests.support import process_handlers as handlers
from tests.support.waiting import PATIENCE

SCRIPT_SECONDS_MAX = 60.0
SRC = Path(__file__).parents[3] / "src"


class Shelf:
    """Functions in a class."""

    @staticmethod
    def static(payload: bytes) -> bytes:
        return payload

    def method(self, payload: bytes) -> bytes:
        return payload

    def __call__(self, payload: bytes) -> bytes:
        return payload


def refused(function: Callable[..., object]) -> str:
    with pytest.raises(ValueError) as caught:
        reference_to(function)
    return str(caught.value)


def local() -> Callable[[bytes], bytes]:
    def function(payload: bytes) -> bytes:
        return payload

    return function


@pytest.mark.parametrize(
    "function",
    [
        lambda payload: payload,
        local(),
        Shelf(),
        Shelf().method,
        functools.partial(handlers.echo),
        "text".encode,
    ],
    ids=["lambda", "local", "object", "method", "partial", "bound built-in"],
)
def test_handler_that_has_no_name_to_be_imported_by_is_refused(
    function: Callable[..., object],
) -> None:
    message = refused(function)

    assert "could not import it by name" in message
    assert "define it at the top level of a module" in message
    assert "executor='thread'" in message


@pytest.mark.parametrize("function", [handlers.echo, Shelf.static, len, Shelf])
def test_handler_that_can_be_imported_by_name_is_taken(function: Callable[..., object]) -> None:
    reference = reference_to(function)

    assert (reference.module, reference.qualname) == (function.__module__, function.__qualname__)


def test_function_that_is_hidden_by_another_of_its_name_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    echo = handlers.echo
    monkeypatch.setattr(handlers, "echo", handlers.pid)

    assert "is not what tests.support.process_handlers.echo is" in refused(echo)


REGISTERS = """
    from jobqueue.final.processes.imports import reference_to

    def register(function):
        global reference
        reference = reference_to(function)
        return function

    @register
    def function(payload): return payload
"""


def test_function_that_a_decorator_registers_is_not_in_its_module_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "registers.py", REGISTERS)
    monkeypatch.syspath_prepend(str(tmp_path))
    import registers  # type: ignore[import-not-found]  # written above

    monkeypatch.delitem(sys.modules, "registers")
    assert registers.reference.qualname == "function"


def test_function_that_is_not_in_its_module_when_that_has_been_imported_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    echo = handlers.echo
    monkeypatch.delattr(handlers, "echo")

    assert "is not what tests.support.process_handlers.echo is" in refused(echo)


def test_handler_of_a_task_under_another_name_is_refused_with_what_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        from jobqueue import Tasks
        tasks = Tasks()
        def helper(x: int) -> int: return x
        other = tasks.task(name="helper.task")(helper)
    """
    write(tmp_path / "renamed.py", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import renamed  # type: ignore[import-not-found]  # written above

    with pytest.raises(ValueError, match=r"renamed\.helper must be .* use @tasks\.task"):
        renamed.tasks.open(Config(executor="process"))
    monkeypatch.delitem(sys.modules, "renamed")


def test_module_that_was_made_by_hand_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made_by_hand")
    exec("def function(payload): return payload", module.__dict__)
    monkeypatch.setitem(sys.modules, "made_by_hand", module)

    assert "was not imported from anywhere" in refused(module.function)


def test_every_door_refuses(tmp_path: Path) -> None:
    config = Config(executor="process")
    with pytest.raises(ValueError, match="by name"):
        JobQueue(config, handler=lambda payload: payload)
    with pytest.raises(ValueError, match="by name"):
        JobQueue(config, handlers={"a": lambda payload: payload})
    with JobQueue(config) as jq:
        with pytest.raises(ValueError, match="by name"):
            jq.register("a", lambda payload: payload)
        with pytest.raises(ValueError, match="by name"):
            jq.enqueue_with_handler(Job(), lambda payload: payload)


def test_handler_of_the_wrong_shape_is_refused_as_ever() -> None:
    with pytest.raises(TypeError, match="must take fn"):
        JobQueue(Config(executor="process"), handler=local)


def test_another_function_under_a_taken_name_is_refused_as_ever() -> None:
    with JobQueue(Config(executor="process"), handlers={"a": handlers.echo}) as jq:
        jq.register("a", handlers.echo)
        with pytest.raises(ValueError, match="is taken by echo"):
            jq.register("a", handlers.pid)


# --- main modules ---------------------------------------------------------------------------------

WORK = """
    import sys
    from jobqueue.final import Config, Job, JobQueue

    class Answer:
        def __init__(self, text):
            self.text = text

    class AnswerError(Exception):
        pass

    def answer(payload):
        return Answer(payload.decode() + " " + " ".join(sys.argv[1:]))

    def fail(payload):
        raise AnswerError("no answer")

    def main():
        config = Config(executor="process", num_workers=1, max_retries=0)
        with JobQueue(config, handlers={"answer": answer, "fail": fail}) as jq:
            print(jq.enqueue(Job(b"42", handler="answer")).result().text)
            try:
                jq.enqueue(Job(handler="fail")).result()
            except AnswerError as error:
                print(error)
"""
GUARDED = (
    WORK
    + """
    if __name__ == "__main__":
        main()
"""
)
UNGUARDED = (
    WORK
    + """
    main()
"""
)


def python(
    *args: str | Path, cwd: Path, stdin: str = "", **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *args],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        timeout=SCRIPT_SECONDS_MAX,
        env={**os.environ, "PYTHONPATH": str(SRC), **environment},
    )


def write(path: Path, source: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(textwrap.dedent(source))
    return path


@pytest.mark.slow
def test_functions_of_a_script_are_imported_again(tmp_path: Path) -> None:
    write(tmp_path / "script.py", GUARDED)

    run = python("script.py", "and more", cwd=tmp_path)

    assert run.stdout.splitlines() == ["42 and more", "no answer"], run.stderr


@pytest.mark.slow
def test_functions_of_a_module_that_is_run_are_imported_again(tmp_path: Path) -> None:
    write(tmp_path / "pack" / "__init__.py", "")
    write(tmp_path / "pack" / "module.py", GUARDED)

    run = python("-m", "pack.module", "and more", cwd=tmp_path)

    assert run.stdout.splitlines() == ["42 and more", "no answer"], run.stderr


@pytest.mark.slow
def test_main_module_that_does_its_work_when_imported_is_told_what_to_do(tmp_path: Path) -> None:
    write(tmp_path / "script.py", UNGUARDED)

    run = python("script.py", cwd=tmp_path)

    assert run.returncode == 1
    assert "if __name__ == '__main__'" in run.stderr


@pytest.mark.slow
@pytest.mark.parametrize("how", ["package", "-c", "stdin"])
def test_functions_of_a_main_module_that_cannot_be_imported_are_refused(
    tmp_path: Path, how: str
) -> None:
    source = textwrap.dedent(GUARDED)
    write(tmp_path / "pack" / "__init__.py", "")
    write(tmp_path / "pack" / "__main__.py", GUARDED)
    arguments = {"package": ["-m", "pack"], "-c": ["-c", source], "stdin": ["-"]}[how]

    run = python(*arguments, cwd=tmp_path, stdin=source)

    assert run.stdout == ""
    assert "handler answer is in " in run.stderr
    assert "define it at the top level of a module" in run.stderr


@pytest.mark.slow
def test_files_of_the_working_directory_are_not_taken_for_modules_of_the_library(
    tmp_path: Path,
) -> None:
    write(tmp_path / "scripts" / "script.py", GUARDED)
    write(tmp_path / "socket.py", "raise ImportError('not this one')")

    run = python("scripts/script.py", cwd=tmp_path)

    assert run.stdout.splitlines() == ["42 ", "no answer"], run.stderr


@pytest.mark.slow
def test_module_that_cannot_be_imported_there_is_a_failed_attempt_that_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "only_here.py", "def function(payload): return payload")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]  # written above

    (tmp_path / "only_here.py").unlink()
    config = Config(executor="process", num_workers=1, max_retries=0)
    with JobQueue(config, handler=only_here.function) as jq:
        handle = jq.enqueue(Job())
        with pytest.raises(ModuleNotFoundError, match="only_here"):
            handle.result(PATIENCE)
    monkeypatch.delitem(sys.modules, "only_here")


@pytest.mark.slow
def test_module_that_waits_for_a_process_while_one_imports_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = """
        from jobqueue.final import Config, Job, JobQueue

        def function(payload):
            return payload

        with JobQueue(Config(executor="process", num_workers=1)) as jq:
            jq.enqueue_with_handler(Job(), len).result()
    """
    write(tmp_path / "waiting.py", source)
    monkeypatch.syspath_prepend(str(tmp_path))
    import waiting  # type: ignore[import-not-found]  # written above

    config = Config(executor="process", num_workers=1, max_retries=0)
    with JobQueue(config, handler=waiting.function) as jq:
        handle = jq.enqueue(Job())
        with pytest.raises(RejectJobError, match="importing a module that itself makes a queue"):
            handle.result(PATIENCE)
    monkeypatch.delitem(sys.modules, "waiting")


# --- the import path ------------------------------------------------------------------------------

MOVED = """
    import os
    import sys
    {before}
    import handlers_of_ours
    from jobqueue.final import Config, Job, JobQueue

    if __name__ == "__main__":
        os.mkdir("elsewhere")
        os.chdir("elsewhere")
        config = Config(executor="process", num_workers=1, max_retries=0)
        with JobQueue(config, handler=handlers_of_ours.handler) as jq:
            print(jq.enqueue(Job()).result())
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "before"),
    [
        ("lib", "sys.path.insert(0, 'lib')"),  # a relative entry
        (".", "sys.path[0] = ''"),  # the working directory, as with -c and on the prompt
    ],
)
def test_module_from_a_relative_entry_is_found_after_the_directory_was_changed(
    tmp_path: Path, folder: str, before: str
) -> None:
    """Fault 74 of docs/reliability.md."""
    write(tmp_path / folder / "handlers_of_ours.py", "def handler(payload): return 'found'")
    write(tmp_path / "script.py", MOVED.format(before=before))

    run = python("script.py", cwd=tmp_path)

    assert run.stdout.splitlines() == ["found"], run.stderr


@pytest.mark.slow
def test_queue_is_found_itself_after_the_directory_was_changed(tmp_path: Path) -> None:
    write(tmp_path / "handlers_of_ours.py", "def handler(payload): return 'found'")
    write(tmp_path / "script.py", MOVED.format(before="sys.path[0] = ''"))
    os.symlink(SRC / "jobqueue", tmp_path / "jobqueue")

    run = python("script.py", cwd=tmp_path, PYTHONPATH="")

    assert run.stdout.splitlines() == ["found"], run.stderr


def test_relative_entry_that_was_never_used_is_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["never-used", tmp_path, "/an/absolute/one", *sys.path])

    assert import_path()[:2] == [str(tmp_path / "never-used"), "/an/absolute/one"]


def test_import_path_can_be_told_when_the_working_directory_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    monkeypatch.setattr(sys, "path", ["never-used", *sys.path])
    (tmp_path / "gone").rmdir()

    assert "never-used" in import_path()


@pytest.mark.slow
def test_module_that_is_nowhere_is_told_with_the_places_that_were_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 74 of docs/reliability.md."""
    write(tmp_path / "moved_away.py", "def function(payload): return payload")
    monkeypatch.syspath_prepend(str(tmp_path))
    import moved_away  # type: ignore[import-not-found]  # written above

    (tmp_path / "moved_away.py").unlink()
    config = Config(executor="process", num_workers=1, max_retries=0)
    with JobQueue(config, handler=moved_away.function) as jq:
        handle = jq.enqueue(Job())
        handle.wait(PATIENCE)
        told = str(jq.info(handle.id).last_error)
    monkeypatch.delitem(sys.modules, "moved_away")
    assert "No module named 'moved_away' in a process of the queue, which looks for" in told
    assert f"the queue's own process has it from {tmp_path}" in told


# --- programs that are no interpreter -------------------------------------------------------------

OWN_INTERPRETER = """
    import base64
    import multiprocessing
    import sys
    from jobqueue.final import Config, Job, JobQueue

    print("the program starts", flush=True)
    multiprocessing.freeze_support()
    multiprocessing.set_executable({program!r})
    {before}
    config = Config(executor="process", num_workers=1, max_retries=0)
    with JobQueue(config, handler=base64.b64encode) as jq:
        print(jq.enqueue(Job()).wait().name, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "starts", "text"),
    [
        ("sys.frozen = True", 1, "does not work in a frozen program"),
        ("pass", 2, "as the Python interpreter of a queue's process"),
    ],
)
def test_program_that_is_its_own_interpreter_does_not_start_itself_without_end(
    tmp_path: Path, before: str, starts: int, text: str
) -> None:
    """As what PyInstaller makes: whatever its arguments are, it runs the program.

    Fault 73 of docs/reliability.md.
    """
    program = tmp_path / "program"
    script = write(
        tmp_path / "script.py", OWN_INTERPRETER.format(program=str(program), before=before)
    )
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o700)

    run = python("script.py", cwd=tmp_path)

    assert run.stdout.count("the program starts") == starts, run.stderr
    assert "ConfigError" in run.stderr
    assert text in run.stderr


def test_frozen_program_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 73 of docs/reliability.md."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    with pytest.raises(ConfigError, match=r"frozen program.*use executor='thread'"):
        JobQueue(Config(executor="process", persist_path=tmp_path / "log"))

    assert not (tmp_path / "log").exists()


def test_program_that_does_not_know_its_interpreter_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(spawn, "get_executable", lambda: b"")

    with pytest.raises(ConfigError, match=r"sys\.executable is empty"):
        JobQueue(Config(executor="process"))


@pytest.mark.slow
def test_program_that_a_handler_starts_may_have_such_a_queue(tmp_path: Path) -> None:
    source = """
        import os
        from jobqueue.final.processes.wire import MARK

        def handler(payload): return MARK in os.environ
    """
    write(tmp_path / "handlers_of_ours.py", source)
    write(tmp_path / "script.py", MOVED.format(before=""))

    run = python("script.py", cwd=tmp_path)

    assert run.stdout.splitlines() == ["False"], run.stderr
