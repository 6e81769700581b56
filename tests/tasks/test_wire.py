"""How arguments become a payload, and a payload arguments."""

from __future__ import annotations

import dataclasses
import enum
import json
import pickle
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, NamedTuple, NoReturn, TypedDict, Unpack, cast
from uuid import UUID

import pytest

from jobqueue import Config, Job, JobContext, JobQueue, RejectJobError, Status
from jobqueue.tasks import CONTEXT, Tasks
from jobqueue.tasks.parameters import Parameters
from jobqueue.testing import immediate, run_all
from tests.support.waiting import PATIENCE


class Colour(enum.Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict, total=False):
    deep: bool


@dataclasses.dataclass
class Order:
    id: int
    parts: list[str]
    at: datetime | None = None


@dataclasses.dataclass
class Positive:
    number: int

    def __post_init__(self) -> None:
        assert self.number > 0, "not positive"


class Foreign:
    pass


class Unshowable:
    def __repr__(self) -> str:
        raise AttributeError("_name")


def given(function: Callable[..., Any], *args: Any, **kwargs: Any) -> tuple[bytes, dict[str, Any]]:
    """What a call puts into the payload, and what comes out of it again."""
    task = Tasks().task(name="f")(function)
    job = task.job(*args, **kwargs)
    return job.payload, task.arguments_of(job)


def taking(of: Any) -> Callable[..., None]:
    """A function of one argument of this type."""

    def take(x: object) -> None: ...

    take.__annotations__["x"] = of
    return take


VALUES: list[tuple[Any, Any]] = [
    (int, 2**80),
    (float, 1.5),
    (str, "line\u2028\n\x00ß"),
    (bytes, b"\xff\x00"),
    (bool, True),
    (type(None), None),
    (datetime, datetime(2026, 3, 1, 12, tzinfo=UTC)),
    (date, date(2026, 3, 1)),
    (timedelta, timedelta(days=1, microseconds=5)),
    (UUID, UUID(int=7)),
    (Decimal, Decimal("1.10")),
    (Path, Path("/tmp/ä")),
    (Colour, Colour.RED),
    (Point, Point(1, 2)),
    (Options, Options(deep=True)),
    (Order, Order(1, ["a"], datetime(2026, 3, 1, tzinfo=UTC))),
    (Literal["a", "b"], "b"),
    (int | str | None, "x"),
    (set[int], {1, 2}),
    (tuple[int, ...], (1, 2)),
    (dict[UUID, list[Order]], {UUID(int=1): [Order(2, [])]}),
    (Any, {"a": [1, None, "x"]}),
    (object, [1]),
    (dict[str, object], {"a": [1, None, "x"]}),
]


@pytest.mark.parametrize(("of", "value"), VALUES, ids=[str(of) for of, _ in VALUES])
def test_each_type_comes_back_as_it_was(of: Any, value: Any) -> None:
    payload, arguments = given(taking(of), value)
    assert arguments == {"x": value}
    assert type(arguments["x"]) is type(value)
    assert list(json.loads(payload)) == ["x"]


def test_pydantic_stands_in_for_msgspec() -> None:
    pytest.importorskip("pydantic")
    from jobqueue.tasks.by_pydantic import ByPydantic

    def take(path: Path, order: Order, when: datetime | None = None, *more: int) -> None: ...

    parameters = Parameters(take, "f")
    wire = ByPydantic(parameters, "f")
    arguments = parameters.bind(Path("a"), Order(1, ["x"]), datetime(2026, 3, 1, tzinfo=UTC), 1, 2)
    payload = wire.encode(arguments)
    assert wire.decode(payload) == arguments | {"more": [1, 2]}
    with pytest.raises(TypeError, match=r"task 'f': argument 'order' is 3 \(int\)"):
        wire.encode(parameters.bind(Path("a"), 3))
    with pytest.raises(ValueError, match=r"argument 'path' was found as 1, wanted is Path"):
        wire.decode(b'{"path":1,"order":{"id":1,"parts":[]}}')
    with pytest.raises(TypeError, match=r"argument 'x' is annotated Foreign.*codec="):
        ByPydantic(Parameters(taking(Foreign), "f"), "f")


def test_structs_of_msgspec_are_carried() -> None:
    size = pytest.importorskip("msgspec").defstruct("Size", [("width", int)])
    assert given(taking(size), size(3))[1] == {"x": size(3)}


def test_attrs_classes_are_carried() -> None:
    pytest.importorskip("msgspec", reason="pydantic, which stands in for it, knows none")
    attrs = pytest.importorskip("attrs")
    made = attrs.make_class("Made", {"x": attrs.field(type=int)})
    assert given(taking(made), made(x=3))[1] == {"x": made(x=3)}


def test_models_of_pydantic_are_carried_and_checked_strictly() -> None:
    pydantic = pytest.importorskip("pydantic")
    model = pydantic.create_model("Model", at=(datetime, ...), count=(int, 0))
    value = model(at=datetime(2026, 3, 1, tzinfo=UTC), count=2)
    assert given(taking(model), value)[1] == {"x": value}
    task = Tasks().task(name="f")(taking(model))
    with pytest.raises(ValueError, match=r"(?s)argument 'x'.*count"):
        task.arguments_of(Job(b'{"x":{"at":"2026-03-01T00:00:00Z","count":"2"}}'))


def test_only_what_was_given_is_written_and_defaults_are_those_of_the_function_that_runs() -> None:
    unwritable = object()

    def take(a: int, /, b: Any = unwritable, *rest: int, c: str = "c", **more: int) -> Any:
        return a, b, rest, c, more

    assert given(take, 1)[0] == b'{"a":1}'
    assert given(take, 1, 2, 3, 4, c="d", e=5)[0] == (
        b'{"a":1,"b":2,"rest":[3,4],"c":"d","more":{"e":5}}'
    )
    tasks = Tasks()
    task = tasks.task(name="f")(take)
    with immediate(tasks):
        assert task.enqueue(1).result() == (1, unwritable, (), "c", {})
        assert task.enqueue(1, 2, 3, 4, c="d", e=5).result() == (1, 2, (3, 4), "d", {"e": 5})


def test_names_of_parameters_are_only_names() -> None:
    def take(arguments: int, _arguments: int, unset: int = 3, found: int = 4, self: int = 5) -> Any:
        return arguments, _arguments, unset, found, self

    tasks = Tasks()
    task = tasks.task(name="f")(take)
    with immediate(tasks):
        assert task.enqueue(1, 2).result() == (1, 2, 3, 4, 5)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), r"missing 1 required positional argument: 'path'"),
        (("a", 1, 2), "takes from 1 to 2 positional arguments but 3 were given"),
        (("a", "wide"), r"argument 'width' is 'wide' \(str\), wanted is int"),
        ((object(),), r"argument 'path' is <object .*\(object\).*wanted is str"),
        (("\ud800",), r"argument 'path' is .*cannot be carried"),
        ((["a", 1],), r"argument 'path' is \['a', 1\] \(list\), wanted is str"),
    ],
)
def test_wrong_arguments_are_refused_at_the_call(args: tuple[Any, ...], says: str) -> None:
    def thumbnail(path: str, width: int = 200) -> None: ...

    task = Tasks().task(name="thumbnail")(thumbnail)
    with pytest.raises(TypeError, match=says):
        task.job(*args)


def test_keywords_may_be_those_of_a_typed_dict() -> None:
    def take(path: str, **options: Unpack[Options]) -> None: ...

    assert given(take, "a", deep=True) == (
        b'{"path":"a","options":{"deep":true}}',
        {"path": "a", "options": {"deep": True}},
    )
    with pytest.raises(TypeError, match=r"argument 'options' is .* wanted is Options: .*bool"):
        given(cast("Any", take), "a", deep=1)


def test_a_class_whose_own_checks_refuse_an_argument_is_told_with_the_argument() -> None:
    task = Tasks().task(name="f")(taking(Positive))
    value = Positive(1)
    value.number = -1
    with pytest.raises(TypeError, match=r"argument 'x' is Positive.*: .*not positive"):
        task.job(value)
    with pytest.raises(ValueError, match=r"argument 'x' was found as .*-1.*: .*not positive"):
        task.arguments_of(Job(b'{"x":{"number":-1}}'))


@pytest.mark.parametrize("value", [10**5000, Unshowable()], ids=["long", "broken"])
def test_an_argument_that_cannot_be_shown_is_refused_with_its_name(value: object) -> None:
    task = Tasks().task(name="f")(taking(str))
    with pytest.raises(TypeError, match=r"task 'f': argument 'x' is <one that cannot be shown: "):
        task.job(value)


@pytest.mark.parametrize("of", [Foreign, list[Foreign], dict[str, Foreign | None]])
def test_a_type_that_json_cannot_hold_is_refused_with_what_to_do(of: Any) -> None:
    task = Tasks().task(name="f")(taking(of))
    with pytest.raises(TypeError, match=r"task 'f': argument 'x'.*Foreign.*codec="):
        task.job(Foreign())


def test_a_union_that_json_cannot_tell_apart_is_refused() -> None:
    size = pytest.importorskip("msgspec").defstruct("Size", [("width", int)])
    task = Tasks().task(name="f")(taking(Order | size))
    with pytest.raises(TypeError, match=r"task 'f'.*'x'"):
        task.job(size(1))


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"width":1}', "argument 'path' is missing; wanted is str"),
        (b'{"path":"a","width":"1"}', "argument 'width' was found as '1', wanted is int"),
        (b'{"path":"a","colour":1}', "argument 'colour' was found; the function takes path, width"),
        (b'["a"]', "no JSON object"),
        (b'{"path"', "no JSON"),
        (b"\xff", "no JSON"),
        (b'\xef\xbb\xbf{"path":"a"}', "no JSON.*BOM"),
        (b'{"path":NaN}', "no JSON.*NaN is no number"),
        (b'{"path":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no JSON.*recursion"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_does_not_fit_the_signature_any_more_is_a_dead_letter_that_says_why(
    payload: bytes, says: str
) -> None:
    def thumbnail(path: str, width: int = 200) -> str:
        return path

    with JobQueue(start=False) as jq:
        tasks = Tasks()
        tasks.task(name="thumbnail")(thumbnail)
        tasks.bind(jq)
        handle = jq.enqueue(Job(payload, handler="thumbnail"))
        run_all(jq)
        assert handle.status is Status.FAILED
        with pytest.raises(RejectJobError, match=says):
            handle.result(0)
        assert jq.dead_letters()[0].retries == 0


def test_a_mended_function_and_a_requeue_lose_nothing() -> None:
    def before(path: str) -> str:
        return path

    def after(path: str | None = None, file: str | None = None) -> str | None:
        return path or file

    with JobQueue(start=False) as jq:
        jq.register("f", Tasks().task(name="f")(before).handler)
        handle = jq.enqueue(Job(b'{"file":"a"}', handler="f"))
        run_all(jq)
        assert handle.status is Status.FAILED
        jq.register("f", Tasks().task(name="f")(after).handler, replace=True)
        again = jq.requeue(handle.id)
        run_all(jq)
        assert again.result(0) == "a"


class Upper:
    def encode(self, arguments: Mapping[str, object]) -> bytes:
        return repr(dict(arguments)).upper().encode()

    def decode(self, payload: bytes) -> Mapping[str, object]:
        return {"name": payload.decode()}


def test_a_codec_of_the_users_takes_the_place_of_json() -> None:
    tasks = Tasks(codec=Upper())

    @tasks.task(name="f")
    def f(name: type | str) -> type | str:
        return name

    with immediate(tasks):
        assert f.enqueue(Foreign).result() == repr({"name": Foreign}).upper()


def test_a_codec_may_be_that_of_one_task() -> None:
    tasks = Tasks()
    shout: Any = tasks.task(name="shout", codec=Upper())(lambda name: name)
    say: Any = tasks.task(name="say")(lambda name: name)
    with immediate(tasks):
        assert shout.enqueue(name="ada").result() == "{'NAME': 'ADA'}"
        assert say.enqueue(name="ada").result() == "ada"


def test_nothing_is_pickled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise AssertionError("it is pickled")

    tasks = Tasks()

    @tasks.task(name="same", store_result=True)
    def same(order: Order) -> Order:
        return order

    for name in ("dump", "dumps", "load", "loads", "Pickler", "Unpickler"):
        monkeypatch.setattr(pickle, name, refuse)
    order = Order(1, ["a"], datetime(2026, 3, 1, tzinfo=UTC))
    with tasks.open(Config(persist_path=tmp_path)):
        assert same.using(id="one").enqueue(order).result(PATIENCE) == order
    with tasks.open(Config(persist_path=tmp_path)) as jq:
        assert jq.handle("one").result(PATIENCE) == order


def test_a_codec_that_gives_no_bytes_is_refused() -> None:
    class Text(Upper):
        def encode(self, arguments: Mapping[str, object]) -> Any:
            return "text"

    task = Tasks().task(name="f", codec=Text())(taking(str))
    with pytest.raises(TypeError, match="must encode to bytes, not str"):
        task.job("x")


def test_a_codec_that_cannot_read_a_payload_is_told_with_its_error() -> None:
    class Unreadable(Upper):
        def decode(self, payload: bytes) -> Mapping[str, object]:
            raise KeyError("version")

    class Number(Upper):
        def decode(self, payload: bytes) -> Any:
            return 5

    for codec, error in ((Unreadable(), "KeyError: 'version'"), (Number(), "TypeError: 'int'")):
        tasks = Tasks()
        tasks.task(name="f", codec=codec)(taking(str))
        with tasks.open() as jq:
            handle = jq.enqueue(Job(b"x", handler="f"))
            said = f"task 'f' cannot be called: its codec could not .* payload b'x': {error}"
            with pytest.raises(RejectJobError, match=said):
                handle.result(PATIENCE)


def test_the_context_is_filled_in_and_no_argument() -> None:
    tasks = Tasks()

    @tasks.task(name="first")
    def first(context: JobContext, x: int) -> tuple[int, int]:
        return context.attempt, x

    @tasks.task(name="last")
    def last(x: int, context: JobContext = CONTEXT) -> tuple[int, int]:
        return context.attempt, x

    with immediate(tasks):
        assert first.enqueue(3).result() == (0, 3)
        assert last.enqueue(3).result() == (0, 3)
    assert first.job(3).payload == b'{"x":3}'


def test_a_task_that_is_called_here_and_now_takes_a_context_as_any_argument() -> None:
    task: Any = Tasks().task(name="f")(with_context)
    context = cast("JobContext", "a context")
    assert task(context, 3) == (context, 3)
    assert task(context=context, x=4) == (context, 4)


def with_context(context: JobContext, x: int) -> tuple[JobContext, int]:
    return context, x
