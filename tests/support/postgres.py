"""A real PostgreSQL server for tests: started once in a session, with a database for each test.

It is the newest that is installed (Debian: `postgresql`), in a temporary directory of its own, on a
Unix socket and on 127.0.0.1 at a port that is free. PostgreSQL refuses root, so root starts it as
another user. Tests that need it are skipped if there is none, and fail if `CI` is set.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

_numbers = itertools.count(1)
_OPTIONS = {  # none of it has to outlive the machine; what a test kills is the server alone
    "fsync": "off",
    "max_connections": "90",
    "shared_buffers": "32MB",
    "listen_addresses": "127.0.0.1",
    "autovacuum_naptime": "1h",
}


def programs() -> Path | None:
    """Where the newest server's programs are."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=_version)
    if found:
        return found[-1].parent
    on_path = shutil.which("pg_ctl")
    return None if on_path is None else Path(on_path).resolve().parent


def _version(path: Path) -> float:
    try:
        return float(path.parts[-3])
    except ValueError:
        return 0.0


def need() -> Path:
    """Where they are; skips the test without them, and fails it in CI."""
    found = programs()
    if found is not None:
        return found
    what = "no PostgreSQL server is installed here (Debian: apt-get install postgresql)"
    if os.environ.get("CI") and "postgresql" not in os.environ.get("TEST_WITHOUT", ""):
        pytest.fail(what)
    pytest.skip(what)


def _other_user() -> list[str]:
    """What begins a command that root may not run."""
    if os.geteuid() != 0:
        return []
    for name in ("postgres", "nobody"):
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            continue
        return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    pytest.skip("PostgreSQL refuses root, and there is no other user to run it")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


_END_OTHERS = """SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()"""
_EMPTY = """TRUNCATE pgqueuer, pgqueuer_log, jobqueue_job, jobqueue_count, jobqueue_paused,
jobqueue_periodic, jobqueue_moved RESTART IDENTITY"""


class Server:
    """A server of its own, which tests may stop and start. `close` ends it."""

    def __init__(self, **options: str) -> None:
        self._bin = need()
        self.directory = Path(tempfile.mkdtemp(prefix="jobqueue-pg-"))
        self.port = _free_port()
        self._as = _other_user()
        if self._as:
            shutil.chown(self.directory, int(self._as[1].partition("=")[2]))
        self._run(
            "initdb", "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"
        )
        settings = _OPTIONS | options | {"unix_socket_directories": str(self.directory)}
        with (self.directory / "data" / "postgresql.conf").open("a") as conf:
            conf.write(f"port = {self.port}\n")
            conf.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self.start()

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as, str(self._bin / program), "-D", str(self.directory / "data")]
        done = subprocess.run(
            [*command, *arguments],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        self._run("pg_ctl", "-w", "-l", str(self.directory / "log"), "start")

    def stop(self, mode: str = "immediate") -> None:
        """Stop it; "immediate" is what a crash is to it."""
        self._run("pg_ctl", "-m", mode, "stop")

    def dsn(self, database: str, *, port: int | None = None) -> str:
        """Where a database is; `port` is that of a proxy."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def execute(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements; what the last one gave."""
        found: list[Any] = run(lambda: self._execute(statements, database))
        return found

    async def _execute(self, statements: tuple[str, ...], database: str) -> list[Any]:
        import asyncpg

        connection = await asyncpg.connect(self.dsn(database))
        try:
            found: list[Any] = []
            for statement in statements:
                found = await connection.fetch(statement)
            return found
        finally:
            await connection.close()

    def close(self) -> None:
        """End it and drop all that it has."""
        if (self.directory / "data" / "postmaster.pid").exists():
            self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)


class Databases(Server):
    """A server with a template that has the tables of the queue: a database for each test.

    One that a test has let go of is emptied for another one: to make one takes a second.
    """

    _has_template = False

    def __init__(self) -> None:
        super().__init__()
        self._free: list[str] = []

    def make(self, *, installed: bool = True) -> str:
        """The DSN of a database that has nothing in it."""
        if installed and self._free:
            return self._free.pop()
        if installed and not self._has_template:
            from jobqueue.postgres import schema

            self.execute("CREATE DATABASE template_jobqueue")
            schema.install(self.dsn("template_jobqueue"))
            self._has_template = True
        name = f"test_{next(_numbers)}"
        template = " TEMPLATE template_jobqueue" if installed else ""
        self.execute(f"CREATE DATABASE {name}{template}")
        return self.dsn(name)

    def empty(self, dsn: str) -> None:
        """A database is let go of, with all connections to it."""
        name = dsn.rpartition("/")[2]
        self.execute(_END_OTHERS, _EMPTY, database=name)
        self._free.append(dsn)


@pytest.fixture(scope="session")
def databases() -> Iterator[Databases]:
    """The session's server; started when the first test asks for it."""
    pytest.importorskip("asyncpg", reason="the extra 'postgres' is not installed")
    pytest.importorskip("pgqueuer", reason="the extra 'postgres' is not installed")
    server = Databases()
    yield server
    server.close()


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """A database of the test's own, with the tables of the queue."""
    made = databases.make()
    yield made
    databases.empty(made)


def run(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine on a loop of its own, in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(asyncio.run(work())))
    thread.start()
    thread.join()
    assert found, "it raised; the traceback is above"
    return found[0]
