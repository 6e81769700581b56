from __future__ import annotations

import threading
import time
import uuid
from typing import Any

import pytest

from jobqueue.final import Job, JobHandle, Priority, Unique
from tests.support.handlers import in_thread
from tests.support.waiting import PATIENCE

LONE_SURROGATE = "job-\ud800"


def test_job_has_the_defaults_of_the_contract() -> None:
    job = Job()
    assert (job.payload, job.priority, job.handler) == (b"", Priority.MEDIUM, None)
    assert (job.max_retries, dict(job.headers), job.retries) == (None, {}, 0)


def test_job_keeps_what_it_was_given() -> None:
    job = Job(
        b"\x00\xff",
        id="order-7",
        priority=Priority.HIGH,
        handler="ship",
        max_retries=5,
        headers={"traceparent": "00-ab-cd-01"},
    )
    assert (job.payload, job.id, job.priority) == (b"\x00\xff", "order-7", Priority.HIGH)
    assert (job.handler, job.max_retries) == ("ship", 5)
    assert dict(job.headers) == {"traceparent": "00-ab-cd-01"}


def test_another_job_has_an_id_of_its_own_and_differs_in_nothing_but_the_payload() -> None:
    given: dict[str, Any] = {
        "priority": Priority.HIGH,
        "handler": "ship",
        "max_retries": 5,
        "headers": {"tenant": "a"},
        "store_result": True,
        "key": "order 7",
        "unique": Unique(by="key"),
        "after": ("order-6",),
        "expires": 5.0,
    }
    job = Job(b"one", id="order-7", **given)
    other = job.another(b"two")
    assert {name: getattr(other, name) for name in given} == given
    assert (other.payload, other.retries) == (b"two", 0)
    assert len({job.id, other.id, job.another(b"two").id}) == 3
    assert other.created >= job.created
    with pytest.raises(TypeError, match="payload must be bytes, not str"):
        job.another("two")  # type: ignore[arg-type]  # the mistake that is tested


def test_all_but_the_payload_is_given_by_name() -> None:
    with pytest.raises(TypeError):
        Job(b"", "order-7")  # type: ignore[call-arg]  # the mistake that is tested


def test_default_ids_are_uuids_in_hex_and_differ() -> None:
    ids = {Job().id for _ in range(1000)}
    assert len(ids) == 1000
    for each in map(uuid.UUID, ids):
        assert (each.version, each.variant) == (4, uuid.RFC_4122)
    assert {each.hex for each in map(uuid.UUID, ids)} == ids
    assert len({id[12:] for id in ids}) == len({id[:16] for id in ids}) == 1000


def test_threads_that_make_jobs_get_ids_that_differ() -> None:
    def make() -> list[str]:
        return [Job().id for _ in range(5000)]

    makers = [in_thread(make) for _ in range(4)]
    ids = [id for maker in makers for id in maker.result(PATIENCE)]
    assert len(set(ids)) == len(ids) == 20_000


def test_created_is_the_unix_time_at_which_the_job_was_made() -> None:
    before = time.time()
    job = Job()
    assert before <= job.created <= time.time()


@pytest.mark.parametrize("priority", list(Priority))
def test_priorities_are_0_1_2_from_high_to_low(priority: Priority) -> None:
    assert [each.value for each in Priority] == [0, 1, 2]
    assert Job(priority=int(priority)).priority is priority  # type: ignore[arg-type]  # what an IntEnum allows


@pytest.mark.parametrize(
    "name",
    ["payload", "id", "priority", "handler", "max_retries", "headers", "retries", "created"],
)
def test_job_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Job(), name, None)


def test_headers_cannot_be_changed_through_the_job_or_behind_its_back() -> None:
    given = {"a": "1"}
    job = Job(headers=given)
    given["a"] = "2"
    with pytest.raises(TypeError):
        job.headers["a"] = "3"  # type: ignore[index]  # the mistake that is tested
    assert job.headers["a"] == "1"


# ── bad input ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("payload", ["text", bytearray(b"a"), memoryview(b"a"), None, 3])
def test_payload_that_is_not_bytes_is_refused_with_its_type(payload: Any) -> None:
    with pytest.raises(TypeError, match=f"payload must be bytes, not {type(payload).__name__}"):
        Job(payload)


@pytest.mark.parametrize("payload", [bytearray(b"a"), memoryview(b"a")])
def test_a_payload_that_could_be_changed_is_refused_with_what_to_write(payload: Any) -> None:
    with pytest.raises(TypeError, match=r"write bytes\(\.\.\.\)"):
        Job(payload)


def test_payload_of_a_subclass_of_bytes_is_bytes() -> None:
    class Blob(bytes):
        pass

    assert Job(Blob(b"a")).payload == b"a"


@pytest.mark.parametrize("id", ["x", "x" * 255, "\n\r\u2028\x85\0 /../", "ключ-🔑"])
def test_id_is_any_text_of_1_to_255_characters(id: str) -> None:
    assert Job(id=id).id == id


@pytest.mark.parametrize("id", ["", "x" * 256, "é" * 256, LONE_SURROGATE])
def test_id_that_is_too_short_too_long_or_not_utf8_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        Job(id=id)


@pytest.mark.parametrize("id", [7, b"job", ("a",)])
def test_id_that_is_not_text_is_refused(id: Any) -> None:
    with pytest.raises(TypeError, match="id must be text"):
        Job(id=id)


@pytest.mark.parametrize("handler", ["", "x" * 256, LONE_SURROGATE])
def test_handler_name_that_cannot_be_one_is_refused(handler: str) -> None:
    with pytest.raises(ValueError, match="handler"):
        Job(handler=handler)


def test_handler_that_is_a_function_and_not_a_name_is_refused() -> None:
    with pytest.raises(TypeError, match="handler must be text"):
        Job(handler=print)  # type: ignore[arg-type]  # the mistake that is tested


@pytest.mark.parametrize("priority", [3, -1, "HIGH", None, True, 1.0])
def test_priority_that_is_none_is_refused(priority: Any) -> None:
    with pytest.raises(ValueError, match=r"priority must be Priority\.HIGH"):
        Job(priority=priority)


@pytest.mark.parametrize("max_retries", ["3", 1.5, True])
def test_max_retries_that_is_no_whole_number_is_refused(max_retries: Any) -> None:
    with pytest.raises(TypeError, match="max_retries"):
        Job(max_retries=max_retries)


@pytest.mark.parametrize("max_retries", [-1, 2**63, 10**30])
def test_max_retries_that_no_log_could_hold_is_refused(max_retries: int) -> None:
    with pytest.raises(ValueError, match="max_retries"):
        Job(max_retries=max_retries)


def test_headers_of_8_kib_together_are_accepted() -> None:
    assert Job(headers={"k": "é" * 4095 + "x"}).headers["k"].endswith("x")


def test_headers_of_one_byte_more_are_refused_with_their_size() -> None:
    with pytest.raises(ValueError, match="8193 bytes"):
        Job(headers={"k": "é" * 4096})


@pytest.mark.parametrize("headers", [{"a": 1}, {1: "a"}, {"a": b"b"}, {"a": None}, 5, ["ab"]])
def test_headers_that_do_not_map_text_to_text_are_refused(headers: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Job(headers=headers)


@pytest.mark.parametrize("headers", [{LONE_SURROGATE: ""}, {"a": LONE_SURROGATE}])
def test_headers_that_utf8_cannot_hold_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="lone surrogate"):
        Job(headers=headers)


# ── how it looks ─────────────────────────────────────────────────────────────────────────────


def test_repr_of_a_job_shows_what_it_is_and_not_its_payload() -> None:
    text = repr(Job(b"secret", id="order-7", priority=Priority.LOW, handler="ship"))
    assert "order-7" in text
    assert "LOW" in text
    assert "ship" in text
    assert "secret" not in text


def test_jobs_can_be_made_by_many_threads() -> None:
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.append(Job().id)) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 20


def test_handles_are_made_by_a_queue_and_not_exported_to_be_made_by_hand() -> None:
    with pytest.raises(TypeError):
        JobHandle("order-7")  # type: ignore[call-arg, arg-type]  # the mistake that is tested


def test_a_copy_of_the_same_id_has_these_headers_in_place_of_its_own() -> None:
    job = Job(b"x", id="a", headers={"a": "1", "b": "2"})
    copy = job.with_headers({"b": "3", "c": "4"})
    assert dict(copy.headers) == {"b": "3", "c": "4"}
    assert dict(job.headers) == {"a": "1", "b": "2"}
    kept = set(Job.__slots__) - {"_headers"}
    assert {name: getattr(copy, name) for name in kept} == {
        name: getattr(job, name) for name in kept
    }
    with pytest.raises(TypeError, match="text to text"):
        job.with_headers({"a": 1})  # type: ignore[dict-item]  # the mistake that is tested
    with pytest.raises(ValueError, match="at most 8192"):
        job.with_headers({"d": "x" * 8192})
    with pytest.raises(ValueError, match="at most 8192"):  # bytes, not letters
        job.with_headers({"d": "ä" * 4096})
