"""How far a measurement is, as a bar on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bar

Show = Callable[[float, float, str], object]
"""Takes the steps done, the steps expected, and what is being done."""


class Progress:
    """Is told by a measurement how far it is; if nothing else is said, shows nothing.

    May be used by one thread at a time.
    """

    def __init__(self, show: Show = lambda done, total, what: None) -> None:
        self._show = show
        self._done = 0.0
        self._total = 1.0
        self._what = ""

    def expect(self, steps: float) -> None:
        """Tell how many steps there will be: runs, seconds, whatever `advance` counts."""
        self._total = steps
        self._tell()

    def begin(self, what: str) -> None:
        """Tell what is being done now, in a few words."""
        self._what = what
        self._tell()

    def advance(self, steps: float = 1.0) -> None:
        """Tell that so many steps more are done."""
        self._done += steps
        self._tell()

    def _tell(self) -> None:
        self._show(self._done, self._total, self._what)


@contextmanager
def progress_bar(name: str) -> Iterator[Progress]:
    """Show a bar on standard error for as long as the block runs, if that is a terminal."""
    console = Console(stderr=True)
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[what]}", markup=False),
    )
    with Bar(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task(name, total=None, what="")

        def show(done: float, total: float, what: str) -> None:
            bar.update(task, completed=done, total=total, what=what)

        yield Progress(show)
