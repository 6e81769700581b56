"""One owner for each log, and logs that cannot be opened."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest

from jobqueue.final import Config, Job, JobQueue, LogCorruptError, LogLockedError, Status
from tests.support.children import Child
from tests.support.extras import skipped_without_extras
from tests.support.faulty_files import FaultyFiles
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE

NOBODY = 65534


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """At once, not only in the end."""
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def _open(log: Path) -> JobQueue:
    return JobQueue(Config(persist_path=log), handler=len)


# --- a second owner -----------------------------------------------------------------------------


def test_a_second_queue_of_this_process_is_refused_and_told_the_owner(log: Path) -> None:
    """Fault 12 of docs/reliability.md."""
    with _open(log):
        with pytest.raises(LogLockedError) as caught:
            _open(log)

        assert caught.value.pid == os.getpid()
        assert caught.value.path == str(log)
        assert str(log) in str(caught.value)
        assert str(os.getpid()) in str(caught.value)


def test_the_owner_is_not_disturbed_by_who_was_refused(log: Path) -> None:
    with _open(log) as jq:
        threads = threading.active_count()
        for _ in range(3):
            with pytest.raises(LogLockedError):
                _open(log)

        assert threading.active_count() == threads
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_a_queue_that_was_refused_has_not_touched_the_log(log: Path) -> None:
    with _open(log) as jq:
        jq.flush()
        before = {path.name: path.read_bytes() for path in log.iterdir()}

        with pytest.raises(LogLockedError):
            _open(log)

        assert {path.name: path.read_bytes() for path in log.iterdir()} == before


def test_another_name_of_the_directory_is_the_same_log(log: Path, tmp_path: Path) -> None:
    (tmp_path / "other name").symlink_to(log)
    with _open(log), pytest.raises(LogLockedError):
        _open(tmp_path / "other name")


def test_close_unlocks_the_log(log: Path) -> None:
    for _ in range(3):
        _open(log).close()


def test_close_unlocks_the_log_while_a_late_handler_still_runs(log: Path) -> None:
    entered, gate = threading.Event(), threading.Event()

    def handler(_payload: bytes) -> None:
        entered.set()
        gate.wait(PATIENCE)

    jq = JobQueue(Config(persist_path=log), handler=handler)
    jq.enqueue(Job())
    assert entered.wait(PATIENCE)
    jq.close(0)

    with _open(log):
        gate.set()


def test_two_logs_do_not_get_into_each_others_way(tmp_path: Path) -> None:
    with _open(tmp_path / "one") as one, _open(tmp_path / "two") as two:
        assert one.enqueue(Job(b"a")).result(PATIENCE) == 1
        assert two.enqueue(Job(b"ab")).result(PATIENCE) == 2


@pytest.mark.slow
def test_a_queue_of_another_process_is_refused_and_told_the_owner(log: Path) -> None:
    """Fault 12 of docs/reliability.md."""
    with Child("hold_log", log) as child:
        pid = int(child.line())

        with pytest.raises(LogLockedError) as caught:
            _open(log)

        assert caught.value.pid == pid == child.process.pid
        child.say("close")
        assert child.line() == "closed"
        _open(log).close()


@pytest.mark.slow
def test_a_log_whose_owner_was_killed_can_be_opened_at_once(log: Path) -> None:
    with Child("hold_log", log) as child:
        child.line()
        child.signal(signal.SIGKILL)
        child.end()

        _open(log).close()


@pytest.mark.slow
def test_a_queue_is_refused_in_a_process_that_was_spawned_by_the_owner(log: Path) -> None:
    with _open(log):
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            refused = pool.apply(_is_refused, (str(log),))

    assert refused == os.getpid()


def _is_refused(log: str) -> int | None:
    try:
        JobQueue(Config(persist_path=log), handler=len).close()
    except LogLockedError as error:
        return error.pid
    return None


def test_an_owner_that_has_not_written_its_process_id_yet_is_nobody_known(log: Path) -> None:
    with _open(log):
        (log / "LOCK").write_bytes(b"")

        with pytest.raises(LogLockedError, match="another process") as caught:
            _open(log)

    assert caught.value.pid is None


# --- a start that waits for the owner before it -------------------------------------------------


def _open_patiently(log: Path, seconds: float = PATIENCE) -> JobQueue:
    return JobQueue(Config(persist_path=log, lock_timeout=seconds), handler=len)


@pytest.mark.slow
def test_a_start_waits_until_the_owner_has_closed(log: Path) -> None:
    with Child("hold_log", log) as child:
        child.line()
        opened = in_thread(_open_patiently, log)
        with pytest.raises(TimeoutError):
            opened.result(0.1)
        child.say("close")

        with opened.result(PATIENCE) as jq:
            assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3


@pytest.mark.slow
def test_a_start_that_waited_in_vain_is_told_the_owner(log: Path) -> None:
    """Fault 12 of docs/reliability.md."""
    with Child("hold_log", log) as child:
        pid = int(child.line())
        processor = time.process_time()
        begin = time.monotonic()

        with pytest.raises(LogLockedError) as caught:
            _open_patiently(log, 0.5)

        assert caught.value.pid == pid
        assert time.monotonic() - begin >= 0.5
        assert time.process_time() - processor < 0.25, "it did not sleep between its looks"


def test_a_start_does_not_wait_for_a_queue_of_its_own_process(log: Path) -> None:
    with _open(log), pytest.raises(LogLockedError, match="this very process"):
        in_thread(_open_patiently, log, 3600.0).result(PATIENCE)


@pytest.mark.slow
def test_ctrl_c_ends_a_start_that_waits(log: Path) -> None:
    with Child("hold_log", log) as owner:
        owner.line()
        with Child("hold_log", log, "3600") as waiting:
            assert waiting.line() == "opening"
            waiting.signal(signal.SIGINT)

            assert waiting.end() == -signal.SIGINT
            assert "KeyboardInterrupt" in waiting.stderr


# --- logs that cannot be opened -----------------------------------------------------------------


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_file_in_place_of_the_directory_is_refused(log: Path) -> None:
    """Fault 10 of docs/reliability.md."""
    log.write_text("precious")

    with pytest.raises(NotADirectoryError, match=r"jobs\.db"):
        _open(log)

    assert log.read_text() == "precious"


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("share", [None, "auto"])
def test_a_relative_path_in_a_directory_that_was_removed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, share: Literal["auto"] | None
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    said = pytest.raises(FileNotFoundError, match=r"current directory was removed.*jobs\.db")
    with skipped_without_extras(), said:
        JobQueue(Config(persist_path="jobs.db", share=share), handler=len)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_file_among_the_parents_of_the_directory_is_refused(log: Path) -> None:
    log.write_text("precious")

    with pytest.raises(NotADirectoryError, match=r"jobs\.db"):
        _open(log / "deeper" / "log")

    assert log.read_text() == "precious"


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_link_to_nowhere_in_place_of_the_directory_is_refused(log: Path) -> None:
    log.symlink_to(log.parent / "nowhere")

    with pytest.raises(OSError, match=r"jobs\.db"):
        _open(log)


def test_a_link_to_a_directory_is_followed(log: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    log.symlink_to(tmp_path / "real")

    _open(log).close()

    assert (tmp_path / "real" / "LOCK").is_file()


@pytest.fixture
def open_log() -> Iterator[Path]:
    """The path of a log in a directory that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        path = Path(directory)
        path.chmod(0o755)
        yield path / "jobs.db"
        path.chmod(0o700)


@contextmanager
def _without_privileges() -> Iterator[None]:
    """As root, whom no permission stops, be somebody else for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.usefixtures("no_thread_is_left")
def test_a_parent_that_may_not_be_written_to_is_refused(open_log: Path) -> None:
    open_log.parent.chmod(0o555)

    with _without_privileges(), pytest.raises(PermissionError, match=str(open_log)):
        _open(open_log)

    assert not open_log.exists()


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_directory_without_permission_is_refused(open_log: Path, mode: int) -> None:
    """Fault 10 of docs/reliability.md."""
    open_log.mkdir()
    open_log.chmod(mode)
    try:
        with _without_privileges(), pytest.raises(PermissionError, match=str(open_log)):
            _open(open_log)
    finally:
        open_log.chmod(0o700)

    assert list(open_log.iterdir()) == []


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("name", ["LOCK", "00000001.jsonl"])
def test_a_file_without_permission_is_refused(open_log: Path, name: str) -> None:
    _open(open_log).close()
    (open_log / name).chmod(0o000)
    open_log.chmod(0o777)

    with _without_privileges(), pytest.raises(PermissionError, match=str(open_log)):
        _open(open_log)


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("name", ["LOCK", "00000001.jsonl"])
def test_a_link_in_place_of_a_file_of_the_log_is_refused(
    log: Path, tmp_path: Path, name: str
) -> None:
    """Fault 27 of docs/reliability.md."""
    _open(log).close()
    target = tmp_path / "target"
    (log / name).rename(target)
    (log / name).symlink_to(target)
    before = target.read_bytes()

    with pytest.raises((OSError, LogCorruptError), match="link") as caught:
        _open(log)

    assert str(log / name) in str(caught.value)
    assert target.read_bytes() == before
    if name != "LOCK":  # nobody has it locked
        (log / name).unlink()
        target.rename(log / name)
        _open(log).close()


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("name", ["LOCK", "00000001.jsonl"])
def test_a_directory_or_pipe_in_place_of_a_file_of_the_log_is_refused_at_once(
    log: Path, name: str
) -> None:
    log.mkdir()
    os.mkfifo(log / name)
    with pytest.raises(OSError, match=name):
        _open(log)

    (log / name).unlink()
    (log / name).mkdir()
    with pytest.raises(OSError, match=name):
        _open(log)


def test_files_of_others_in_the_directory_are_left_alone(log: Path) -> None:
    log.mkdir()
    for name in ("notes.txt", "1.jsonl", "00000001.jsonl.bak", "00000000.jsonl"):
        (log / name).write_text("precious")

    with _open(log) as jq:
        jq.enqueue(Job())

    for name in ("notes.txt", "1.jsonl", "00000001.jsonl.bak", "00000000.jsonl"):
        assert (log / name).read_text() == "precious"


@pytest.mark.usefixtures("no_thread_is_left")
@pytest.mark.parametrize("call", ["write", "create", "sync", "sync_directory"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("nth", [0, 1])
def test_a_file_system_that_fails_while_the_log_is_opened_is_told_of(
    log: Path, call: str, number: int, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jq = JobQueue(Config(persist_path=log), handler=len, start=False)
    jq.enqueue(Job(id="a"))
    jq.close()
    files = FaultyFiles()
    files.fail(call, number, skip=nth, for_ever=True)
    monkeypatch.setattr("jobqueue.final.life.recovery.Files", lambda: files)

    with pytest.raises(OSError, match=str(log)) as caught:
        _open(log)

    assert caught.value.errno == number
    files.heal()
    with _open(log) as jq:
        assert jq.join(PATIENCE)
        assert jq.status("a") is Status.COMPLETED


def test_windows_is_refused_where_there_is_to_be_a_log(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobqueue.final.wal.opening.sys.platform", "win32")

    with pytest.raises(OSError, match="Windows"):
        _open(log)
    with JobQueue(handler=len) as jq:
        assert jq.enqueue(Job(b"abc")).result(PATIENCE) == 3
