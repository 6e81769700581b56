"""What can be done to a disk, and the names and contents that come of it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

Image: TypeAlias = Mapping[str, bytes | None]
"""What is on a disk: contents by path; `None` for a directory."""


class Made(NamedTuple):
    """A new file or directory got a name."""

    path: str
    inode: int
    directory: bool


class Renamed(NamedTuple):
    """A file got another name."""

    old: str
    new: str
    inode: int


class Unlinked(NamedTuple):
    """A file lost its name."""

    path: str
    inode: int


class Written(NamedTuple):
    """Bytes were written, or stored into a map of the file."""

    inode: int
    offset: int
    data: bytes
    mapped: bool


class Truncated(NamedTuple):
    """A file's length was set."""

    inode: int
    length: int


class SyncBegan(NamedTuple):
    """An fsync was called: of a file, by its inode, or of a directory, by its path."""

    target: int | str


class Synced(NamedTuple):
    """It returned; what came before event `began` is on the disk."""

    target: int | str
    began: int


class SyncFailed(NamedTuple):
    """It failed; what came before event `began` may or may not be on the disk, for ever."""

    target: int | str
    began: int


class Evicted(NamedTuple):
    """What could not be fsynced was taken out of the kernel's memory: this is on the disk."""

    inode: int
    content: bytes


NameChange: TypeAlias = Made | Renamed | Unlinked
ContentChange: TypeAlias = Written | Truncated
Change: TypeAlias = NameChange | ContentChange
Event: TypeAlias = Change | SyncBegan | Synced | SyncFailed | Evicted


def target_of(change: Change) -> int | str:
    """The file or directory whose fsync makes a change safe."""
    if isinstance(change, Renamed):
        return os.path.dirname(change.new)  # the log never moves a file between directories
    if isinstance(change, (Made, Unlinked)):
        return os.path.dirname(change.path)
    return change.inode


class Tree:
    """The names and contents of a disk. Copies share contents until they are changed.

    Attributes:
        names: inodes by path.
        directories: the inodes that are directories.
    """

    def __init__(self, image: Image = {"/": None}) -> None:  # noqa: B006 - it is only read
        paths = sorted(image)
        self.names = {path: inode for inode, path in enumerate(paths)}
        self.directories = {inode for inode, path in enumerate(paths) if image[path] is None}
        self._frozen = {inode: image[path] or b"" for inode, path in enumerate(paths)}
        self._changed: dict[int, bytearray] = {}

    def copy(self) -> Tree:
        """A tree that can be changed without changing this one."""
        copy = Tree.__new__(Tree)
        self._freeze()
        copy.names = dict(self.names)
        copy.directories = set(self.directories)
        copy._frozen = dict(self._frozen)
        copy._changed = {}
        return copy

    def _freeze(self) -> None:
        for inode, content in self._changed.items():
            self._frozen[inode] = bytes(content)
        self._changed.clear()

    def next_inode(self) -> int:
        """A number that no inode has."""
        return max(self._frozen.keys() | self._changed.keys(), default=0) + 1

    def content(self, inode: int) -> bytes | bytearray:
        """What is in a file; not to be changed."""
        return self._changed.get(inode) or self._frozen.get(inode, b"")

    def _of(self, inode: int) -> bytearray:
        if inode not in self._changed:
            self._changed[inode] = bytearray(self._frozen.get(inode, b""))
        return self._changed[inode]

    def prune(self) -> None:
        """Take out the names that are in directories that are not there."""
        for path in sorted(self.names):  # a directory stands before what is in it
            if path != "/" and os.path.dirname(path) not in self.names:
                del self.names[path]

    def image(self) -> Image:
        """All of it."""
        self._freeze()
        return {
            path: None if inode in self.directories else self._frozen.get(inode, b"")
            for path, inode in self.names.items()
        }

    def replace(self, inode: int, content: bytes) -> None:
        """Have another content in a file."""
        self._changed.pop(inode, None)
        self._frozen[inode] = content

    def do(self, change: Change) -> None:
        """Carry out a change."""
        match change:
            case Written(inode, offset, data):
                content = self._of(inode)
                _resize(content, max(len(content), offset))
                content[offset : offset + len(data)] = data
            case Truncated(inode, length):
                _resize(self._of(inode), length)
            case Made(path, inode, directory):
                self.names[path] = inode
                self._frozen.setdefault(inode, b"")
                if directory:
                    self.directories.add(inode)
            case Renamed(old, new, inode):
                self._remove(old, inode)
                self.names[new] = inode
            case Unlinked(path, inode):
                self._remove(path, inode)

    def _remove(self, path: str, inode: int) -> None:
        if self.names.get(path) == inode:  # else it never got this name, or has it no more
            del self.names[path]


def _resize(content: bytearray, length: int) -> None:
    """Cut a file's content, or fill it up with NULs."""
    if length < len(content):
        del content[length:]
    else:
        content.extend(bytes(length - len(content)))
