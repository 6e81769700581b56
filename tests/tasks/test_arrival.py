"""What arrives is what was given, or the call says so: nothing is carried as something else."""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest

from jobqueue import JobQueue, RejectJobError, Status
from jobqueue.tasks import Tasks
from jobqueue.tasks.parameters import Parameters
from jobqueue.testing import run_all


class Colour(enum.Enum):
    RED = "red"


class Shade(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: float


@dataclasses.dataclass
class Order:
    id: int
    parts: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Rush(Order):
    hours: int = 1


@dataclasses.dataclass
class Uncompared:
    name: str = dataclasses.field(compare=False)


@dataclasses.dataclass(eq=False)
class Unequal:
    name: str


@dataclasses.dataclass
class Growing:
    numbers: list[int]

    def __post_init__(self) -> None:
        self.numbers = [*self.numbers, len(self.numbers)]


@dataclasses.dataclass
class Made:
    name: str
    length: int = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        self.length = len(self.name)


def taking(of: Any) -> Callable[..., None]:
    """A function of one argument of this type."""

    def take(x: object) -> None: ...

    take.__annotations__["x"] = of
    return take


def _by_msgspec(parameters: Parameters) -> Any:
    pytest.importorskip("msgspec")
    from jobqueue.tasks.by_msgspec import ByMsgspec

    return ByMsgspec(parameters, "f")


def _by_pydantic(parameters: Parameters) -> Any:
    pytest.importorskip("pydantic")
    from jobqueue.tasks.by_pydantic import ByPydantic

    return ByPydantic(parameters, "f")


both = pytest.mark.parametrize("wire", [_by_msgspec, _by_pydantic])


def carried(wire: Callable[[Parameters], Any], of: Any, value: object) -> Any:
    """What arrives of one argument."""
    made = wire(Parameters(taking(of), "f"))
    return made.decode(made.encode({"x": value}))["x"]


def named(cases: list[tuple[Any, object]]) -> list[str]:
    """Their names, the same in each process: a set's text is not."""
    return [f"{number}-{of}" for number, (of, _) in enumerate(cases)]


# ── what is refused ──────────────────────────────────────────────────────────────────────────

BERLIN = ZoneInfo("Europe/Berlin")
A_MOMENT = datetime(2026, 3, 1, 12, tzinfo=UTC)
UNLIKE: list[tuple[Any, object]] = [
    (str, b"abc"),
    (str, UUID(int=7)),
    (str, Decimal("1.5")),
    (str, date(2026, 3, 1)),
    (str, A_MOMENT),
    (str, Path("a")),
    (str, Colour.RED),
    (str, Shade.RED),
    (bytes, "abcd"),
    (bytes, bytearray(b"abc")),
    (Path, "a"),
    (PurePath, Path("a")),
    (UUID, str(UUID(int=7))),
    (Decimal, 1),
    (Decimal, "1"),
    (datetime, "2026-03-01T12:00:00Z"),
    (Colour, "red"),
    (float | None, float("nan")),
    (str | None, b"abc"),
    (int | str, b"abc"),
    (list[str], ["a", b"b"]),
    (list[str], ("a", "b")),
    (tuple[str, ...], ["a", "b"]),
    (list[int], {1, 2}),
    (set[str], {"a", b"b"}),
    (set[str], ["a"]),
    (Sequence[str], ("a", b"b")),
    (list[Sequence[str]], [("a", "b")]),
    (dict[str, int], collections.Counter("a")),
    (dict[str, str], {"a": b"b"}),
    (dict[str, str], {b"a": "b"}),
    (dict[str, int], {1: 1}),
    (dict[str, list[bytes]], {"a": ["YWJj"]}),
    (Point, (1, 2.0)),
    (tuple[int, float], Point(1, 2.0)),
    (Order, {"id": 1}),
    (Order, Order(1, [b"part"])),  # type: ignore[list-item]
    (Order, Rush(1)),
    (dict[str, Any], Order(1)),
    (Uncompared, Uncompared(b"name")),  # type: ignore[arg-type]
    (Unequal, Unequal(b"name")),  # type: ignore[arg-type]
    (Any, b"abc"),
    (Any, (1, 2)),
    (Any, {1, 2}),
    (Any, date(2026, 3, 1)),
    (Any, A_MOMENT),
    (Any, Decimal(1)),
    (Any, Order(1)),
    (Any, Shade.RED),
    (Any, {1: 2}),
    (Any, {1: 2, "1": 3}),
    (set[str], {"YQ==", b"a"}),
    (datetime, datetime(1880, 1, 1, tzinfo=BERLIN)),  # 53 minutes and 28 seconds from UTC
    (list[Growing], [Growing([1])]),
    (Any, float("inf")),
    (Any, [{"a": [b"deep"]}]),
    (dict, {"a": b"b"}),
    (dict, collections.OrderedDict(a=1)),
    (list, [("a", 1)]),
]


@both
@pytest.mark.parametrize(("of", "value"), UNLIKE, ids=named(UNLIKE))
def test_what_would_arrive_as_something_else_is_refused(wire: Any, of: Any, value: object) -> None:
    with pytest.raises(TypeError, match=r"^task 'f': argument 'x' is .*, wanted is "):
        carried(wire, of, value)


@pytest.mark.parametrize(
    ("of", "value", "says"),
    [
        (str, b"abc", "is b'abc' (bytes), wanted is str: it would arrive as 'YWJj' (str)"),
        (list[str], ["a", b"b"], "wanted is list[str]: [1] is b'b' (bytes) and would arrive as"),
        (dict[str, int], {1: 1}, "key 1 is 1 (int) and would arrive as '1' (str)"),
        (dict[str, str], {"a": b"b"}, "['a'] is b'b' (bytes)"),
        (Order, Order(1, [b"p"]), ".parts[0] is b'p' (bytes)"),  # type: ignore[list-item]
        (Any, (1, 2), "wanted is Any: it would arrive as [1, 2] (list); where no type "),
        (
            float,
            float("nan"),
            "argument 'x' is nan (float), wanted is float: JSON has no such number",
        ),
        (dict, {"a": b"b"}, "annotate it with the type that it has"),
    ],
)
def test_it_says_what_would_arrive_as_what_and_where(of: Any, value: object, says: str) -> None:
    with pytest.raises(TypeError) as caught:
        Tasks().task(name="f")(taking(of)).job(value)
    assert says in str(caught.value)


def test_an_argument_without_an_annotation_is_refused_with_what_to_do() -> None:
    def take(x) -> None: ...  # type: ignore[no-untyped-def]

    with pytest.raises(TypeError, match=r"argument 'x' is b'a' \(bytes\).*annotate it"):
        Tasks().task(name="f")(take).job(b"a")


def test_each_of_args_and_kwargs_is_checked() -> None:
    def take(*more: str, **named: str) -> None: ...

    task = Tasks().task(name="f")(take)
    with pytest.raises(TypeError, match=r"argument 'more' is .*: \[1\] is b'b'"):
        task.job("a", b"b")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"argument 'named' is .*: \['c'\] is b'd'"):
        task.job(c=b"d")  # type: ignore[arg-type]


def test_what_cannot_be_compared_is_refused_with_the_argument() -> None:
    class Touchy(enum.Enum):
        ONE = "one"

        def __eq__(self, other: object) -> bool:
            raise ValueError("touched")

        __hash__ = object.__hash__

    with pytest.raises(TypeError, match=r"task 'f': argument 'x' .*cannot be compared .*touched"):
        Tasks().task(name="f")(taking(Touchy)).job(Touchy.ONE)


def test_a_part_of_a_model_of_pydantic_that_would_be_lost_is_refused() -> None:
    pydantic = pytest.importorskip("pydantic")
    secret = pydantic.create_model("Secret", word=(pydantic.SecretStr, ...))
    with pytest.raises(TypeError, match=r"argument 'x'.*: \.word is SecretStr.*would arrive as"):
        Tasks().task(name="f")(taking(secret)).job(secret(word="abc"))


# ── what is carried ──────────────────────────────────────────────────────────────────────────

LIKE: list[tuple[Any, object]] = [
    (float, 3),
    (list[float], [1, 2.5]),
    (int | str, 3),
    (datetime, datetime(2026, 3, 1)),
    (datetime, datetime(2026, 3, 1, tzinfo=BERLIN)),
    (datetime, datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)),
    (datetime, datetime(2026, 3, 1, tzinfo=timezone(timedelta(hours=-3)))),
    (Sequence[str], ["a"]),
    (Mapping[str, int], {"a": 1}),
    (dict[int, str], {1: "a"}),
    (frozenset[float], frozenset({1, 2.5})),
    (list[Point], [Point(1, 2)]),
    (Unequal, Unequal("a")),
    (Any, {"a": [1, 2**80, -0.5, "x", True, None, {}]}),
    (dict, {"a": {"b": []}}),
]


@both
@pytest.mark.parametrize(("of", "value"), LIKE, ids=named(LIKE))
def test_what_arrives_as_itself_is_carried(wire: Any, of: Any, value: object) -> None:
    carried(wire, of, value)  # raises otherwise


@pytest.mark.parametrize(
    ("of", "value", "arrives"),
    [
        (Sequence[str], ("a", "b"), ["a", "b"]),
        (Mapping[str, int], collections.Counter("a"), {"a": 1}),
        (AbstractSet[str], frozenset("a"), {"a"}),
        (AbstractSet[str], {"a"}, {"a"}),
    ],
)
@both
def test_of_an_abstract_container_the_very_type_does_not_matter(
    wire: Any, of: Any, value: object, arrives: object
) -> None:
    assert carried(wire, of, value) == arrives


def test_an_int_that_is_given_for_a_float_arrives_as_a_float() -> None:
    assert repr(carried(_by_msgspec, list[float], [3])) == "[3.0]"


def test_an_int_that_no_float_is_equal_to_is_refused_for_a_float() -> None:
    with pytest.raises(TypeError, match=r"argument 'x' is 9007199254740993 \(int\)"):
        carried(_by_msgspec, float, 2**53 + 1)


def test_an_aware_datetime_arrives_as_the_same_instant() -> None:
    given = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN, fold=1)
    assert carried(_by_msgspec, datetime, given) == given.astimezone(UTC)


def test_a_decimal_that_is_no_number_is_itself() -> None:
    assert carried(_by_msgspec, Decimal, Decimal("NaN")).is_nan()


def test_a_field_that_a_class_makes_by_itself_is_carried() -> None:
    assert carried(_by_msgspec, Made, Made("abc")) == Made("abc")


def test_items_of_unlike_types_that_are_equal_are_told_apart() -> None:
    with pytest.raises(TypeError, match=r"\[1\] is <Shade.RED: 'red'> \(Shade\)"):
        carried(_by_msgspec, list[str], ["red", Shade.RED])


# ── results ──────────────────────────────────────────────────────────────────────────────────


def returning(of: Any, value: object) -> Callable[[], Any]:
    """A function that returns the value, and says that it is of that type."""

    def give() -> object:
        return value

    give.__annotations__["return"] = of
    return give


@pytest.mark.parametrize(
    ("of", "value"),
    [
        (str, b"abc"),
        (list[str], ("a",)),
        (Any, {1: 2}),
        (Order, Rush(1)),
        (int, True),
        (float, float("nan")),
        (object, object()),
    ],
)
def test_a_result_that_would_be_read_as_something_else_fails_its_job(of: Any, value: Any) -> None:
    tasks = Tasks()
    give = tasks.task(name="give", store_result=True)(returning(of, value))
    with tasks.open(start=False) as jq:
        handle = give.enqueue()
        run_all(jq)
        assert handle.status is Status.FAILED
        with pytest.raises(RejectJobError, match=r"task 'give' returned .*, wanted is .*: "):
            handle.result(0)


def test_results_are_checked_by_pydantic_too() -> None:
    pytest.importorskip("pydantic")
    from jobqueue.tasks.by_pydantic import ResultByPydantic

    codec = ResultByPydantic(Parameters(returning(list[str], None), "f"), "f")
    assert codec.decode(codec.encode(["a"])) == ["a"]
    with pytest.raises(TypeError, match=r"task 'f' returned .*: \[0\] is b'a'"):
        codec.encode([b"a"])


def test_a_result_that_is_kept_is_the_one_that_was_returned() -> None:
    tasks = Tasks()
    give = tasks.task(name="give", store_result=True)(returning(list[Order], [Order(1, ["a"])]))
    with tasks.open(start=False) as jq:
        handle = give.enqueue()
        run_all(jq)
        assert jq.handle(handle.id).result(0) == handle.result(0) == [Order(1, ["a"])]


# ── types that cannot be carried ─────────────────────────────────────────────────────────────

ALIKE = [
    str | bytes,
    str | datetime,
    str | Path,
    int | Path,
    Order | Unequal,
    Order | dict[str, int],
    list[int] | tuple[int, ...],
    list[str | bytes],
]


@pytest.mark.parametrize("of", ALIKE, ids=str)
def test_a_union_whose_parts_look_alike_is_refused_with_what_to_write(of: Any) -> None:
    pytest.importorskip("msgspec")
    with pytest.raises(TypeError, match=r"task 'f': argument 'x'.*look alike.*tag=True.*codec="):
        Tasks().task(name="f")(taking(of)).job(1)


@pytest.mark.parametrize("of", ALIKE, ids=str)
def test_a_return_type_that_cannot_be_kept_is_said_with_what_to_write(of: Any) -> None:
    pytest.importorskip("msgspec")
    tasks = Tasks()
    tasks.task(name="f", store_result=True)(returning(of, None))
    with pytest.raises(TypeError, match=r"task 'f' returns .*store_result.*look alike.*tag=True"):
        tasks.open(start=False)


def test_a_return_type_that_cannot_be_kept_is_said_at_the_first_call_too() -> None:
    pytest.importorskip("msgspec")
    task = Tasks().task(name="f", store_result=True)(returning(str | bytes, None))
    with pytest.raises(TypeError, match="task 'f' returns"):
        task.job()


def test_a_task_added_to_an_open_queue_says_it_at_once() -> None:
    pytest.importorskip("msgspec")
    with JobQueue(start=False) as jq:
        tasks = Tasks()
        tasks.bind(jq)
        with pytest.raises(TypeError, match="task 'f' returns"):
            tasks.task(name="f", store_result=True)(returning(str | bytes, None))


class Empty(enum.Enum):
    pass


@dataclasses.dataclass
class Unknown:
    x: Missing  # type: ignore[name-defined]  # noqa: F821  # as one under TYPE_CHECKING


@pytest.mark.parametrize(("of", "says"), [(Empty, "at least one item"), (Unknown, "'Missing'")])
def test_any_other_type_that_msgspec_refuses_is_said_with_the_argument(of: Any, says: str) -> None:
    pytest.importorskip("msgspec")
    with pytest.raises(TypeError, match=rf"task 'f': argument 'x'.*{says}.*codec="):
        Tasks().task(name="f")(taking(of)).job(1)


def test_structs_with_tags_are_told_apart() -> None:
    msgspec = pytest.importorskip("msgspec")
    cat = msgspec.defstruct("Cat", [("name", str)], tag=True)
    dog = msgspec.defstruct("Dog", [("name", str)], tag=True)
    assert carried(_by_msgspec, cat | dog, dog("rex")) == dog("rex")
    with pytest.raises(TypeError, match=r"\.name is b'rex'"):
        carried(_by_msgspec, cat | dog, dog(b"rex"))


# ── a codec of the user's ────────────────────────────────────────────────────────────────────


class Broken:
    def encode(self, arguments: Mapping[str, object]) -> bytes:
        raise KeyError("no such codec")

    def decode(self, payload: bytes) -> Mapping[str, object]:
        return {}


def test_a_codec_that_raises_is_told_with_its_task_and_the_arguments() -> None:
    task = Tasks(codec=Broken()).task(name="f")(taking(str))
    with pytest.raises(TypeError, match=r"codec of task 'f'.*\('x'\): KeyError.*no such") as caught:
        task.job("a")
    assert isinstance(caught.value.__cause__, KeyError)
