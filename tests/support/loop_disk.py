"""A real file system in a file, whose power can be cut: its image is copied while it is in use."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE_BYTES = 32 << 20
_COMPLETED, _IN_FLIGHT = 4, 8
"""Where /sys/block/*/stat tells of writes that were completed, and of those that go on."""


def missing() -> str:
    """Why there can be no such disk here; empty if there can."""
    if os.geteuid() != 0:
        return "only root may mount"
    lacking = [tool for tool in ("mkfs.ext4", "mount", "umount") if shutil.which(tool) is None]
    if lacking:
        return f"there is no {lacking[0]}"
    return "" if Path("/dev/loop-control").exists() else "there are no loop devices"


def _run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{command[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


@contextmanager
def _mounted(image: Path, place: Path) -> Iterator[None]:
    place.mkdir()
    _run("mount", "-o", "loop", image, place)
    try:
        yield
    finally:
        _run("umount", place)
        place.rmdir()


class LoopDisk:
    """An ext4 in a file, mounted while it is entered.

    Args:
        directory: where its image and its mount points are made.

    Attributes:
        root: where it is mounted.

    Raises:
        OSError: it cannot be made or mounted.
    """

    def __init__(self, directory: Path) -> None:
        self.root = directory / "disk"
        self._directory = directory
        self._image = directory / "image"
        with self._image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-F", self._image)
        self._mount = _mounted(self._image, self.root)

    def __enter__(self) -> LoopDisk:
        self._mount.__enter__()
        return self

    def __exit__(self, *_error: object) -> None:
        self._mount.__exit__(None, None, None)

    @contextmanager
    def after_power_cut(self) -> Iterator[Path]:
        """What is on the disk now, mounted elsewhere; programs that use it must have been stopped.

        What the kernel has not written yet is lost. The copy is of one moment: if a write came
        in between, it is made again.
        """
        copy = self._directory / "copy"
        eventually(lambda: self._copied(copy))
        with _mounted(copy, self._directory / "after"):
            yield self._directory / "after"
        copy.unlink()

    def _copied(self, copy: Path) -> bool:
        before = self._writes()
        shutil.copyfile(self._image, copy)
        return before == self._writes() and before[1] == 0

    def _writes(self) -> tuple[int, int]:
        device = Path(_run("findmnt", "-n", "-o", "SOURCE", self.root)).name
        fields = Path(f"/sys/block/{device}/stat").read_text(encoding="ascii").split()
        return int(fields[_COMPLETED]), int(fields[_IN_FLIGHT])
