"""What a task's function takes: how a call's arguments become a mapping by name, and back.

`inspect.Signature.bind` costs more than all of `enqueue`. So each function gets two small
functions of its own, made once from its parameters, as `dataclasses` makes its `__init__`: `bind`
has the function's signature, and the interpreter checks the arguments as in any call; `call` calls
the function with what the log held. Only the names of parameters, which Python itself has taken as
names, become source text. Defaults and values never do.
"""

from __future__ import annotations

import inspect
import keyword
import types
import typing
from typing import TYPE_CHECKING, Any, cast

from ..final import JobContext

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CONTEXT: JobContext = cast("JobContext", object())
"""The default of a parameter that is annotated `JobContext`, so that a call may leave it out."""

UNSET: Any = type("Unset", (), {"__repr__": lambda self: "UNSET", "__slots__": ()})()
"""What stands for an argument that was not given."""

ANY_NUMBER = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


class Parameters:
    """The parameters of one function, without those that the queue fills in. Immutable.

    Args:
        function: the function.
        task: the task's name, for messages.

    Attributes:
        types: the type of each argument on the wire, by the parameter's name: that of a `*args`
            is a list, that of a `**kwargs` a dictionary, or the `TypedDict` that it unpacks.
        required: the names of those without a default.
        star: the name of `*args`, whose values are given as a tuple; `None` if it has none.
        returns: the type of the result.
        bind: takes arguments as the function does; returns those that were given, by name.
        call: `call(arguments, context)` calls the function with a mapping by name.
        call_fields: the same with an object whose attributes `field_0`, `field_1`, … are the
            arguments in the order of `types`, `UNSET` if one was not given.
        takes_context: whether the function wants the `JobContext`.

    Raises:
        TypeError: an annotation names something that is not there.
    """

    def __init__(self, function: Callable[..., Any], task: str) -> None:
        hints = _hints(function, task)
        parameters = list(inspect.signature(function).parameters.values())
        contexts = [each for each in parameters if _is_context(each, hints)]
        wired = [each for each in parameters if each not in contexts]
        self.types: dict[str, Any] = {each.name: _wire_type(each, hints) for each in wired}
        self.required = frozenset(
            each.name for each in wired if each.default is each.empty and not _is_any(each)
        )
        self.star = next((each.name for each in wired if each.kind is each.VAR_POSITIONAL), None)
        self.returns = hints.get("return", Any)
        self.takes_context = bool(contexts)
        self.bind = cast("Callable[..., dict[str, Any]]", _make_bind(function, wired))
        self.call = _make_call(function, parameters, contexts, "found.get({name}, {default})")
        self.call_fields = _make_call(
            function,
            parameters,
            contexts,
            "({default} if found.field_{index} is unset else found.field_{index})",
        )

    def check(self, arguments: Mapping[str, object]) -> str | None:
        """What is wrong with the names of these arguments, or `None`."""
        for name in arguments:
            if name not in self.types:
                takes = ", ".join(self.types) or "none"
                return f"argument {name!r} was found; the function takes {takes}"
        for name in self.types:
            if name in self.required and name not in arguments:
                return f"argument {name!r} is missing; wanted is {type_name(self.types[name])}"
        return None


def type_name(of: Any) -> str:
    """How a type is written."""
    return str(of.__name__) if isinstance(of, type) and not typing.get_args(of) else str(of)


def _hints(function: Callable[..., Any], task: str) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(function), include_extras=True)
    except NameError as error:
        raise TypeError(
            f"task {task!r} has an annotation that cannot be looked up: {error}; its arguments "
            f"are checked against it, so import or define it at run time, not only under "
            f"TYPE_CHECKING or inside of a function"
        ) from error


def _is_context(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> bool:
    hint = hints.get(parameter.name)
    return parameter.default is CONTEXT or hint is JobContext or hint == (JobContext | None)


def _is_any(parameter: inspect.Parameter) -> bool:
    return parameter.kind in ANY_NUMBER


def _wire_type(parameter: inspect.Parameter, hints: Mapping[str, Any]) -> Any:
    hint: Any = hints.get(parameter.name, Any)
    if parameter.kind is parameter.VAR_POSITIONAL:
        return types.GenericAlias(list, hint)
    if parameter.kind is parameter.VAR_KEYWORD:
        if typing.get_origin(hint) is typing.Unpack:  # of a TypedDict, which is all of them
            return typing.get_args(hint)[0]
        return types.GenericAlias(dict, (str, hint))
    return hint


def _make_bind(function: Callable[..., Any], wired: list[inspect.Parameter]) -> object:
    """`def bind(path, width=unset): …`, which returns what was given, by name."""
    own = _free_names({each.name for each in wired}, "arguments", "unset")
    arguments, unset = own["arguments"], own["unset"]
    given = [each.name for each in wired if each.default is each.empty and not _is_any(each)]
    lines = [f"{arguments} = {{{', '.join(f'{name!r}: {name}' for name in given)}}}"]
    for each in wired:
        if _is_any(each):
            lines.append(f"if {each.name}: {arguments}[{each.name!r}] = {each.name}")
        elif each.name not in given:
            lines.append(f"if {each.name} is not {unset}: {arguments}[{each.name!r}] = {each.name}")
    name = function.__name__ if function.__name__.isidentifier() else "task"
    if keyword.iskeyword(name):
        name = "task"
    source = f"def {name}({_heads(wired, unset)}):\n  " + "\n  ".join(lines)
    namespace: dict[str, Any] = {unset: UNSET}
    exec(f"{source}\n  return {arguments}", namespace)
    bind = namespace[name]
    bind.__qualname__ = function.__qualname__  # what the interpreter's own messages begin with
    return bind


def _heads(wired: list[inspect.Parameter], unset: str) -> str:
    """The parameters as they stand in a `def`; `unset` is what all defaults become."""
    heads: list[str] = []
    has_star = False
    for index, each in enumerate(wired):
        if each.kind is each.VAR_POSITIONAL:
            has_star = True
            heads.append(f"*{each.name}")
            continue
        if each.kind is each.KEYWORD_ONLY and not has_star:
            has_star = True
            heads.append("*")
        if each.kind is each.VAR_KEYWORD:
            heads.append(f"**{each.name}")
            continue
        heads.append(each.name if each.default is each.empty else f"{each.name}={unset}")
        following = wired[index + 1].kind if index + 1 < len(wired) else None
        if each.kind is each.POSITIONAL_ONLY and following is not each.POSITIONAL_ONLY:
            heads.append("/")
    return ", ".join(heads)


def _make_call(
    function: Callable[..., Any],
    parameters: list[inspect.Parameter],
    contexts: list[inspect.Parameter],
    value: str,
) -> Callable[[Any, JobContext | None], Any]:
    """`def call(found, context): return function(…)`, with defaults for what was not found.

    Args:
        value: source of an argument's value, with `{name}`, `{index}` (of the parameter among
            those on the wire) and `{default}` to be filled in.
    """
    namespace: dict[str, Any] = {"function": function, "unset": UNSET, "none": (), "empty": {}}
    passed: list[str] = []
    index = 0
    for each in parameters:
        prefix = f"{each.name}=" if each.kind is each.KEYWORD_ONLY else ""
        if each in contexts:
            passed.append(f"{prefix}context")
            continue
        if each.kind is each.VAR_POSITIONAL:
            prefix, default = "*", "none"
        elif each.kind is each.VAR_KEYWORD:
            prefix, default = "**", "empty"
        else:
            default = f"default_{index}"
            namespace[default] = each.default
        passed.append(prefix + value.format(name=repr(each.name), index=index, default=default))
        index += 1
    exec(f"def call(found, context): return function({', '.join(passed)})", namespace)
    return cast("Callable[[Any, JobContext | None], Any]", namespace["call"])


def _free_names(taken: set[str], *wanted: str) -> dict[str, str]:
    """Names that no parameter has."""
    names = {}
    for name in wanted:
        free = f"_{name}"
        while free in taken:
            free += "_"
        names[name] = free
    return names
