"""Uses a log while its disk breaks, and tells whether it came to an end.

Arguments: the directory that the disk is mounted on, the file that it is in, the durability, what
happens to it, word by word, and whether the log is mapped, if that is not left open.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from jobqueue.final import Config, Job, JobQueue, JobQueueError, LogWriteError
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from jobqueue.final.config import Durability

SHUTDOWN, AT_ONCE = 0x8004587D, 2  # FS_IOC_SHUTDOWN, without a flush of the journal
PAGEOUT = 21  # of madvise(2)
PAYLOAD = b"x" * 3000
JOBS = 500
"""Of this size, after the break: they are more than one window takes."""


class CannotError(Exception):
    """The disk cannot be broken in this way."""


def main(mount: str, image: str, durability: str, faults: str, map_log: str = "") -> None:
    """Do it."""
    log = Path(mount, "q")
    config = Config(
        persist_path=log,
        durability=cast("Durability", durability),
        shutdown_timeout=1.0,
        map_log={"": None, "True": True, "False": False}[map_log],
    )
    jq = JobQueue(config, handler=len)
    jq.enqueue(Job(b"a")).wait(2)
    jq.flush()
    try:
        for fault in faults.split():
            _break(fault, Path(mount), Path(image), log)
    except CannotError:
        print("cannot", flush=True)
        os._exit(0)
    for _ in range(JOBS):
        try:
            jq.enqueue(Job(PAYLOAD), timeout=1)
        except LogWriteError:
            print("told", flush=True)
        except JobQueueError:
            break
    if faults.endswith("full"):
        os.unlink(Path(mount, "other"))
        eventually(lambda: _goes_on(jq))
        print("goes on", flush=True)
    try:
        jq.close(1)
    except LogWriteError:
        print("told by close", flush=True)
    print("ends", flush=True)
    os._exit(0)


def _goes_on(jq: JobQueue) -> bool:
    try:
        jq.enqueue(Job(b"after"))
        jq.flush()
    except LogWriteError:
        return False
    return True


def _break(fault: str, mount: Path, image: Path, log: Path) -> None:
    if fault == "reflink":
        subprocess.run(["cp", "--reflink=auto", "-a", log, mount / "copy"], check=True)
    elif fault == "full":
        _fill(mount / "other")
    elif fault == "shutdown":
        _shut_down(mount)
    elif fault == "abort":
        _abort(mount)
    elif fault == "evict":
        _evict(log)
    elif fault == "dead":
        if not image.exists():
            raise CannotError
        os.truncate(image, 0)
    elif fault == "truncate":
        os.truncate(max(log.glob("*.jsonl")), 0)


def _fill(path: Path) -> None:
    fd, size = os.open(path, os.O_WRONLY | os.O_CREAT), 1 << 20
    while size:
        try:
            os.write(fd, b"x" * size)
        except OSError:
            size //= 2
    os.close(fd)


def _shut_down(mount: Path) -> None:
    fd = os.open(mount, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", AT_ONCE))
    except OSError as error:
        raise CannotError from error


def _abort(mount: Path) -> None:
    """An error of the file system; it is to be mounted with `errors=remount-ro`."""
    command = ["findmnt", "-n", "-o", "SOURCE", str(mount)]
    device = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    trigger = Path("/sys/fs/ext4", Path(device).name, "trigger_fs_error")
    if not trigger.exists():
        raise CannotError
    trigger.write_text("1", encoding="ascii")


def _evict(log: Path) -> None:
    """As when memory is short: what is on the disk may have to be read again."""
    madvise = ctypes.CDLL(None).madvise
    for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
        if str(log) in line:
            start, end = (int(number, 16) for number in line.split()[0].split("-"))
            madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), PAGEOUT)
    for path in log.iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


if __name__ == "__main__":
    main(*sys.argv[1:])
