"""A PostgreSQL of its own, in a temporary directory, for as long as a block runs.

It takes the binaries that are installed, needs no rights and no service, and opens no port: it
listens on a socket in its directory. PostgreSQL refuses to run as root, so root starts it as the
user `postgres`, whom Debian's package makes.
"""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..children import StoryError

START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 30.0
_USER = "postgres"


@dataclass(frozen=True)
class Server:
    """One that runs.

    Attributes:
        directory: its socket, its data and its log are in here.
        bin: where its programs are.
    """

    directory: Path
    bin: Path
    process: subprocess.Popen[bytes]

    def dsn(self, database: str = "postgres") -> str:
        """What clients connect to, as its superuser, by its socket."""
        return f"postgresql://{_USER}@/{database}?host={self.directory}"

    def sql(self, command: str, database: str = "postgres") -> None:
        """Run one command with psql."""
        _run([self.bin / "psql", "-qX", "-v", "ON_ERROR_STOP=1", "-c", command, self.dsn(database)])

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.directory / "log").read_text(errors="replace")


def find_bin() -> Path | None:
    """Where the programs of the newest PostgreSQL here are; `None` if there is none."""
    found = [each.parent for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    if found:
        return max(found, key=lambda path: [int(n) for n in re.findall(r"\d+", path.parent.name)])
    on_path = shutil.which("initdb")
    return None if on_path is None else Path(os.path.realpath(on_path)).parent


@contextmanager
def running(settings: Sequence[str] = ()) -> Iterator[Server]:
    """A server; it is stopped and its data are gone when the block is left.

    Args:
        settings: such as "fsync=off", as on its command line after `-c`.

    Raises:
        StoryError: there is none here, or it does not start.
    """
    bin_ = find_bin()
    if bin_ is None:
        raise StoryError("PostgreSQL is not installed here: apt-get install postgresql")
    directory = Path(tempfile.mkdtemp(prefix="jqpg-", dir="/tmp"))  # a socket's path is short
    process = None
    try:
        if os.geteuid() == 0:
            user = pwd.getpwnam(_USER)
            os.chown(directory, user.pw_uid, user.pw_gid)
        process = _start(bin_, directory, settings)
        server = Server(directory, bin_, process)
        _wait_until_ready(server)
        yield server
    finally:
        if process is not None:
            _stop(process)
        shutil.rmtree(directory, ignore_errors=True)


def _start(bin_: Path, directory: Path, settings: Sequence[str]) -> subprocess.Popen[bytes]:
    data = directory / "data"
    make = ["-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8", "--locale=C"]
    _run([*_as_user(), str(bin_ / "initdb"), "-D", str(data), *make])
    ours = ["listen_addresses=", f"unix_socket_directories={directory}", *settings]
    options = [part for setting in ours for part in ("-c", setting)]
    with (directory / "log").open("ab") as log:
        return subprocess.Popen(
            [*_as_user(), *_ends_with_us(), bin_ / "postgres", "-D", data, *options],
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,  # Ctrl-C is for us: its clients are to end first
        )


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]


def _ends_with_us() -> list[str]:
    """Linux can have it told when we die, whatever we die of."""
    if sys.platform != "linux" or shutil.which("setpriv") is None:
        return []
    return ["setpriv", "--pdeathsig=QUIT"]


def _wait_until_ready(server: Server) -> None:
    until = time.monotonic() + START_SECONDS_MAX
    ask = [str(server.bin / "pg_isready"), "-q", "-d", server.dsn()]
    while subprocess.run(ask, cwd="/", check=False).returncode != 0:
        if server.process.poll() is not None or time.monotonic() >= until:
            raise StoryError(f"PostgreSQL did not start; it says:\n{server.log}")
        time.sleep(0.05)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGQUIT)  # at once: nothing of its data is to be kept
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _run(command: Sequence[str | Path]) -> None:
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StoryError(f"{Path(command[0]).name} failed: {done.stderr.strip()}")
