"""What is shipped: what importing it loads, what is in the wheel, and that it works alone."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.support.pages import blocks_of

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
NOT_FOR_USERS = {"all", "bench", "bench-engine", "dev", "docs", "examples", "peers"}
SLOW_TO_IMPORT = {
    *("asyncio", "ctypes", "difflib", "email", "http", "json", "multiprocessing", "pickle"),
    *("socket", "ssl", "subprocess", "tempfile", "unittest", "urllib", "zoneinfo"),
}
"""Of the standard library; what is not in it is looked for besides."""


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    ended = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


# Importing it


def test_importing_the_package_loads_nothing_slow_that_it_may_do_without(tmp_path: Path) -> None:
    pytest.importorskip("msgspec", reason="without it, the standard library writes the log")
    program = (
        "import sys; before = set(sys.modules); import jobqueue; "
        "print(*{each.partition('.')[0] for each in set(sys.modules) - before})"
    )
    loaded = set(run(sys.executable, "-c", program, cwd=tmp_path).split())
    assert not loaded & SLOW_TO_IMPORT
    others = {"jobqueue", "msgspec", "typing_extensions"}  # msgspec takes the last if it is there
    assert loaded - set(sys.stdlib_module_names) <= others


# Extras


def test_all_is_each_extra_for_users() -> None:
    (every,) = EXTRAS["all"]
    found = re.fullmatch(r"jobqueue\[(.*)\]", every)
    assert found is not None
    assert set(found[1].split(",")) == set(EXTRAS) - NOT_FOR_USERS


def test_nothing_is_needed_but_msgspec() -> None:
    assert [each.partition(">")[0] for each in PROJECT["dependencies"]] == ["msgspec"]


@pytest.mark.parametrize(
    ("module", "package", "extra"),
    [
        ("jobqueue.telemetry.prometheus", "prometheus_client", "prometheus"),
        ("jobqueue.telemetry.opentelemetry", "opentelemetry", "opentelemetry"),
        ("jobqueue.contrib.django", "django", "django"),
        ("jobqueue.contrib.flask", "flask", "flask"),
        ("jobqueue.postgres", "asyncpg", "postgres"),
        ("jobqueue.postgres", "pgqueuer", "postgres"),
        ("jobqueue.web", "jinja2", "web"),
        ("jobqueue.web", "starlette", "web"),
        ("jobqueue.web", "uvicorn", "web"),
    ],
)
def test_what_is_not_installed_is_told_with_the_extra(
    tmp_path: Path, module: str, package: str, extra: str
) -> None:
    if find_spec(package) is None:
        pytest.skip(f"{package} is not installed, nor perhaps what is looked for before it")
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        f"try: import {module}\n"
        f"except ModuleNotFoundError as error: print(error)"
    )
    told = run(sys.executable, "-c", program, cwd=tmp_path)
    assert told.startswith(f"{module} needs {package}")
    assert f"pip install 'jobqueue[{extra}]'" in told


def test_the_backend_for_django_6_says_that_it_is_for_that(tmp_path: Path) -> None:
    pytest.importorskip("django", reason="needs the extra 'django'")
    program = (
        "import sys; sys.modules['django.tasks'] = None\n"
        "try: from jobqueue.contrib.django import JobQueueBackend\n"
        "except ImportError as error: print(error)"
    )
    told = run(sys.executable, "-c", program, cwd=tmp_path)
    assert told.startswith("JobQueueBackend is a backend for the tasks of Django 6")
    assert "jobqueue.contrib.django.tasks" in told


# The files that are shipped


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel and the source distribution."""
    pytest.importorskip("hatchling", reason="it builds the package")
    directory = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-d", directory, cwd=ROOT)
    return directory


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (found,) = built.glob("*.whl")
    return found


@pytest.mark.slow
def test_the_wheel_is_the_package_alone(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    sources = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src" / "jobqueue").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == sources
    assert "jobqueue/py.typed" in sources


@pytest.mark.slow
def test_the_source_distribution_is_whole(built: Path) -> None:
    (source,) = built.glob("*.tar.gz")
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    parts = ("src/jobqueue", "tests", "docs", "lab", "benchmarks", "examples")
    for part in parts:
        for path in (ROOT / part).rglob("*.py"):
            assert path.relative_to(ROOT).as_posix() in names
    assert {"Makefile", "CHANGELOG.md", "LICENSE", "mkdocs.yml", "docs/index.md"} <= names
    top = {name.partition("/")[0] for name in names}
    files = {"CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "PKG-INFO", "README.md"}
    known = {each.partition("/")[0] for each in parts}
    assert top <= files | known | {".gitignore", "mkdocs.yml", "pyproject.toml"}


# The wheel in an environment of its own


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which there is the wheel, and msgspec."""
    directory = tmp_path_factory.mktemp("environment")
    run(sys.executable, "-m", "venv", "--without-pip", directory, cwd=ROOT)
    python = directory / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "--quiet")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=directory)
    spec = find_spec("msgspec")
    assert spec is not None
    assert spec.origin is not None
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])", cwd=directory).strip()
    shutil.copytree(Path(spec.origin).parent, Path(site) / "msgspec")
    return python


def alone() -> dict[str, str]:
    """The environment of the process, without what leads Python to other modules."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.mark.slow
def test_the_quick_start_runs_with_msgspec_alone(installed: Path, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program = next(block for block in blocks_of(readme) if block.info == "python").source
    program += "\nimport sys; assert 'site-packages/jobqueue' in sys.modules['jobqueue'].__file__"
    run(installed, "-W", "error", "-c", program, cwd=tmp_path, environment=alone())


@pytest.mark.slow
def test_the_command_helps_and_says_what_it_needs(installed: Path, tmp_path: Path) -> None:
    command = installed.parent / "jobqueue"
    assert run(command, cwd=tmp_path, environment=alone()).startswith("usage: jobqueue ")
    version = run(command, "--version", cwd=tmp_path, environment=alone())
    assert version == f"jobqueue {PROJECT['version']}\n"
    asked = subprocess.run(
        [command, "log", "inspect", tmp_path], capture_output=True, text=True, check=False
    )
    assert (asked.returncode, asked.stdout) == (2, "")
    assert "pip install 'jobqueue[cli]'" in asked.stderr


@pytest.mark.daily
@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_know_the_installed_package(
    installed: Path, tmp_path: Path, checker: str
) -> None:
    shutil.copy(ROOT / "tests" / "types" / "expectations.py", tmp_path)
    if checker == "mypy":
        options = ["--strict", "--python-version", "3.11", "--python-executable", str(installed)]
        options += ["--config-file", os.devnull, "expectations.py"]
    else:
        settings = (ROOT / "tests" / "types" / "pyrightconfig.json").read_text(encoding="utf-8")
        settings = settings.replace('"extraPaths": ["../../src"],', "")
        (tmp_path / "pyrightconfig.json").write_text(settings, encoding="utf-8")
        options = ["--pythonpath", str(installed), "--project", str(tmp_path)]
    run(sys.executable, "-m", checker, *options, cwd=tmp_path, environment=alone())
