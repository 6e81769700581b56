from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab import schemes
from lab.schemes import BLUE, DARK, INK, two_schemes

PICTURES = sorted(
    each
    for each in (Path(__file__).parents[2] / "docs").rglob("*.svg")
    if not each.name.startswith("diagram-")  # `tests/support/diagrams.py` draws on tiles of its own
)
CONTRAST_MIN = 3.0
"""Of letters that are large or bold, by WCAG 2.2, 1.4.3."""


def test_each_colour_is_another_one_in_a_dark_scheme() -> None:
    svg = f'<svg width="1"><path style="fill: {BLUE}; stroke: {INK.lower()}"/></svg>'
    text = two_schemes(svg)
    names = re.findall(r"var\(--(\w+), #\w{6}\)", text)
    light, dark = text.split("@media(prefers-color-scheme:dark)")
    for name, colour in zip(names, (BLUE, INK), strict=True):
        assert f"--{name}:{colour.lower()};" in light
        assert f"--{name}:{DARK[colour]};" in dark


def test_a_colour_without_a_counterpart_is_refused() -> None:
    with pytest.raises(ValueError, match="#123456 has no counterpart"):
        two_schemes('<svg><path fill="#123456"/></svg>')


def test_letters_can_be_read_on_their_ground() -> None:
    told = (schemes.BLUE, schemes.ORANGE, schemes.GREEN, schemes.VERMILION, schemes.PURPLE)
    on_paper = [(each, schemes.PAPER) for each in (*told, schemes.GREY, schemes.INK, schemes.QUIET)]
    on_bars = [(schemes.ON_COLOUR, each) for each in told] + [(schemes.ON_PALE, schemes.SKY)]
    for letters, ground in on_paper + on_bars:
        assert _contrast(letters, ground) >= CONTRAST_MIN, (letters, ground)
        assert _contrast(DARK[letters], DARK[ground]) >= CONTRAST_MIN, (letters, ground)


def _contrast(one: str, other: str) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    shares = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("picture", PICTURES, ids=lambda path: path.name)
def test_a_picture_of_the_docs_has_both_schemes(picture: Path) -> None:
    assert "prefers-color-scheme:dark" in picture.read_text(encoding="utf-8")
