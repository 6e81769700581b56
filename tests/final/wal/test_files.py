from __future__ import annotations

import ctypes
import errno
import gc
import os
import signal
import stat
import subprocess
import sys
import threading
from functools import partial
from operator import call
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from jobqueue.final.errors import LogLockedError
from jobqueue.final.runtime.mutex import has_gil
from jobqueue.final.wal.files import PAGE_BYTES, Files
from tests.support import insides

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="it is Linux's")
needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")


@pytest.fixture
def files() -> Files:
    return Files()


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_directory_and_files_are_the_owners_alone_whatever_the_umask(
    files: Files, tmp_path: Path
) -> None:
    directory = tmp_path / "log"
    files.make_directory(str(directory))
    files.close(files.create(str(directory / "segment")))
    files.unlock(files.lock(str(directory / "LOCK")))
    assert mode(directory) == 0o700
    assert mode(directory / "segment") == 0o600
    assert mode(directory / "LOCK") == 0o600


def test_missing_parents_of_the_directory_are_made_too(files: Files, tmp_path: Path) -> None:
    files.make_directory(str(tmp_path / "a" / "b"))
    assert (tmp_path / "a" / "b").is_dir()


class WatchedFiles(Files):
    """Tells which directories were fsynced."""

    def __init__(self) -> None:
        self.synced: list[str] = []

    def sync_directory(self, path: str) -> None:
        self.synced.append(path)
        super().sync_directory(path)


def test_a_new_directory_is_made_durable_by_its_parent(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    files = WatchedFiles()

    files.make_directory(str(tmp_path / "a" / "b"))

    assert files.synced == [str(tmp_path), str(tmp_path / "a")]


def test_an_empty_directory_may_be_that_of_a_dead_process_and_is_made_durable(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    files = WatchedFiles()

    files.make_directory(str(directory))
    (directory / "LOCK").touch()
    files.make_directory(str(directory))

    assert files.synced == [str(tmp_path)]


@needs_permissions
def test_a_directory_in_one_that_cannot_be_read_is_used(files: Files, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir()
    tmp_path.chmod(0o300)
    files.make_directory(str(directory))
    tmp_path.chmod(0o700)


def test_a_directory_that_exists_is_left_as_it_is(files: Files, tmp_path: Path) -> None:
    directory = tmp_path / "log"
    directory.mkdir(mode=0o750)
    before = mode(directory)
    files.make_directory(str(directory))
    assert mode(directory) == before


def test_a_file_in_place_of_the_directory_is_named(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch()
    with pytest.raises(NotADirectoryError, match=str(path)):
        files.make_directory(str(path))
    with pytest.raises(NotADirectoryError, match=str(path)):
        files.make_directory(str(path / "log"))


@needs_permissions
def test_a_directory_that_cannot_be_made_is_named(files: Files, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        files.make_directory(str(tmp_path / "log"))


def test_a_second_lock_in_this_process_is_refused_and_names_the_owner(
    files: Files, tmp_path: Path
) -> None:
    path = str(tmp_path / "LOCK")
    fd = files.lock(path)
    with pytest.raises(LogLockedError) as caught:
        files.lock(path)
    assert caught.value.path == str(tmp_path)
    assert caught.value.pid == os.getpid()
    files.unlock(fd)
    files.unlock(files.lock(path))


HOLD_LOCK = """
import fcntl, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
fcntl.flock(fd, fcntl.LOCK_EX)
os.write(fd, b"%d\\n" % os.getpid())
print("locked", flush=True)
sys.stdin.read()
"""


def test_a_lock_held_by_another_process_is_refused_and_ends_with_it(
    files: Files, tmp_path: Path
) -> None:
    path = str(tmp_path / "LOCK")
    command = [sys.executable, "-S", "-c", HOLD_LOCK, path]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with pytest.raises(LogLockedError) as caught:
            files.lock(path)
        assert caught.value.pid == child.pid
        child.kill()
    files.unlock(files.lock(path))


def test_the_lock_file_tells_the_pid_and_nothing_of_its_past(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "LOCK"
    path.write_text("1234567890 left by a process that died\n")
    fd = files.lock(str(path))
    assert path.read_text() == f"{os.getpid()}\n"
    files.unlock(fd)


@pytest.mark.parametrize("content", ["", "nonsense"])
def test_an_owner_that_cannot_be_told_is_none(files: Files, tmp_path: Path, content: str) -> None:
    path = tmp_path / "LOCK"
    fd = files.lock(str(path))
    path.write_text(content)
    with pytest.raises(LogLockedError) as caught:
        files.lock(str(path))
    assert caught.value.pid is None
    files.unlock(fd)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_the_lock_outlives_a_forked_childs_copy_and_is_released_beside_it(
    files: Files, tmp_path: Path
) -> None:
    path = str(tmp_path / "LOCK")
    fd = files.lock(path)
    copy = os.dup(fd)  # as a child has one
    files.close(copy)
    with pytest.raises(LogLockedError):
        files.lock(path)
    copy = os.dup(fd)
    files.unlock(fd)
    files.unlock(files.lock(path))
    os.close(copy)


@pytest.mark.parametrize("method", ["open_read", "open_write", "lock", "create"])
def test_a_symbolic_link_in_place_of_a_file_is_refused(
    files: Files, tmp_path: Path, method: str
) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    link = tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError, match=str(link)):
        getattr(files, method)(str(link))
    assert target.read_text() == "precious"


@pytest.mark.parametrize("method", ["open_read", "open_write", "lock"])
def test_a_fifo_in_place_of_a_file_is_refused_without_waiting(
    files: Files, tmp_path: Path, method: str
) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(OSError, match="regular file"):
        getattr(files, method)(str(path))


def test_a_new_file_must_not_exist(files: Files, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        files.create(str(tmp_path / "file"))


def test_descriptors_do_not_reach_other_programs(files: Files, tmp_path: Path) -> None:
    fd = files.create(str(tmp_path / "file"))
    assert not os.get_inheritable(fd)
    files.close(fd)


def test_short_writes_are_carried_on(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: pwrite(fd, data[:3], offset))
    fd = files.create(str(tmp_path / "file"))
    files.write(fd, b"0123456789", 2)
    assert files.read(fd, 100, 0) == b"\0\x000123456789"
    files.close(fd)


def test_a_write_that_writes_nothing_is_an_error(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = files.create(str(tmp_path / "file"))
    monkeypatch.setattr(os, "pwrite", lambda _fd, _data, _offset: 0)
    with pytest.raises(OSError, match="wrote nothing"):
        files.write(fd, b"data", 0)
    files.close(fd)


def test_a_failed_fchmod_leaves_no_descriptor_open(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_fd: int, _mode: int) -> None:
        raise OSError(errno.EPERM, "no")

    gc.collect()  # what other tests have left is not closed in between
    open_before = len(os.listdir("/dev/fd"))
    monkeypatch.setattr(os, "fchmod", refuse)
    for method in (files.create, files.lock):
        with pytest.raises(OSError, match="no"):
            method(str(tmp_path / method.__name__))
    assert len(os.listdir("/dev/fd")) == open_before


def test_what_is_copied_into_a_map_is_in_the_file(files: Files, tmp_path: Path) -> None:
    fd = files.create(str(tmp_path / "file"))
    files.truncate(fd, 2 * PAGE_BYTES)
    window = files.map(fd, PAGE_BYTES, PAGE_BYTES)
    window[10:14] = b"data"
    assert files.read(fd, 4, PAGE_BYTES + 10) == b"data"
    window.close()
    assert files.size(fd) == 2 * PAGE_BYTES
    files.sync(fd)
    files.close(fd)


def test_allocated_blocks_are_really_there(files: Files, tmp_path: Path) -> None:
    path = tmp_path / "file"
    fd = files.create(str(path))
    files.write(fd, b"head", 0)
    files.allocate(fd, 4, (1 << 20) - 4)
    files.sync_or_raise(fd)
    files.close(fd)
    assert path.stat().st_blocks * 512 >= 1 << 20
    assert path.read_bytes() == b"head".ljust(1 << 20, b"\0")


def test_a_map_that_cannot_be_locked_in_memory_is_refused(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refusing:
        def mlock(self, *_arguments: object) -> int:
            ctypes.set_errno(errno.ENOMEM)
            return -1

    fd = files.create(str(tmp_path / "file"))
    files.allocate(fd, 0, PAGE_BYTES)
    monkeypatch.setattr(*insides.libc(), Refusing())
    with pytest.raises(OSError) as caught:
        files.map(fd, PAGE_BYTES, 0)
    assert caught.value.errno == errno.ENOMEM
    with pytest.raises(OSError):
        files.map_words(fd, 1)
    files.close(fd)


@linux_only
def test_the_pages_of_a_map_are_locked_in_memory(files: Files, tmp_path: Path) -> None:
    def locked() -> int:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmLck"))

    before = locked()
    fd = files.create(str(tmp_path / "file"))
    files.allocate(fd, 0, 4 * PAGE_BYTES)
    window = files.map(fd, 4 * PAGE_BYTES, 0)
    assert locked() - before == 4 * PAGE_BYTES // 1024
    window.close()
    assert locked() == before
    files.close(fd)


# Writing at once


@pytest.mark.parametrize("offset", [0, 1, 4097, (1 << 31) - 4, (1 << 31) - 3, (1 << 32) + 7])
def test_a_write_at_once_is_where_and_what_it_should_be(
    files: Files, tmp_path: Path, offset: int
) -> None:
    fd = files.create(str(tmp_path / "file"))
    assert files.write_now(fd, b"a\0b", offset) == 3
    assert files.size(fd) == offset + 3
    assert files.read(fd, 3, offset) == b"a\0b"
    files.close(fd)


@pytest.mark.parametrize("offset", [0, 1 << 33])
def test_a_write_at_once_that_fails_raises_nothing(files: Files, offset: int) -> None:
    assert files.write_now(-1, b"abc", offset) == -1


def test_a_write_at_once_tells_of_a_part(files: Files, tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    fd = files.create(str(tmp_path / "file"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        written = files.write_now(fd, b"x" * 30, 90)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert written == 10
    files.close(fd)


@pytest.mark.skipif(not has_gil(), reason="there is no GIL to keep")
def test_no_other_thread_runs_during_a_write_at_once(files: Files) -> None:
    # 1. A thread is let go of, and waits for the GIL, which it does not take away. 2. Many writes,
    # of nothing to nowhere. 3. Had one let go of the GIL, the thread would have run.
    ran = threading.Event()
    go = threading.Lock()
    go.acquire()

    def run() -> None:
        with go:
            ran.set()

    thread = threading.Thread(target=run)
    thread.start()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        go.release()
        for _ in range(10_000):
            files.write_now(-1, b"", 0)
        assert not ran.is_set()
    finally:
        sys.setswitchinterval(before)
        thread.join()


def test_rename_replaces_and_unlink_removes(files: Files, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("new content")
    (tmp_path / "new").write_text("old content")
    files.rename(str(tmp_path / "old"), str(tmp_path / "new"))
    assert (tmp_path / "new").read_text() == "new content"
    assert files.list_directory(str(tmp_path)) == ["new"]
    files.unlink(str(tmp_path / "new"))
    files.sync_directory(str(tmp_path))
    assert files.list_directory(str(tmp_path)) == []


@linux_only
def test_a_file_is_forgotten_as_a_whole(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    told = []
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: told.append(args))
    files.forget_cached(7)
    assert told == [(7, 0, 0, os.POSIX_FADV_DONTNEED)]


def test_where_the_kernel_cannot_be_told_to_forget_nothing_happens(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "posix_fadvise", raising=False)
    files.forget_cached(-1)


@linux_only
def test_a_sync_is_an_fdatasync(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []

    def fdatasync(fd: int) -> int:
        synced.append(fd)
        return 0

    monkeypatch.setattr(*insides.fdatasync(), fdatasync)
    assert files.sync(7) == 0
    assert synced == [7]


def test_a_sync_that_fails_tells_why(files: Files) -> None:
    assert files.sync(-1) == errno.EBADF
    with pytest.raises(OSError, match="Bad file descriptor"):
        files.sync_or_raise(-1)


@linux_only
def test_an_interrupted_sync_is_tried_again(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = [errno.EINTR, errno.EINTR, errno.EIO]

    def interrupted(_fd: int) -> int:
        ctypes.set_errno(numbers.pop(0))
        return -1

    monkeypatch.setattr(*insides.fdatasync(), interrupted)
    assert files.sync(7) == errno.EIO
    assert numbers == []


@linux_only
def test_a_signal_that_comes_as_a_sync_fails_hides_nothing(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 1. The call fails. 2. A signal comes before the interpreter has seen the result. 3. Its
    # handler runs, and raises, only once the result is stored.
    def alarm(*_args: object) -> None:
        raise TimeoutError(errno.ETIMEDOUT, "the alarm's")

    monkeypatch.setattr(*insides.fdatasync(), _failing_with_a_signal())
    found = 0
    before = signal.signal(signal.SIGUSR1, alarm)
    try:
        with pytest.raises(TimeoutError, match="the alarm's"):
            found = files.sync(7)
            len("")  # where the signal is seen at the latest
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert found


def _failing_with_a_signal() -> Callable[[int], int]:
    """In C alone, as a system call is: sends this thread a signal; then returns other than 0."""
    send = partial(ctypes.CDLL(None)["raise"], int(signal.SIGUSR1))
    return partial(sum, map(call, (send, partial(ctypes.set_errno, errno.EIO))))


def test_without_libcs_own_call_a_sync_is_an_fdatasync_too(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(*insides.fdatasync(), None)
    monkeypatch.setattr(os, "fdatasync", synced.append, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    assert files.sync(7) == 0
    assert synced == [7]


@pytest.mark.parametrize("error", [TimeoutError(), OSError(errno.EIO, "the disk's")])
def test_without_libcs_own_call_what_has_a_number_is_the_disks(
    files: Files, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    def fail(_fd: int) -> None:
        raise error

    monkeypatch.setattr(*insides.fdatasync(), None)
    monkeypatch.setattr(os, "fdatasync", fail, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    if error.errno is None:
        with pytest.raises(TimeoutError):
            files.sync(7)
    else:
        assert files.sync(7) == errno.EIO


def test_names_are_fsynced_through_their_directory(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.fstat(fd).st_ino))
    files.sync_directory(str(tmp_path))
    assert synced == [tmp_path.stat().st_ino]


# What a platform lacks


def test_on_macos_a_sync_goes_through_the_drives_cache(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    commands = []
    monkeypatch.setattr(*insides.fdatasync(), None)
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(fcntl, "F_FULLFSYNC", 51, raising=False)
    monkeypatch.setattr(fcntl, "fcntl", lambda fd, command: commands.append((fd, command)))
    files.sync(7)
    assert commands == [(7, 51)]


def test_without_fdatasync_a_sync_is_an_fsync(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(*insides.fdatasync(), None)
    monkeypatch.delattr(os, "fdatasync")
    monkeypatch.setattr(os, "fsync", synced.append)
    files.sync(7)
    assert synced == [7]


def test_on_windows_there_is_no_libc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    assert insides.load_libc() is None


def test_without_libc_no_map_is_locked(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fd = files.create(str(tmp_path / "file"))
    files.allocate(fd, 0, PAGE_BYTES)
    monkeypatch.setattr(*insides.libc(), None)
    with pytest.raises(OSError) as caught:
        files.map(fd, PAGE_BYTES, 0)
    assert caught.value.errno == errno.EOPNOTSUPP
    files.close(fd)


def test_windows_is_refused_with_the_reason(
    files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with pytest.raises(OSError, match="Windows"):
        files.lock(str(tmp_path / "LOCK"))
