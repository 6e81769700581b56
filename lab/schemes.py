"""One picture for a light page and a dark one: an SVG whose colours follow the reader's scheme.

A drawing is made in the light colours. In its SVG each of them becomes a variable that has another
value in a dark scheme. The ground is part of the picture, so that it can be read even if a viewer
knows of no schemes, or believes in another one than the page around it.
"""

from __future__ import annotations

import re

BLUE, ORANGE, GREEN, VERMILION = "#0072B2", "#B37400", "#008562", "#C95500"
SKY, PURPLE = "#56B4E9", "#B05C8E"
GREY, INK, QUIET = "#767676", "#222222", "#555555"
BAR, BAND, GRID = "#BDBDBD", "#F2F2F2", "#E5E5E5"
PAPER, ON_COLOUR, ON_PALE = "#FFFFFD", "#FFFFFE", "#222221"

DARK = {
    BLUE: "#4BA9E6",
    ORANGE: "#EBAA25",
    GREEN: "#2FC79B",
    VERMILION: "#F5854A",
    SKY: "#A9DBF7",
    PURPLE: "#DB95BF",
    GREY: "#A3A8B3",
    INK: "#E8E9ED",
    QUIET: "#B9BCC6",
    BAR: "#5C6270",
    BAND: "#2B2F3A",
    GRID: "#363B47",
    PAPER: "#1E2129",
    ON_COLOUR: "#11141A",
    ON_PALE: "#11141B",
}
"""What each colour is in a dark scheme. They are those of Okabe and Ito, which can be told apart
whatever colours one sees, made darker or lighter until letters in them can be read."""

_COLOUR = re.compile(r"#[0-9a-f]{6}\b", re.IGNORECASE)
_ROOT = re.compile(r"<svg\b[^>]*>")


def two_schemes(svg: str) -> str:
    """An SVG that was drawn in the light colours, with both schemes in it.

    Raises:
        ValueError: it has a colour that has no counterpart in a dark scheme.
    """
    names = {light.lower(): f"c{number}" for number, light in enumerate(DARK)}

    def variable(found: re.Match[str]) -> str:
        light = found[0].lower()
        if light not in names:
            raise ValueError(f"{light} has no counterpart in a dark scheme: name one in DARK")
        return f"var(--{names[light]}, {light})"

    return _ROOT.sub(
        lambda root: f"{root[0]}\n{_style(names)}", _COLOUR.sub(variable, svg), count=1
    )


def _style(names: dict[str, str]) -> str:
    light = "".join(f"--{name}:{colour};" for colour, name in names.items())
    dark = "".join(f"--{names[colour.lower()]}:{other};" for colour, other in DARK.items())
    return (
        f"<style>svg{{color-scheme:light dark;{light}}}"
        f"@media(prefers-color-scheme:dark){{svg{{{dark}}}}}</style>"
    )
