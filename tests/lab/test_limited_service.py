"""The service that answers 429: what it takes, what it says, and what it has seen."""

from __future__ import annotations

import threading

import pytest

from lab.limited_service import (
    Bucket,
    Call,
    LimitedService,
    Limiter,
    TooManyRequestsError,
    Window,
    call,
    running,
)


def taken(limiter: Limiter, now: float, requests: int = 100) -> int:
    return sum(limiter.admit(now) == 0 for _ in range(requests))


@pytest.mark.parametrize("limiter", [Window(10, 1.0), Bucket(10, 1.0)], ids=["window", "bucket"])
def test_at_a_stroke_so_many_are_taken_and_after_a_while_as_many_again(limiter: Limiter) -> None:
    assert taken(limiter, 5.0) == 10
    assert taken(limiter, 6.0) == 10
    assert taken(limiter, 60.0) == 10  # to have idled gives no more room


def test_a_window_has_room_when_the_first_is_out_of_sight() -> None:
    window = Window(2, 1.0)
    assert [window.admit(now) for now in (0.0, 0.5, 0.75, 1.0, 1.25)] == [0, 0, 0.25, 0, 0.25]


def test_a_bucket_has_room_again_bit_by_bit() -> None:
    bucket = Bucket(2, 1.0)
    assert [bucket.admit(now) for now in (0.0, 0.0, 0.25, 0.5, 0.5)] == [0, 0, 0.25, 0, 0.5]


def test_what_is_too_much_is_refused_with_the_seconds_to_wait() -> None:
    with running(LimitedService(Window(1, 1.5), 0.0)) as service:
        call(service.server_port, b"first")
        with pytest.raises(TooManyRequestsError) as refusal:
            call(service.server_port, b"second")
    assert refusal.value.retry_after in {1, 2}  # rounded up
    assert service.calls == [Call("first", taken=True), Call("second", taken=False)]


def test_the_seconds_to_wait_are_whole_and_at_least_one() -> None:
    service = LimitedService(Window(1, 60.0), 0.0, second=30.0)
    service.server_close()
    assert [service.serve("a"), service.serve("b")] == [0, 2]


@pytest.mark.slow
def test_it_knows_how_many_it_served_at_once() -> None:
    with running(LimitedService(Bucket(100, 1.0), 0.3)) as service:
        threads = [
            threading.Thread(target=call, args=(service.server_port, b"a")) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert service.at_once_max == 4
