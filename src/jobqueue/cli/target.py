"""What `module:name` on the command line stands for: the tasks, the queue, or the settings."""

from __future__ import annotations

import importlib
import traceback
from dataclasses import is_dataclass
from typing import TYPE_CHECKING, NoReturn, cast

from ..final.config import Config
from ..final.job_queue import JobQueue
from ..tasks import Tasks
from ..tasks.task import BaseTask
from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from ..final.ports import Opener

_NAME = "tasks"
"""What is looked for if no name is given."""


def find(target: str) -> Tasks | JobQueue:
    """The `Tasks` or the `JobQueue` that is meant, or what a function that is meant makes.

    Raises:
        CommandError: there is no such module, nothing of this name in it, or it is something else.
    """
    module, name = _parts(target)
    found = _look_up(module, name, target, _what_there_is)
    made = found
    if callable(found) and not isinstance(found, (BaseTask, Tasks, JobQueue)):
        try:
            made = found()
        except Exception as error:  # noqa: BLE001  # whatever it may raise: it is shown
            traceback.print_exc()
            raise CommandError(
                Exit.USAGE,
                f"{target} is a function that could not be called without arguments to make the "
                f"queue ({type(error).__name__}: {error}); the traceback is above",
            ) from None
    if isinstance(made, (Tasks, JobQueue)):
        return made
    what = "is" if made is found else "is a function that made"
    hint = "name the Tasks that it was declared with" if isinstance(made, BaseTask) else "name one"
    raise CommandError(
        Exit.USAGE,
        f"{target} {what} {_shown(made)}, which is neither a Tasks nor a JobQueue; {hint}"
        f"{_what_there_is(module)}",
    )


def find_config(target: str) -> Opener:
    """The `Config` that is meant, or the settings of another engine.

    Raises:
        CommandError: there is none.
    """
    module, name = _parts(target, "config")
    found = _look_up(module, name, target, _which_settings)
    if _is_settings(found):
        return cast("Opener", found)
    raise CommandError(
        Exit.USAGE,
        f"--config {target} is {_shown(found)}; name a jobqueue.Config, or a PostgresConfig"
        f"{_which_settings(module)}",
    )


def _parts(target: str, name: str = _NAME) -> tuple[ModuleType, str]:
    module_name, colon, given = target.partition(":")
    if not module_name or (colon and not given):
        raise CommandError(
            Exit.USAGE, f"{target!r} names no queue; write module:name, as in shop.jobs:tasks"
        )
    return _import(module_name, target), given or name


def _import(name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Or is it a module that this one imports? Then that one is to be told of.
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            hint = ""
            if name.endswith(".py") or "/" in name:
                hint = "; write the module as in an import, with dots and without .py"
            raise CommandError(
                Exit.USAGE,
                f"there is no module {name!r} (of {target!r}) here or on sys.path; start it in the "
                f"directory of your code, or name that by --app-dir{hint}",
            ) from None
        _raise_failed(name, error)
    except Exception as error:  # noqa: BLE001  # whatever a module may raise: it is shown
        _raise_failed(name, error)


def _raise_failed(name: str, error: Exception) -> NoReturn:
    traceback.print_exc()
    raise CommandError(
        Exit.USAGE,
        f"the module {name!r} could not be imported ({type(error).__name__}: {error}); the "
        f"traceback is above",
    ) from None


def _look_up(
    module: ModuleType, name: str, target: str, what_there_is: Callable[[ModuleType], str]
) -> object:
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise CommandError(
                Exit.USAGE,
                f"the module {module.__name__!r} has no {name!r} (of {target!r}); write "
                f"{module.__name__}:name{what_there_is(module)}",
            ) from None
    return found


def _is_settings(found: object) -> bool:
    if isinstance(found, type):
        return False
    return isinstance(found, Config) or (is_dataclass(found) and hasattr(found, "settings"))


def _which_settings(module: ModuleType) -> str:
    names = sorted(name for name, each in vars(module).items() if _is_settings(each))
    if not names:
        return f"; there are no settings of a queue in {module.__name__!r}"
    return f"; in there is {', '.join(f'{module.__name__}:{name}' for name in names)}"


def _what_there_is(module: ModuleType) -> str:
    names = [name for name, each in vars(module).items() if isinstance(each, (Tasks, JobQueue))]
    if not names:
        return f"; there is no Tasks and no JobQueue in {module.__name__!r}"
    return f"; in there is {', '.join(f'{module.__name__}:{name}' for name in sorted(names))}"


def _shown(found: object) -> str:
    return f"{found!r:.80}"
