"""No file system kills a process that has its log there.

A store into a shared map that the file system cannot take is a SIGBUS. So wherever a log is mapped
no such store may be made, whatever becomes of the disk: it is filled, shut down, aborted, dies, and
a page of the map is taken out of memory before. Each trial is made on a real file system in a file.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.children import Child

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")]


class Disk(NamedTuple):
    """A file system and how it is mounted."""

    kind: str
    make: str
    options: str = ""
    megabytes: int = 32
    tuned: str = ""

    def __str__(self) -> str:
        name = self.make.removeprefix("mkfs.")
        return " ".join(filter(None, (name, self.options, self.tuned, f"{self.megabytes}M")))


DISKS = [
    Disk("ext4", "mkfs.ext4 -b 4096", megabytes=20),  # small: it is near to full when it is full
    Disk("ext4", "mkfs.ext4", megabytes=64),
    Disk("ext4", "mkfs.ext4 -O ^has_journal"),
    Disk("ext4", "mkfs.ext4", "nodelalloc"),
    Disk("ext4", "mkfs.ext4", "data=journal"),
    Disk("ext4", "mkfs.ext4", "data=writeback"),
    Disk("ext4", "mkfs.ext4", tuned="journal_data"),  # /proc/mounts does not show that
    Disk("xfs", "mkfs.xfs", megabytes=320),
    Disk("btrfs", "mkfs.btrfs", megabytes=128),
    Disk("tmpfs", "tmpfs", "size=32m"),
]
ALIKE = DISKS[1:7]
"""Other kinds of ext4: in each run they have the worst fault, and all of them once a day."""
SIMPLER_FAULTS = [
    "shutdown",
    "abort",
    "full",
    "full abort",
    "evict dead",
    "reflink full evict dead",
]


@contextmanager
def mounted(disk: Disk) -> Iterator[tuple[Path, Path]]:
    """The mount point of a new file system, and the file that it is in.

    Not below `tmp_path`: a run that is killed would leave it mounted where pytest cleans up.
    """
    program, *options = disk.make.split()
    if disk.kind != "tmpfs" and shutil.which(program) is None:
        pytest.skip(f"there is no {program}")
    top = Path(tempfile.mkdtemp(prefix="jobqueue-disk-"))
    image, mount = top / "image", top / "mount"
    mount.mkdir()
    command = ["mount", "-t", disk.kind]
    if disk.kind == "tmpfs":
        command += ["-o", disk.options, "tmpfs", str(mount)]
    else:
        with image.open("wb") as file:
            file.truncate(disk.megabytes << 20)
        subprocess.run([program, "-q", *options, image], check=True, capture_output=True)
        if disk.tuned:
            subprocess.run(["tune2fs", "-o", disk.tuned, image], check=True, capture_output=True)
        kept = ["loop", disk.options, "errors=remount-ro" if disk.kind == "ext4" else ""]
        command += ["-o", ",".join(filter(None, kept)), str(image), str(mount)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        if done.returncode != 0:
            pytest.skip(f"it cannot be mounted: {done.stderr.strip()}")
        yield mount, image
    finally:
        subprocess.run(["umount", "-l", mount], check=False, capture_output=True)
        shutil.rmtree(top, ignore_errors=True)


FAULTS = [
    *((faults, "write") for faults in ("full evict dead", "full shutdown", "reflink full")),
    *(("full evict dead", level) for level in ("async", "fsync")),
    # The others are parts of these, or alike.
    *((faults, "write") for faults in SIMPLER_FAULTS),
    *(("full shutdown", level) for level in ("async", "fsync")),
]


def _trials() -> Iterator[Any]:
    for disk in DISKS:
        for number, (faults, level) in enumerate(FAULTS):
            is_daily = number >= (1 if disk in ALIKE else 3)
            yield pytest.param(
                *(disk, faults, level),
                id=f"{disk}-{faults}-{level}",
                marks=[pytest.mark.daily] if is_daily else [],
            )


@pytest.mark.parametrize(("disk", "faults", "level"), list(_trials()))
def test_no_disk_kills_the_process(disk: Disk, faults: str, level: str) -> None:
    """Fault 28 of docs/reliability.md."""
    with mounted(disk) as (mount, image), Child("break_disk", mount, image, level, faults) as child:
        assert child.end() == 0, child.stderr
        lines = child.rest()
    if "cannot" in lines:
        pytest.skip("this file system cannot be broken in this way")
    assert lines[-1] == "ends"
    assert ("goes on" in lines) == faults.endswith("full")


@pytest.mark.parametrize("map_log", [False, True])
def test_a_segment_that_is_cut_from_outside_kills_only_a_process_that_maps(
    tmp_path: Path, map_log: bool
) -> None:
    """Fault 29 of docs/reliability.md."""
    with Child("break_disk", tmp_path, "", "write", "truncate", map_log) as child:
        status = child.end()
    assert (status == -signal.SIGBUS) == map_log
