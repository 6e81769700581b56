"""No client can hold up the owner or another client, whatever it sends or does not read.

Faults 41 to 43.
"""

from __future__ import annotations

import os
import resource
import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobqueue.final import Job, JobQueueError, Status, UnknownJobError
from jobqueue.final.sharing import visitor as visitors
from jobqueue.final.sharing.frames import framed
from jobqueue.final.sharing.messages import (
    GIVE_UP,
    PROTOCOL,
    VERSION,
    Hello,
    One,
    pack,
    read_first,
    wire_job,
)
from tests.final.sharing.peers import answers, connected, enqueue, greeted, is_ended, request
from tests.support import insides
from tests.support.forks import in_fork
from tests.support.waiting import PATIENCE, eventually

if TYPE_CHECKING:
    from tests.final.sharing.conftest import Sharing

FUZZ = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def still_serves(sharing: Sharing) -> bool:
    with greeted(sharing.path) as sock:
        job = Job()
        sock.sendall(enqueue(1, job))
        return answers(sock, 1)[0].failure is None


@FUZZ
@given(data=st.lists(st.binary(max_size=200), max_size=5), greets=st.booleans())
def test_bytes_that_are_no_message_end_their_connection_alone(
    fuzzed: Sharing, data: list[bytes], greets: bool
) -> None:
    """Fault 41."""
    opened = greeted if greets else connected
    with opened(fuzzed.path) as sock:
        for each in data:
            try:
                sock.sendall(each)
            except ConnectionError:
                break
    assert still_serves(fuzzed)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=9) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
CALLS = st.sampled_from(
    [*("enqueue", "enqueue_many", "enqueue_together", "watch", "join", "give_up", "nothing")]
    + [*("status", "handle", "info", "cancel", "result", "dead_letters", "requeue", "discard")]
    + [*("metrics", "pause", "periodics")]
)


@FUZZ
@given(
    requests=st.lists(
        st.tuples(st.integers(0, 5), CALLS, st.booleans(), VALUES), min_size=1, max_size=5
    )
)
def test_messages_that_make_no_sense_are_answered_or_end_their_connection(
    fuzzed: Sharing, requests: list[tuple[int, str, bool, object]]
) -> None:
    """Fault 41."""
    with greeted(fuzzed.path) as sock:
        sock.sendall(b"".join(framed(pack(each)) for each in requests))
    assert still_serves(fuzzed)


@pytest.fixture
def fuzzed(sharing: Sharing) -> Sharing:
    sharing.open(len)
    return sharing


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", 2**32 - 1) + b"x",  # a length that nobody could hold
        framed(b"\xc1"),
        framed(b""),
        framed(pack([[]])),
        framed(b"\x91" * 100_000),  # nested ever deeper
    ],
    ids=["too long", "no MessagePack", "empty", "of other types", "deep"],
)
@pytest.mark.parametrize("greets", [True, False], ids=["greeted", "not greeted"])
def test_a_frame_that_is_none_ends_its_connection(
    sharing: Sharing, data: bytes, greets: bool
) -> None:
    sharing.open(len)
    with (greeted if greets else connected)(sharing.path) as sock:
        sock.sendall(data)
        assert is_ended(sock)
    assert still_serves(sharing)


def test_another_version_is_refused_with_the_reason(sharing: Sharing) -> None:
    sharing.open(len)
    with connected(sharing.path) as sock:
        sock.sendall(framed(pack(Hello(PROTOCOL, 999, 1))))
        assert "999" in read_first(sock.recv(1 << 16)[4:]).why
        assert is_ended(sock)


def test_a_client_that_does_not_read_is_not_answered_more(sharing: Sharing) -> None:
    """Fault 42."""
    owner = sharing.open(len, start=False)
    owner.enqueue(Job(bytes(1 << 18), id="large"))
    with greeted(sharing.path) as sock:
        sock.sendall(b"".join(request(n, "handle", ("large",)) for n in range(200)))
        assert eventually(lambda: insides.unread_bytes(owner) > 0)
        assert still_serves(sharing)
        assert insides.unread_bytes(owner) < 20 << 18
        assert len(answers(sock, 200)) == 200


def test_a_client_that_leaves_a_message_half_sent_is_sent_away(
    sharing: Sharing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fault 42."""
    from jobqueue.final.sharing import server

    monkeypatch.setattr(server, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(visitors, "STALLED_SECONDS", 0.02)
    monkeypatch.setattr(visitors, "GREETING_SECONDS", 0.02)
    sharing.open(len)
    with greeted(sharing.path) as half, connected(sharing.path) as silent, greeted(
        sharing.path
    ) as whole:  # fmt: skip
        half.sendall(enqueue(1, Job())[:-1])
        assert is_ended(half)
        assert is_ended(silent)
        whole.sendall(enqueue(1, Job()))
        assert answers(whole, 1)[0].failure is None


def test_a_client_that_is_gone_waits_for_nothing(sharing: Sharing) -> None:
    """Fault 43."""
    blocker = sharing.blocker()
    owner = sharing.open(blocker, num_workers=1, queue_size=1)
    owner.enqueue(Job())
    blocker.await_entered()
    owner.enqueue(Job())
    with greeted(sharing.path) as sock:
        sock.sendall(enqueue(1, Job(id="late")) + request(2, "join"))
        assert eventually(
            lambda: len(insides.producers(insides.owner_of(owner), Job().priority)) == 1
        )

    assert eventually(lambda: not insides.producers(insides.owner_of(owner), Job().priority))
    assert eventually(lambda: insides.visitors_of(owner) == 0)
    blocker.gate.set()
    assert owner.join(PATIENCE)
    with pytest.raises(UnknownJobError):
        owner.status("late")


def test_jobs_that_arrive_together_share_a_batch(sharing: Sharing) -> None:
    owner = sharing.open(len, start=False)
    with greeted(sharing.path) as sock:
        before = owner.metrics().log
        sock.sendall(b"".join(enqueue(n, Job()) for n in range(100)))
        assert all(each.failure is None for each in answers(sock, 100))
        after = owner.metrics().log
        assert before is not None
        assert after is not None
        assert after.batches - before.batches < 20


def test_a_number_that_is_taken_is_refused_for_another_call(sharing: Sharing) -> None:
    sharing.open(len, start=False)
    with greeted(sharing.path) as sock:
        sock.sendall(enqueue(1, Job(id="a")))
        assert answers(sock, 1)[0].failure is None
        sock.sendall(request(1, "watch", ("a",)) + request(1, "watch", ("a",)))
        failure = answers(sock, 1)[0].failure
        assert failure is not None
        assert "under way" in failure.message


def test_a_call_that_comes_again_is_told_from_another_one_of_its_id(sharing: Sharing) -> None:
    owner, job = sharing.open(len, start=False), Job(id="a")
    with greeted(sharing.path) as sock:
        for number, again, each in [(1, False, job), (2, True, job), (3, True, Job(id="a"))]:
            sock.sendall(request(number, "enqueue", One(wire_job(each)), again=again))
        first, second, third = sorted(answers(sock, 3), key=lambda each: each.number)
    assert first.failure is second.failure is None
    assert third.failure is not None
    assert third.failure.kind == "DuplicateJobError"
    assert owner.metrics().enqueued == 1


def test_a_call_that_was_given_up_is_answered_so(sharing: Sharing) -> None:
    owner = sharing.open(len, start=False, queue_size=1)
    owner.enqueue(Job())
    with greeted(sharing.path) as sock:
        sock.sendall(enqueue(1, Job(id="late")))
        assert eventually(
            lambda: len(insides.producers(insides.owner_of(owner), Job().priority)) == 1
        )
        sock.sendall(request(0, GIVE_UP, (1,)))
        failure = answers(sock, 1)[0].failure
        assert failure is not None
        assert failure.kind == "EnqueueCancelledError"
    assert not insides.producers(insides.owner_of(owner), Job().priority)


def test_an_owner_that_is_only_steered_takes_no_jobs(sharing: Sharing) -> None:
    owner = sharing.open(len, start=False, share="off", control=True)
    handle = owner.enqueue(Job())
    client = sharing.client()
    for refused in (lambda: client.enqueue(Job()), lambda: client.enqueue_many([Job()])):
        with pytest.raises(JobQueueError, match="control=True"):
            refused()
    assert client.cancel(handle.id)
    assert handle.status is Status.CANCELLED


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_is_refused(sharing: Sharing) -> None:
    sharing.open(len)
    sharing.path.chmod(0o711)
    (sharing.path / "OWNER.sock").chmod(0o666)
    for parent in sharing.path.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)

    def look() -> str:
        os.setuid(65534)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(sharing.path / "OWNER.sock"))
            sock.settimeout(PATIENCE)
            try:
                sock.sendall(framed(pack(Hello(PROTOCOL, VERSION, os.getpid()))))
                return "answered" if sock.recv(1) else "ended"
            except ConnectionError:
                return "ended"

    assert in_fork(look) == "ended"


def test_a_forked_child_of_the_owner_keeps_no_connection(sharing: Sharing) -> None:
    owner, client = sharing.open(len), sharing.open(len)
    handle = client.enqueue(Job())
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(reading, 1)  # it lives on after its parent's queue has ended
        os._exit(0)
    try:
        owner.close()
        assert client.enqueue(Job(b"abc")).result(PATIENCE) == 3
        assert handle.status is Status.COMPLETED
    finally:
        os.write(writing, b"x")
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


@pytest.mark.slow
def test_a_thousand_clients_are_served(sharing: Sharing) -> None:
    """Fault 43."""
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 4096:
        pytest.skip(f"only {most} files can be open")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limit, 4096), most))
    owner = sharing.open(len, queue_size=5000)
    socks: list[socket.socket] = []
    opened = [greeted(sharing.path) for _ in range(1000)]
    try:
        socks += [each.__enter__() for each in opened]
        for number, sock in enumerate(socks):
            sock.sendall(enqueue(1, Job(id=str(number))) + request(2, "status", (str(number),)))
        for sock in socks:
            assert {each.number for each in answers(sock, 2)} == {1, 2}
        assert insides.visitors_of(owner) == 1000
    finally:
        for each in opened[: len(socks)]:
            each.__exit__(None, None, None)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, most))
    assert owner.join(PATIENCE)
    assert owner.metrics().completed == 1000
    assert eventually(lambda: insides.visitors_of(owner) == 0)


def test_a_queue_that_is_not_shared_starts_no_server(sharing: Sharing) -> None:
    before = {thread.name for thread in threading.enumerate()}
    sharing.open(len, share="off")
    assert "jobqueue-share" not in {thread.name for thread in threading.enumerate()} - before
    assert not (sharing.path / "OWNER.sock").exists()
