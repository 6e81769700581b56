from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from jobqueue.final import Config, ConfigError, JobQueue, JobQueueError

MIB = 1024 * 1024

# ── what the contract says of each field: default, values that work, values that do not ──────

DEFAULTS = {
    "num_workers": 4,
    "queue_size": 1000,
    "max_retries": 3,
    "base_delay": 1.0,
    "max_delay": 60.0,
    "jitter": 0.1,
    "fairness": 10,
    "persist_path": None,
    "durability": "write",
    "fsync_interval": 0.05,
    "segment_bytes": 64 * MIB,
    "shutdown_timeout": 30.0,
    "job_timeout": None,
    "status_retention": 100_000,
    "result_retention": 1000,
    "max_dead_letters": 10_000,
    "reserved_workers": 0,
    "max_payload_bytes": 16 * MIB,
    "executor": "thread",
    "max_crashes": 3,
    "allow_shared": False,
    "map_log": None,
    "share": None,
    "connect_timeout": 5.0,
    "lock_timeout": 0.0,
    "control": False,
    "unknown_handlers": "wait",
}
SMALLEST = {
    "num_workers": 1,
    "queue_size": 1,
    "max_retries": 0,
    "fairness": 1,
    "segment_bytes": 4096,
    "status_retention": 1,
    "result_retention": 0,
    "max_dead_letters": 1,
    "reserved_workers": 0,
    "max_payload_bytes": 1,
    "max_crashes": 2,
}
SECONDS = ("base_delay", "max_delay", "fsync_interval", "shutdown_timeout", "job_timeout")
NO_NUMBERS = ("1", [1], object(), True)


def refused(field: str, value: object) -> str:
    """Expect that a value is refused; returns the message."""
    settings: dict[str, Any] = {field: value}
    with pytest.raises(ConfigError) as caught:
        Config(**settings)
    return str(caught.value)


def accepted(field: str, value: object) -> bool:
    settings: dict[str, Any] = {field: value}
    return bool(getattr(Config(**settings), field) == value)


def test_defaults_are_those_of_the_contract() -> None:
    assert dataclasses.asdict(Config()) == DEFAULTS


def test_config_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().num_workers = 5  # type: ignore[misc]  # the mistake that is tested


def test_config_error_is_a_value_error_and_one_of_the_package() -> None:
    assert issubclass(ConfigError, ValueError)
    assert issubclass(ConfigError, JobQueueError)


@pytest.mark.parametrize(("field", "smallest"), SMALLEST.items())
def test_smallest_whole_number_works_and_one_less_is_refused(field: str, smallest: int) -> None:
    assert accepted(field, smallest)
    assert field in refused(field, smallest - 1)


@pytest.mark.parametrize("value", [1.5, 4.0, None, math.inf, math.nan, *NO_NUMBERS])
@pytest.mark.parametrize("field", SMALLEST)
def test_what_is_no_whole_number_is_refused(field: str, value: object) -> None:
    assert field in refused(field, value)


@pytest.mark.parametrize("value", [0, 0.0, 0.25, 3, 1e9])
@pytest.mark.parametrize("field", SECONDS)
def test_seconds_are_finite_and_not_negative(field: str, value: float) -> None:
    assert accepted(field, value)


@pytest.mark.parametrize("value", [-0.1, -1, math.inf, -math.inf, math.nan, *NO_NUMBERS])
@pytest.mark.parametrize("field", SECONDS)
def test_what_is_no_finite_number_of_seconds_is_refused(field: str, value: object) -> None:
    assert field in refused(field, value)


@pytest.mark.parametrize("field", sorted(set(SECONDS) - {"job_timeout"}))
def test_only_the_job_timeout_may_be_none(field: str) -> None:
    assert accepted("job_timeout", None)
    assert field in refused(field, None)


@pytest.mark.parametrize("value", [0, 0.5, 1])
def test_jitter_is_a_fraction(value: float) -> None:
    assert accepted("jitter", value)


@pytest.mark.parametrize("value", [-0.01, 1.01, math.nan, math.inf, None, *NO_NUMBERS])
def test_jitter_that_is_no_fraction_is_refused(value: object) -> None:
    assert "jitter" in refused("jitter", value)


@pytest.mark.parametrize("value", ["wait", "refuse"])
def test_unknown_handlers_are_waited_for_or_refused(value: str) -> None:
    assert accepted("unknown_handlers", value)
    assert "'wait' or 'refuse'" in refused("unknown_handlers", "raise")


@pytest.mark.parametrize("value", ["async", "write", "fsync"])
def test_durability_is_one_of_three(value: str) -> None:
    assert accepted("durability", value)


@pytest.mark.parametrize("value", ["WRITE", "", "sync", None, 1, ["write"]])
def test_durability_that_is_none_of_the_three_is_refused(value: object) -> None:
    assert "durability" in refused("durability", value)


@pytest.mark.parametrize("value", ["greenlet", "", None, 1])
def test_executor_that_is_unknown_is_refused(value: object) -> None:
    assert "executor" in refused("executor", value)


@pytest.mark.parametrize("value", ["jobs.db", Path("jobs.db"), None])
def test_persist_path_is_a_path_or_none(value: object) -> None:
    assert accepted("persist_path", value)


@pytest.mark.parametrize(
    "value", ["", 3, b"jobs.db", ["jobs.db"], True, "jobs\0.db", Path("jobs\0.db"), "\ud800"]
)
def test_persist_path_that_is_no_path_is_refused(value: object) -> None:
    assert "persist_path" in refused("persist_path", value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgresql+psycopg", "file"])
def test_an_address_in_place_of_a_path_is_refused_and_its_password_is_not_shown(
    scheme: str,
) -> None:
    message = refused("persist_path", f"{scheme}://shop:secret@db/shop")
    assert message.startswith(
        f"persist_path must be the path of a directory, not an address ({scheme}:"
    )
    assert "PostgresConfig" in message
    assert "secret" not in message


@pytest.mark.parametrize(
    ("field", "value", "what_would_do"),
    [
        ("num_workers", 0, ">= 1"),
        ("num_workers", "4", "whole number"),
        ("segment_bytes", 100, ">= 4096"),
        ("jitter", 2, "0 to 1"),
        ("base_delay", -1, ">= 0"),
        ("job_timeout", "soon", "None"),
        ("durability", "often", "'fsync'"),
        ("executor", "fork", "'process'"),
        ("persist_path", 7, "directory"),
    ],
)
def test_message_names_the_field_the_value_and_what_would_do(
    field: str, value: object, what_would_do: str
) -> None:
    message = refused(field, value)
    assert field in message
    assert repr(value) in message
    assert what_would_do in message


def test_queue_takes_nothing_but_a_config() -> None:
    with pytest.raises(TypeError, match="config must be a Config"):
        JobQueue({"num_workers": 4})  # type: ignore[arg-type]  # the mistake that is tested


def test_queue_without_a_config_takes_the_defaults() -> None:
    with JobQueue(handler=len) as jq:
        assert jq.metrics().workers.count == 4


def test_each_field_is_told_of_in_the_docstring() -> None:
    assert [name for name in DEFAULTS if f"{name}: " not in (Config.__doc__ or "")] == []


def test_a_payload_that_no_log_could_hold_is_refused_where_there_is_one() -> None:
    assert Config(max_payload_bytes=1 << 40).max_payload_bytes == 1 << 40
    assert Config(max_payload_bytes=128 << 20, persist_path="jobs.db").max_payload_bytes
    with pytest.raises(ConfigError, match=r"max_payload_bytes .*134217728.*persist_path"):
        Config(max_payload_bytes=(128 << 20) + 1, persist_path="jobs.db")


@pytest.mark.parametrize("value", [None, True, False])
def test_a_log_is_mapped_or_not_or_that_is_left_open(value: object) -> None:
    assert accepted("map_log", value)


@pytest.mark.parametrize("value", [0, 1, "yes", "", []])
def test_a_wish_to_map_that_is_no_yes_or_no_is_refused(value: object) -> None:
    assert "map_log" in refused("map_log", value)


@pytest.mark.parametrize("settings", [{"share": "auto"}, {"share": "client"}, {"control": True}])
def test_what_processes_share_needs_a_log(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="persist_path"):
        Config(**settings)


@pytest.mark.parametrize("share", [None, "off"])
def test_a_queue_is_one_process_s_alone_unless_asked(share: Any) -> None:
    assert not Config(share=share).is_shared


@pytest.mark.parametrize(
    "settings", [{"share": "on"}, {"share": True}, {"connect_timeout": -1}, {"control": 1}]
)
def test_settings_of_sharing_that_cannot_be_are_named(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigError, match=name):
        Config(persist_path="jobs", **settings)
