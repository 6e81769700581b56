"""`jobqueue completion`: what a shell needs to complete the command, written by shtab."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .exits import CommandError, Exit

if TYPE_CHECKING:
    from collections.abc import Iterator

SHELLS = ("bash", "zsh", "fish")
_DIRECTORIES = ("path", "output", "persist_path", "app_dir", "reload_dir")
"""The arguments that are directories."""


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The completion of a command, as a script for a shell.

    Raises:
        CommandError: shtab is not installed.
    """
    try:
        import shtab
    except ModuleNotFoundError:
        raise CommandError(
            Exit.USAGE,
            "completions are written with shtab, which is not installed: "
            "pip install 'jobqueue[cli]'",
        ) from None
    for action in _actions(parser):
        if action.dest in _DIRECTORIES:
            action.complete = shtab.DIRECTORY  # type: ignore[attr-defined]  # shtab looks for it
        if isinstance(action, argparse._SubParsersAction):
            # Shells show it on one line; of a description shtab takes the first, as it is wrapped.
            for command in action._choices_actions:
                action.choices[command.dest].description = command.help
    return str(shtab.complete(parser, shell))


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Those of the parser, and of all below it."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                yield from _actions(each)
