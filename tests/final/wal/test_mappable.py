from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobqueue.final.wal.mappable import no_store_can_fail
from tests.support import insides

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is mapped elsewhere")

DEFAULT = "rw\ndelalloc\ndata=ordered\nbarrier\n"


@pytest.fixture
def fd(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield fd
    os.close(fd)


class Disk:
    """What the system says of the disk that a file is on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        self.flags = 0
        self._patch = monkeypatch
        self._options = tmp_path / "options"
        monkeypatch.setattr(*insides.ext4_options(), str(self._options))
        monkeypatch.setattr(os, "readlink", lambda _path: "../../block/vda")
        monkeypatch.setattr(
            "jobqueue.final.wal.mappable.fcntl.ioctl",
            lambda _fd, _request, _data: (
                self.flags.to_bytes(8, sys.byteorder)
                if sys.byteorder == "little"
                else self.flags.to_bytes(4, "big") + bytes(4)
            ),
        )

    def kind(self, magic: int) -> None:
        self._patch.setattr(*insides.kind_of_file_system(), lambda _fd: magic)

    def options(self, text: str) -> None:
        self._options.write_text(text, encoding="ascii")


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Disk:
    return Disk(monkeypatch, tmp_path)


@pytest.mark.parametrize(
    ("magic", "is_safe"),
    [
        pytest.param(0xEF53, True, id="ext4"),
        pytest.param(0x01021994, True, id="tmpfs"),
        pytest.param(0x58465342, False, id="XFS"),
        pytest.param(0x9123683E, False, id="btrfs"),
        pytest.param(0x2FC12FC1, False, id="ZFS"),
        pytest.param(0x6969, False, id="NFS"),
        pytest.param(0x794C7630, False, id="overlay"),
        pytest.param(0x65735546, False, id="FUSE"),
        pytest.param(0, False, id="unknown"),
    ],
)
def test_only_ext4_and_memory_are_mapped(disk: Disk, fd: int, magic: int, is_safe: bool) -> None:
    disk.options(DEFAULT)
    disk.kind(magic)
    assert no_store_can_fail(fd) == is_safe


@pytest.mark.parametrize(
    ("options", "is_safe"),
    [
        (DEFAULT, True),
        ("rw\ndelalloc\n", True),  # without a journal
        (DEFAULT.replace("delalloc", "nodelalloc"), False),
        (DEFAULT.replace("ordered", "journal"), False),
        (DEFAULT.replace("ordered", "writeback"), False),
        (DEFAULT + "dax=always\n", False),
        (DEFAULT + "dax\n", False),
        ("rw\ndata=ordered\n", False),
        ("", False),
    ],
)
def test_ext4_is_mapped_with_its_default_options_only(
    disk: Disk, fd: int, options: str, is_safe: bool
) -> None:
    disk.kind(0xEF53)
    disk.options(options)
    assert no_store_can_fail(fd) == is_safe


@pytest.mark.parametrize("flags", [0x4000, 0x02000000, 0x4000 | 0x80000])
def test_a_file_with_journalled_data_or_none_in_memory_is_not_mapped(
    disk: Disk, fd: int, flags: int
) -> None:
    disk.kind(0xEF53)
    disk.options(DEFAULT)
    disk.flags = flags
    assert not no_store_can_fail(fd)


def test_other_flags_of_a_file_do_not_matter(disk: Disk, fd: int) -> None:
    disk.kind(0xEF53)
    disk.options(DEFAULT)
    disk.flags = 0x80000  # extents
    assert no_store_can_fail(fd)


def test_where_the_options_are_hidden_nothing_is_mapped(disk: Disk, fd: int) -> None:
    disk.kind(0xEF53)
    assert not no_store_can_fail(fd)


def test_a_file_in_memory_is_told_from_the_file_itself() -> None:
    if not os.path.isdir("/dev/shm"):
        pytest.skip("there is no /dev/shm")
    name = f"/dev/shm/jobqueue-test-{os.getpid()}"
    fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
    os.unlink(name)
    assert no_store_can_fail(fd)
    os.close(fd)


def test_a_file_of_the_kernels_is_not_mapped() -> None:
    fd = os.open("/proc/self/comm", os.O_RDWR)
    assert not no_store_can_fail(fd)
    os.close(fd)


def test_a_closed_descriptor_is_not_mapped() -> None:
    assert not no_store_can_fail(-1)


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_elsewhere_nothing_is_mapped(
    fd: int, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(ctypes, "CDLL", None)
    assert not no_store_can_fail(fd)
