"""What a job asks for besides its lane: wrong input says what, where, and what to do."""

from __future__ import annotations

import math
import pickle
from dataclasses import FrozenInstanceError
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from jobqueue.final import Job, Unique


class Text(str):
    """As `numpy.str_` and lxml's strings are: everything that can be overridden is."""

    __slots__ = ()

    def __hash__(self) -> int:
        raise AssertionError("called")

    def __eq__(self, other: object) -> bool:
        raise AssertionError("called")

    def __str__(self) -> str:
        raise AssertionError("called")

    def __repr__(self) -> str:
        return "Text"


class Number(int):
    def __str__(self) -> str:
        raise AssertionError("called")

    def __lt__(self, other: object) -> bool:
        raise AssertionError("called")


class HasId:
    def __init__(self, id: Any) -> None:
        self.id = id


class Broken:
    @property
    def id(self) -> str:
        raise OSError("broken")


def test_a_job_asks_for_nothing_unless_it_says_so() -> None:
    job = Job()
    assert (job.key, job.unique, job.after, job.expires) == (None, None, (), None)
    assert Job(after=[]).after == ()


def test_a_job_tells_what_it_asks_for() -> None:
    unique = Unique("key", "started", "replace")
    job = Job(key="k", unique=unique, after=["a", HasId("b"), "a"], expires=timedelta(minutes=1))
    assert (job.key, job.unique, job.after, job.expires) == ("k", unique, ("a", "b"), 60.0)
    for again in (
        job.with_headers({"a": "b"}),
        job.with_handler("h"),
        pickle.loads(pickle.dumps(job)),
    ):
        assert (again.id, again.key, again.unique) == (job.id, "k", unique)
        assert (again.after, again.expires) == (("a", "b"), 60.0)


@pytest.mark.parametrize("key", ["", "x" * 256, "\ud800"])
def test_a_key_is_text_of_1_to_255_characters(key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        Job(key=key)
    assert Job(key="x" * 255).key == "x" * 255


@pytest.mark.parametrize("key", [1, b"k", ["k"]])
def test_a_key_that_is_no_text_is_refused(key: Any) -> None:
    with pytest.raises(TypeError, match="key must be"):
        Job(key=key)


@pytest.mark.parametrize("by", ["handler+key", "key"])
def test_unique_by_key_needs_a_key_and_says_what_to_do(by: Any) -> None:
    with pytest.raises(ValueError, match=r"needs a key: set key=\.\.\., or write unique=Unique\("):
        Job(unique=Unique(by))
    assert Job(unique=Unique("handler+payload")).key is None


@pytest.mark.parametrize("unique", [True, "key", Unique, {"by": "key"}])
def test_unique_is_a_unique(unique: Any) -> None:
    with pytest.raises(TypeError, match=r"unique must be a Unique, as in unique=Unique\(\)"):
        Job(key="k", unique=unique)


@pytest.mark.parametrize(
    ("field", "wanted"),
    [
        ("by", "'handler+key' or 'handler+payload' or 'key'"),
        ("until", "'finished' or 'started'"),
        ("on_conflict", "'existing' or 'raise' or 'replace'"),
    ],
)
@pytest.mark.parametrize("value", ["", "Key", None, 1, ["key"]])
def test_each_setting_of_unique_is_one_of_a_few(field: str, wanted: str, value: Any) -> None:
    with pytest.raises(ValueError) as told:
        Unique(**{field: value})
    assert str(told.value) == f"Unique({field}=...) must be {wanted}, not {value!r}"


def test_a_unique_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Unique().by = "key"  # type: ignore[misc]


@pytest.mark.parametrize("after", ["id", b"id", 5, HasId("id"), Job(), object()])
def test_after_is_a_list(after: Any) -> None:
    with pytest.raises(TypeError, match=r"after must be a list of handles or ids, as in after=\["):
        Job(after=after)


@pytest.mark.parametrize("each", [5, None, b"id", HasId(5), HasId(None), object()])
def test_after_lists_ids_and_what_has_one(each: Any) -> None:
    with pytest.raises(TypeError, match="after must list handles or ids of jobs, not"):
        Job(after=["a", each])


def test_what_a_handle_raises_comes_out() -> None:
    with pytest.raises(OSError, match="broken"):
        Job(after=[Broken()])


@pytest.mark.parametrize("expires", [-1, -0.5, math.nan, math.inf, -math.inf, timedelta(-1)])
def test_expires_is_a_finite_time_not_below_0(expires: Any) -> None:
    with pytest.raises(ValueError, match=r"expires must be a finite number of seconds >= 0.*None"):
        Job(expires=expires)


@pytest.mark.parametrize("expires", ["5", True, [1], 1j])
def test_expires_is_a_number(expires: Any) -> None:
    with pytest.raises(TypeError, match="expires must be a number of seconds >= 0"):
        Job(expires=expires)


def test_values_of_subclasses_become_exact() -> None:
    unique = Unique(Text("key"), Text("started"), Text("raise"))  # type: ignore[arg-type]
    job = Job(key=Text("k"), unique=unique, after=[Text("a"), HasId(Text("b"))], expires=Number(5))
    texts = (job.key, unique.by, unique.until, unique.on_conflict, *job.after)
    assert {type(each) for each in texts} == {str}
    assert texts == ("k", "key", "started", "raise", "a", "b")
    assert (type(job.expires), job.expires) == (float, 5.0)
    half: Any = Fraction(1, 2)
    assert Job(expires=half).expires == 0.5
