"""A log that others could have put there, or can write to, is refused."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobqueue.final import Config, Job, JobQueue, LogLockedError, Status
from jobqueue.final.wal.names import LOCK_NAME, segment_name
from jobqueue.final.wal.slots import SLOTS_NAME
from tests.support.waiting import PATIENCE

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@pytest.fixture
def log() -> Iterator[Path]:
    """The path of a log in a directory that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path / "jobs.db"


@contextmanager
def _as_nobody(*groups: int) -> Iterator[None]:
    before = os.getgroups()
    os.setgroups(groups)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setgroups(before)


def _open(log: Path, *, allow_shared: bool = False) -> JobQueue:
    return JobQueue(Config(persist_path=log, allow_shared=allow_shared), handler=len, start=False)


def _fill(log: Path) -> None:
    with _open(log) as jq:
        jq.enqueue(Job(id="a"))


def _content(log: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in log.iterdir()}


FILES = [LOCK_NAME, SLOTS_NAME, segment_name(1)]


@needs_root
def test_a_directory_of_another_user_is_refused_and_left_as_it_is(log: Path) -> None:
    """Fault 37 of docs/reliability.md."""
    log.mkdir(0o700)
    os.chown(log, NOBODY, -1)

    with pytest.raises(PermissionError, match=f"user {NOBODY}.*allow_shared") as caught:
        _open(log)

    assert caught.value.filename == str(log)
    assert _content(log) == {}


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777, 0o1777])
def test_a_directory_that_others_may_write_to_is_refused_and_left_as_it_is(
    log: Path, mode: int
) -> None:
    """Fault 37 of docs/reliability.md."""
    _fill(log)
    log.chmod(mode)
    before = _content(log)

    with pytest.raises(PermissionError, match=f"its mode is {mode:04o}") as caught:
        _open(log)

    assert caught.value.filename == str(log)
    assert _content(log) == before
    log.chmod(0o755)  # that others may read it is its owner's affair
    _open(log).close()


@needs_root
@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_user_is_refused(log: Path, name: str) -> None:
    _fill(log)
    os.chown(log / name, NOBODY, -1)
    before = _content(log)

    with pytest.raises(PermissionError, match=f"user {NOBODY}") as caught:
        _open(log)

    assert caught.value.filename == str(log / name)
    assert {n: data for n, data in _content(log).items() if n != LOCK_NAME} == {
        n: data for n, data in before.items() if n != LOCK_NAME
    }


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_may_write_to_is_refused(log: Path, name: str, mode: int) -> None:
    _fill(log)
    (log / name).chmod(mode)

    with pytest.raises(PermissionError, match=f"its mode is {mode:04o}") as caught:
        _open(log)

    assert caught.value.filename == str(log / name)
    (log / name).chmod(0o600)
    with _open(log) as jq:
        assert jq.status("a") is Status.QUEUED


@pytest.mark.parametrize("allow_shared", [False, True])
def test_a_lock_that_is_another_file_too_is_refused_and_not_written_to(
    log: Path, allow_shared: bool
) -> None:
    """Fault 37 of docs/reliability.md."""
    log.mkdir(0o700)
    victim = log.parent / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    (log / LOCK_NAME).hardlink_to(victim)

    with pytest.raises(PermissionError, match="hard links") as caught:
        _open(log, allow_shared=allow_shared)

    assert caught.value.filename == str(log / LOCK_NAME)
    assert victim.read_text() == "precious"
    (log / LOCK_NAME).unlink()
    _open(log).close()


def test_what_a_group_shares_is_opened_if_that_is_allowed(log: Path) -> None:
    _fill(log)
    log.chmod(0o2770)
    for name in FILES:
        (log / name).chmod(0o660)

    with _open(log, allow_shared=True) as jq:
        assert jq.status("a") is Status.QUEUED


@needs_root
def test_two_users_of_a_group_use_a_log_by_turns(log: Path) -> None:
    group = 54321
    log.mkdir()
    os.chown(log, 0, group)
    log.chmod(0o2770)

    for n in range(4):
        if n % 2:
            with _open(log, allow_shared=True) as jq:
                jq.enqueue(Job(id=str(n)))
        else:
            with _as_nobody(group), _open(log, allow_shared=True) as jq:
                jq.enqueue(Job(id=str(n)))

    with _open(log, allow_shared=True) as jq:
        assert jq.metrics().queued == 4
        with _as_nobody(group), pytest.raises(LogLockedError):
            _open(log, allow_shared=True)
        jq.start()
        assert jq.join(PATIENCE)


@pytest.mark.parametrize("allow_shared", [False, True])
def test_what_is_made_is_for_the_owner_alone_or_for_the_group_too(
    log: Path, allow_shared: bool
) -> None:
    before = os.umask(0o077)
    try:
        _open(log, allow_shared=allow_shared).close()
    finally:
        os.umask(before)

    bits = 0o070 if allow_shared else 0
    assert stat.S_IMODE(log.stat().st_mode) == 0o700 | bits
    modes = {stat.S_IMODE(path.stat().st_mode) for path in log.iterdir()}
    assert modes == {0o600 | bits & 0o060}
