"""Where the owner listens, and who may speak there."""

from __future__ import annotations

import errno
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from jobqueue.final import Job, JobQueue
from jobqueue.final.sharing import address
from tests.final.sharing.conftest import Sharing
from tests.support.waiting import PATIENCE

linux = pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets are Linux's")


def test_the_socket_is_for_its_user_alone_whatever_the_umask(sharing: Sharing) -> None:
    before = os.umask(0)
    try:
        sharing.open(len)
    finally:
        os.umask(before)
    mode = (sharing.path / "OWNER.sock").stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_the_socket_is_taken_away_with_the_owner(sharing: Sharing) -> None:
    owner = sharing.open(len)
    owner.close()
    assert not (sharing.path / "OWNER.sock").exists()


def test_what_an_owner_that_died_left_is_replaced(sharing: Sharing) -> None:
    sharing.path.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(sharing.path / "OWNER.sock"))
    sharing.open(len)
    assert sharing.client().enqueue(Job(b"abc")).result(PATIENCE) == 3


@linux
def test_a_path_that_is_too_long_for_a_socket_works_all_the_same(tmp_path: Path) -> None:
    sharing = Sharing(tmp_path / ("x" * 120) / "jobs")
    sharing.path.parent.mkdir()
    try:
        owner = sharing.open(len)
        assert sharing.client().enqueue(Job(b"abc")).result(PATIENCE) == 3
        assert not (sharing.path / "OWNER.sock").exists()
        link = tmp_path / "short"
        link.symlink_to(sharing.path.parent)
        with JobQueue(owner.config.__class__(persist_path=link / "jobs", share="client")) as client:
            assert client.metrics().enqueued == 1
    finally:
        sharing.close()


@linux
def test_a_file_system_without_sockets_works_all_the_same(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class NoFiles(socket.socket):
        def bind(self, where: object) -> None:
            if not str(where).startswith("\0"):
                raise OSError(errno.EPERM, "Operation not permitted")
            super().bind(where)  # type: ignore[arg-type]  # an abstract name

    monkeypatch.setattr(socket, "socket", NoFiles)
    sharing.open(len)
    assert sharing.client().enqueue(Job(b"abc")).result(PATIENCE) == 3


def test_where_there_is_no_socket_at_all_the_owner_is_told_why(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    sharing.path = sharing.path / ("x" * 120)
    sharing.path.parent.mkdir(mode=0o700)
    with pytest.raises(OSError, match="use a shorter persist_path"):
        sharing.open(len)
    sharing.open(len, share="off")  # nothing has kept the log


def test_another_users_owner_is_not_spoken_to(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing.open(len)
    monkeypatch.setattr(address, "peer_of", lambda sock: address.Peer(7, os.geteuid() + 1))
    with pytest.raises(PermissionError, match="process 7"):
        address.connect(str(sharing.path))


def test_nobody_who_listens_is_no_error(tmp_path: Path) -> None:
    assert address.connect(str(tmp_path)) is None
    assert address.connect(str(tmp_path / "missing")) is None


@linux
def test_the_peer_is_told_by_the_kernel(sharing: Sharing) -> None:
    sharing.open(len)
    sock = address.connect(str(sharing.path))
    assert sock is not None
    with sock:
        assert address.peer_of(sock) == (os.getpid(), os.geteuid())
