"""The webhook example: its events, its accounts, its handler, and one whole run."""

from __future__ import annotations

import json
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import cast

import pytest

from examples.lines import LineReader, LineWriter
from examples.webhooks import __main__ as command
from examples.webhooks import receiver, sender
from examples.webhooks.audit import Audit, Record, audit
from examples.webhooks.events import events
from examples.webhooks.scenario import Outcome, Scenario
from jobqueue.final import Job, JobContext, Priority, RejectJobError, RetryJobError
from tests.support.example_runs import assert_refused, run_example


@contextmanager
def serving(server: ThreadingHTTPServer) -> Iterator[None]:
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()


# -- events


def test_the_same_seed_gives_the_same_events() -> None:
    assert list(events(50, seed=3)) == list(events(50, seed=3))


def test_another_seed_gives_other_events() -> None:
    assert not {e.id for e in events(50, seed=3)} & {e.id for e in events(50, seed=4)}


def test_events_are_json_that_carries_its_id() -> None:
    for event in events(100, seed=3):
        assert json.loads(event.body)["id"] == event.id


def test_events_reach_from_200_bytes_to_20_kilobytes() -> None:
    sizes = [len(event.body) for event in events(1000, seed=3)]
    assert 180 < min(sizes) < 220
    assert 18_000 < max(sizes) < 22_000


def test_only_payments_are_urgent() -> None:
    urgent = [event for event in events(300, seed=3) if event.priority is Priority.HIGH]
    assert {json.loads(event.body)["type"] for event in urgent} == {"payment.failed"}


def test_events_go_to_all_endpoints_of_the_receiver() -> None:
    assert {event.endpoint for event in events(1000, seed=3)} == receiver.ENDPOINTS.keys()


# -- accounts


def record(*lines: str) -> Record:
    result = Record()
    result.add(lines)
    return result


def test_an_acknowledged_event_that_never_arrived_is_lost() -> None:
    result = audit(["a", "b"], ["a", "b"], record("a 200"), dead={})
    assert result.lost == {"b"}
    assert not result.ok


def test_an_event_that_was_only_refused_is_lost() -> None:
    assert audit(["a"], ["a"], record("a 500"), dead={}).lost == {"a"}


def test_a_dead_letter_that_was_refused_is_not_lost() -> None:
    result = audit(["a"], ["a"], record("a 410 unsubscribed"), dead={"a": "410 Gone"})
    assert result.ok
    assert result.dead == Counter({"410 Gone": 1})


def test_a_dead_letter_that_was_never_refused_is_lost() -> None:
    assert audit(["a"], ["a"], record(), dead={"a": "boom"}).lost == {"a"}


def test_an_event_that_was_never_acknowledged_is_no_success() -> None:
    result = audit(["a", "b"], ["a"], record("a 200"), dead={})
    assert result.unaccepted == {"b"}
    assert not result.ok


def test_second_deliveries_are_counted_by_event() -> None:
    seen = record("a 200", "b 200 late", "b 500", "b 200 again", "b 200 again")
    result = audit(["a", "b"], ["a", "b"], seen, dead={})
    assert (result.delivered, result.twice) == (2, 1)
    assert result.ok


@pytest.mark.parametrize(("lost", "code"), [(frozenset[str](), 0), (frozenset({"a"}), 1)])
def test_exit_code_tells_of_lost_events(
    lost: frozenset[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = Audit(1, 0, Counter(), unaccepted=frozenset(), lost=lost)
    monkeypatch.setattr(Scenario, "run", lambda _: Outcome(result, {"200": 1}, 1.0, lanes={}))
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert command.main(["--jobs", "100"]) == code


# -- files of lines


def test_a_line_is_read_once_and_only_when_whole(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    reader = LineReader(path)
    assert reader.new() == []
    path.write_bytes(b"one\ntw")
    assert reader.new() == ["one"]
    with LineWriter(path) as writer:
        writer.add("o")
    assert reader.new() == ["two"]


# -- receiver


def answer(endpoint: receiver.Endpoint, data: object = None) -> receiver.Answer:
    body = json.dumps({"data": {"email": data}}).encode()
    return receiver.answer(endpoint, body, Random(1))


def test_an_endpoint_that_is_gone_answers_410() -> None:
    assert answer(receiver.Endpoint(gone=True), "x").status == 410


def test_a_field_without_a_value_is_answered_400() -> None:
    assert answer(receiver.Endpoint(), None).text == "email is missing"


def test_a_limited_endpoint_says_when_to_come_back() -> None:
    assert answer(receiver.Endpoint(limited=1.0), "x").retry_after_seconds == 1


def test_a_late_endpoint_outlasts_the_sender_s_patience() -> None:
    assert answer(receiver.Endpoint(late=1.0), "x").seconds > sender.PATIENCE_SECONDS


@pytest.fixture
def answers(tmp_path: Path) -> LineReader:
    return LineReader(tmp_path / "answers")


@pytest.fixture
def book(tmp_path: Path) -> Iterator[receiver.Receiver]:
    with LineWriter(tmp_path / "answers") as writer:
        yield receiver.Receiver(seed=1, record=writer)


def test_a_second_delivery_is_known_by_its_key(
    book: receiver.Receiver, answers: LineReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(receiver.ENDPOINTS, "shop", receiver.Endpoint())
    for key in ["a", "b", "a"]:
        book.take("/hooks/shop", key, b'{"data": {}}')
    assert answers.new() == ["a 200", "b 200", "a 200 again"]


def test_a_request_cut_off_in_its_body_is_neither_taken_nor_an_error(
    book: receiver.Receiver, answers: LineReader, capfd: pytest.CaptureFixture[str]
) -> None:
    head = b"POST /hooks/shop HTTP/1.1\r\nIdempotency-Key: a\r\nContent-Length: 9\r\n\r\n"
    with receiver.Server(book) as server:
        server.server_activate()
        address = server.socket.getsockname()
        with serving(server), socket.create_connection(address, timeout=10) as client:
            client.sendall(head + b'{"dat')
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
    assert answers.new() == []
    assert capfd.readouterr().err == ""


# -- the handler


class Script(ThreadingHTTPServer):
    """Answers with the status and headers it is told, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.status = 200
        self.headers: dict[str, str] = {}
        self.keys: list[str] = []
        self.bodies: list[bytes] = []
        self.go = threading.Event()
        self.go.set()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that hung up, as one without patience does."""
        assert isinstance(sys.exception(), ConnectionError)


class _Scripted(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Script

    def do_POST(self) -> None:
        script = self.server
        status = script.status
        body = self.rfile.read(int(self.headers["Content-Length"]))
        script.bodies.append(body)
        script.keys.append(self.headers["Idempotency-Key"])
        script.go.wait(10)
        self.send_response(status)
        self.send_header("Connection", "close")
        for name, value in script.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def script() -> Iterator[Script]:
    with Script() as server, serving(server):
        yield server


def deliver(script: Script, body: bytes = b"{}") -> None:
    host, port = script.server_address[:2]
    context = cast("JobContext", SimpleNamespace(job=Job(id="evt_1")))
    sender.deliver(f"http://{host!s}:{port}/hooks/shop", body.decode(), context)


def test_delivery_sends_the_event_with_its_id_as_idempotency_key(script: Script) -> None:
    deliver(script, b'{"id": "evt_1"}')
    assert (script.keys, script.bodies) == (["evt_1"], [b'{"id": "evt_1"}'])


@pytest.mark.parametrize("status", [400, 410, 422])
def test_what_can_never_succeed_is_rejected_with_the_reason(script: Script, status: int) -> None:
    script.status = status
    with pytest.raises(RejectJobError, match=f"^{status} .*: why"):
        deliver(script, b"why")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_what_may_succeed_later_is_retried(script: Script, status: int) -> None:
    script.status = status
    with pytest.raises(sender.DeliveryError, match=str(status)):
        deliver(script)


@pytest.mark.parametrize(("value", "delay"), [("7", 7.0), ("0", 0.0), ("86400", 60.0)])
def test_retry_after_is_kept_to_within_bounds(script: Script, value: str, delay: float) -> None:
    script.status = 429
    script.headers = {"Retry-After": value}
    with pytest.raises(RetryJobError) as caught:
        deliver(script)
    assert caught.value.delay == delay


def test_retry_after_as_a_date_is_left_to_the_backoff(script: Script) -> None:
    script.status = 503
    script.headers = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
    with pytest.raises(sender.DeliveryError):
        deliver(script)


def test_a_late_answer_is_not_taken_for_the_next_one(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "PATIENCE_SECONDS", 0.05)
    script.go.clear()
    script.status = 410
    with pytest.raises(TimeoutError):
        deliver(script)
    script.status = 200
    script.go.set()
    deliver(script)
    assert len(script.keys) == 2


# -- the command


@pytest.mark.parametrize(
    ("option", "value"), [("--jobs", "99"), ("--jobs", "many"), ("--durability", "x")]
)
def test_a_bad_option_is_refused_by_name_and_value(
    option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_refused(command.main, option, value, capsys)


@pytest.mark.slow
def test_nothing_is_lost_when_the_sender_is_killed_half_way(tmp_path: Path) -> None:
    printed, rows = run_example("webhooks", "--jobs", "300", "--seed", "7", home=tmp_path)
    assert ["lost", "0"] in [row[1:3] for row in rows]
    assert "SIGKILL" in printed
