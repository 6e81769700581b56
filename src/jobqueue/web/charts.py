"""Charts as SVG, made by the server: of a fixed size, so that nothing moves as they are drawn anew.

No styles within, which the page's policy forbids: classes, and the page's style sheet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Series = Sequence[tuple[float, float]]

SPAN = 300.0
"""Seconds that a chart shows."""
_STEPS = 100


def thinned(series: Series, since: float, steps: int = _STEPS) -> list[tuple[float, float]]:
    """The highest value of each step, so that no peak is lost; as (place from 0 to 1, value)."""
    highest: dict[int, float] = {}
    for at, value in series:
        step = int((at - since) / SPAN * steps)
        if 0 <= step <= steps:
            highest[step] = max(value, highest.get(step, 0.0))
    return [(step / steps, value) for step, value in sorted(highest.items())]


def spark(
    series: Series, now: float, what: str, told: Callable[[float], str], kind: str = ""
) -> Markup:
    """A small chart: a line, and what it says for those who do not see it.

    Args:
        series: (monotonic time, value), oldest first.
        now: the right edge.
        what: its name, as "queued".
        told: writes a value.
        kind: a class, as "fail".
    """
    points = thinned(series, now - SPAN, steps=50)
    width, height = 120, 28
    top = max((value for _, value in points), default=0.0)
    line = _line(points, top, width, height)
    latest = told(points[-1][1]) if points else "–"
    label = f"{what} over five minutes: now {latest}, at most {told(top)}"
    return Markup(
        '<svg class="spark {kind}" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">'
        '<path class="base" d="M0 {base}H{width}"/>{line}</svg>'
    ).format(kind=kind, width=width, height=height, label=label, base=height - 0.5, line=line)


def chart(
    lines: Sequence[tuple[str, str, Series]], now: float, what: str, told: Callable[[float], str]
) -> Markup:
    """A large chart of some lines: (name, class, series)."""
    width, height = 600, 120
    thin = [(kind, thinned(series, now - SPAN)) for _, kind, series in lines]
    top = _round_up(max((value for _, points in thin for _, value in points), default=0.0))
    drawn = Markup().join(_line(points, top, width, height, kind) for kind, points in thin)
    parts = []
    for (name, _, _), (_, points) in zip(lines, thin, strict=True):
        parts.append(f"{name} {told(points[-1][1]) if points else '–'}")
    label = f"{what} over five minutes, at most {told(top)}; now {', '.join(parts)}"
    grid = Markup().join(
        Markup('<path class="grid" d="M0 {y:.1f}H{width}"/>').format(y=y, width=width)
        for y in (0.5, height / 2)
    )
    return Markup(
        '<svg class="chart" viewBox="0 0 {width} {height}" preserveAspectRatio="none" role="img" '
        'aria-label="{label}">{grid}<path class="base" d="M0 {base}H{width}"/>{drawn}</svg>'
    ).format(width=width, height=height, label=label, grid=grid, base=height - 0.5, drawn=drawn)


def top_of(lines: Sequence[Series], now: float) -> float:
    """The value at the upper edge of a chart of these."""
    thin = [thinned(series, now - SPAN) for series in lines]
    return _round_up(max((value for points in thin for _, value in points), default=0.0))


def _line(
    points: Sequence[tuple[float, float]], top: float, width: int, height: int, kind: str = ""
) -> Markup:
    if not points:
        return Markup()
    scale = (height - 3) / top if top > 0 else 0.0
    path = "L".join(f"{x * width:.1f} {height - 1 - value * scale:.1f}" for x, value in points)
    if len(points) == 1:
        path += "h1"
    if not any(value for _, value in points):
        kind += " flat"  # there was none of it: that is no alarm
    first, last = points[0][0] * width, points[-1][0] * width
    area = f"M{first:.1f} {height}L{path}L{last:.1f} {height}Z"
    return Markup(
        '<path class="area {kind}" d="{area}"/><path class="line {kind}" d="M{path}"/>'
    ).format(kind=kind, area=area, path=path)


def _round_up(value: float) -> float:
    """1, 2 or 5 times a power of ten, so that the edge seldom moves."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 <= value:
        power *= 10
    return next(each * power for each in (1, 2, 5, 10) if each * power >= value)
