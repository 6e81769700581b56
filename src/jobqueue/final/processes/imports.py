"""Which handlers another process can import by name, and what it has to know for that."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from ..model.handlers import Handler, name_of
from .wire import Reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, ModuleType

_ADVICE = "define it at the top level of a module that can be imported, or use executor='thread'"


class ImportableHandler(Handler):
    """A handler, and the place at which another process finds its function.

    Args:
        middleware: what makes the middleware that its attempts run within, which need a context.
        number: gives the number that stands for that place in what the processes are told.

    Raises:
        TypeError: as for `Handler`.
        ValueError: another process would not find it.
    """

    __slots__ = ("number", "reference")

    def __init__(
        self,
        function: Callable[..., object],
        middleware: tuple[Reference, ...],
        number: Callable[[Reference], int],
    ) -> None:
        super().__init__(function)
        self.reference = reference_to(function)._replace(middleware=middleware)
        self.number = number(self.reference)
        self.is_equipped = True  # any code of an attempt may ask for its context

    def check_replaces(self, old: Handler) -> None:
        """Raises `ValueError` if a process would go on with the function that it has imported."""
        if isinstance(old, ImportableHandler) and old.number == self.number:
            raise ValueError(
                f"handler {name_of(self.function)} cannot be replaced by another function of the "
                f"same module and name: processes that have imported it go on with the old one; "
                f"make a new queue"
            )


def reference_to(function: Callable[..., object], what: str = "handler") -> Reference:
    """The place at which another process finds a function.

    Args:
        function: the function, or a class.
        what: what it is, for messages.

    Raises:
        ValueError: another process would not find it.
    """
    name = getattr(function, "__module__", None)
    qualname = getattr(function, "__qualname__", None)
    module = sys.modules.get(name or "")
    if name is None or qualname is None or module is None or "<" in qualname:
        raise _refused(what, function, "is a lambda, a local function or an object")
    if name == "__mp_main__":
        raise ValueError(
            f"{what} {name_of(function)} is in a main module that a process (executor='process') "
            f"has imported again; make the queue under: if __name__ == '__main__'"
        )
    found: object = module
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if found is not function and not _is_to_come(function, module, qualname):
        raise _refused(what, function, f"is not what {name}.{qualname} is", _bound(name, qualname))
    if name == "__main__":
        return Reference(name, qualname, _main_module(what, function, module), sys.argv)
    if getattr(module, "__spec__", None) is None:
        raise _refused(what, function, f"is in {name!r}, which was not imported from anywhere")
    return Reference(name, qualname, {}, sys.argv, roots_of(name))


def _is_to_come(function: Callable[..., object], module: ModuleType, qualname: str) -> bool:
    """Whether a decorator is at work on it, before its module, which is running, has the name."""
    if not hasattr(function, "__code__") or hasattr(module, qualname.partition(".")[0]):
        return False
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        if frame.f_globals is module.__dict__ and frame.f_code.co_name == "<module>":
            return True
        frame = frame.f_back
    return False


def _bound(module: str, qualname: str) -> str:
    """What to do about a name that means something else, or nothing."""
    owner, _, _ = qualname.partition(".")
    return (
        f"{module}.{owner} must be what the handler comes from: of a task, use @tasks.task above "
        f"the function, or bind that name to the task ({owner} = tasks.task(...)({owner})); "
        f"otherwise {_ADVICE}"
    )


def _refused(
    what: str, function: Callable[..., object], reason: str, advice: str = _ADVICE
) -> ValueError:
    return ValueError(
        f"{what} {name_of(function)} {reason}, so a process (executor='process') could not "
        f"import it by name; {advice}"
    )


def _main_module(what: str, function: Callable[..., object], module: ModuleType) -> dict[str, str]:
    """How to import the program's main module, in the words of `multiprocessing`."""
    spec = getattr(module, "__spec__", None)
    if spec is not None and spec.name is not None:
        if spec.name.rpartition(".")[2] == "__main__":
            raise _refused(
                what, function, f"is in {spec.name!r}, which does its work when imported"
            )
        return {"init_main_from_name": spec.name}
    path = getattr(module, "__file__", None)
    if path is None or not os.path.isfile(path):
        raise _refused(what, function, "is in the main module, which came from no file")
    return {"init_main_from_path": os.path.abspath(path)}


# ── the import path ──────────────────────────────────────────────────────────────────────────────


def import_path() -> list[str]:
    """Where another process has to look for modules to find those that this one finds.

    An entry that is relative means the directory that it meant when it was first used, whatever
    `os.chdir` did since: that is also how Python takes it.
    """
    entries = [
        each
        for each in sys.path
        if isinstance(each, str)  # type: ignore[redundant-expr]  # Python passes over others, too
    ]
    path = list(map(_absolute, entries))
    for root in roots_of(__package__):
        if root not in path:  # it was found in a working directory that was left since
            path.insert(entries.index("") if "" in entries else len(path), root)
    return path


def _absolute(entry: str) -> str:
    if os.path.isabs(entry):
        return entry
    finder = sys.path_importer_cache.get(entry)
    known = getattr(finder, "path", None)  # the finder of files made it absolute
    if isinstance(known, str) and os.path.isabs(known):
        return known
    try:
        return os.path.abspath(entry)
    except OSError:  # the working directory has been deleted
        return entry


def roots_of(module: str) -> tuple[str, ...]:
    """The directories in which this process found the outermost package of a module."""
    spec = getattr(sys.modules.get(module.partition(".")[0]), "__spec__", None)
    if spec is None:
        return ()
    places = spec.submodule_search_locations
    if places is None:
        places = [spec.origin] if spec.has_location else []
    return tuple(os.path.dirname(os.path.abspath(each)) for each in places)
