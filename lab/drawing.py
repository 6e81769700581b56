"""How pictures look: one message each, few lines, each named where it ends.

Every line has its name beside it, so that nothing depends on colours. Only this module imports
matplotlib, and only when something is drawn.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from . import schemes
from .experiment import Data
from .schemes import (
    BAND,
    BAR,
    BLUE,
    GREEN,
    GREY,
    INK,
    ON_COLOUR,
    ON_PALE,
    ORANGE,
    PURPLE,
    QUIET,
    SKY,
    VERMILION,
)

__all__ = [
    "BAND",
    "BAR",
    "BLUE",
    "GREEN",
    "GREY",
    "INK",
    "ON_COLOUR",
    "ON_PALE",
    "ORANGE",
    "PURPLE",
    "QUIET",
    "SKY",
    "TIERS",
    "VERMILION",
    "MissingMatplotlibError",
    "inside",
    "label",
    "label_ends",
    "logarithmic",
    "number",
    "plain",
    "save",
    "title",
]

TIERS = {"naive": VERMILION, "improved": ORANGE, "final": BLUE}
"""A tier has the same colour in every picture."""

_WIDTH, _HEIGHT = 9.0, 5.0  # inches
_TITLE, _SUBTITLE = 16, 11  # points
_TITLE_CHARACTERS, _SUBTITLE_CHARACTERS = 62, 98  # what fits into a line
_LINE = 1.3  # a line's height, in those of its letters
_SETTINGS = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "lines.linewidth": 2.2,
    "lines.markersize": 5,
    "figure.facecolor": schemes.PAPER,
    "axes.facecolor": "none",
    "grid.color": schemes.GRID,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "svg.hashsalt": "the same ids for the same picture",
}


class MissingMatplotlibError(Exception):
    """Nothing can be drawn; the message says what to install."""


def save(
    draw: Callable[[Data, Any], None], data: Data, path: Path, *, height: float = _HEIGHT
) -> None:
    """Draw a picture and write it to an SVG file, for light pages and dark ones.

    Args:
        height: of the picture, in inches; it is 9 inches wide.

    Raises:
        MissingMatplotlibError: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingMatplotlibError(
            "pictures are drawn with matplotlib: pip install matplotlib"
        ) from None
    with rc_context(_SETTINGS):
        figure = Figure(figsize=(_WIDTH, height), layout="constrained")
        draw(data, figure)
        drawn = StringIO()
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(schemes.two_schemes(drawn.getvalue()), encoding="utf-8")


def title(figure: Any, finding: str, subtitle: str = "") -> None:
    """Put the finding over the picture, and in smaller letters what is shown and how.

    Call it before or after the axes are made; they get what is left of the height.
    """
    height = figure.get_figheight() * 72
    below = height - 8.0
    for text, size, characters, style in (
        (finding, _TITLE, _TITLE_CHARACTERS, {"fontweight": "bold", "color": INK}),
        (subtitle, _SUBTITLE, _SUBTITLE_CHARACTERS, {"color": QUIET}),
    ):
        for line in textwrap.wrap(text, characters):
            figure.text(0.012, below / height, line, va="top", fontsize=size, **style)
            below -= size * _LINE
        below -= 3.0
    figure.get_layout_engine().set(rect=(0, 0, 1, (below - 4.0) / height))


def label(axes: Any, x: float, y: float, text: str, colour: str, **options: Any) -> None:
    """Name something where it is: to the right of a point, unless `options` say otherwise.

    Args:
        options: `dx`, `dy`: distance in points; any other is one of matplotlib's `annotate`.
    """
    offset = (options.pop("dx", 8), options.pop("dy", 0))
    settings = {"va": "center", "fontweight": "bold", "annotation_clip": False, **options}
    axes.annotate(text, (x, y), offset, textcoords="offset points", color=colour, **settings)


def inside(axes: Any, x: float, y: float, text: str, **options: Any) -> None:
    """Name a bar within it, around a point; `options` are of matplotlib's `text`."""
    settings = {"ha": "center", "va": "center", "color": ON_COLOUR, "weight": 700, **options}
    axes.text(x, y, text, **settings)


def label_ends(axes: Any, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Name lines at their ends, moved apart if two end close to each other.

    Call it when the axes have their limits and scale.

    Args:
        ends: for each line x and y of its end, its name, and its colour.
    """
    to_points = 72 / axes.figure.dpi
    above = float("-inf")
    for x, y, text, colour in sorted(ends, key=lambda end: end[1]):
        place = axes.transData.transform((x, y))[1] * to_points
        half = 7.5 * (text.count("\n") + 1)
        above = max(place, above + half)
        label(axes, x, y, text, colour, dy=above - place)
        above += half


def plain(axis: Any, unit: str = "") -> None:
    """Have an axis show plain numbers with commas, such as 20,000, and a unit after each."""
    axis.set_major_formatter(lambda value, _position: f"{number(value)}{unit}")


def logarithmic(axis: Any, subs: Sequence[float] = (1,)) -> None:
    """Make an axis logarithmic, with plain numbers at the powers of ten times `subs`."""
    from matplotlib.ticker import LogLocator, NullLocator

    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_minor_locator(NullLocator())
    plain(axis)


def number(value: float) -> str:
    """A number for people: with commas, and with digits after the point only if it is small."""
    if abs(value) >= 10 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.2g}"
