"""BlurHash: a picture in 28 characters, shown until the picture itself is there.

After the description of the algorithm at https://github.com/woltapp/blurhash. Computed in pure
Python, and meant to stay so: it stands for whatever a program computes without the help of C.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Colour = tuple[float, float, float]  # linear light, each from 0 to 1

_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz#$%*+,-.:;=?@[]^_{|}~"
_ACROSS, _DOWN = 4, 3  # how many waves


def blurhash(rows: Sequence[Sequence[Colour]]) -> str:
    """Return the hash of a picture, which is given as rows of pixels."""
    first, *others = [_wave(rows, i, j) for j in range(_DOWN) for i in range(_ACROSS)]
    largest = max(abs(value) for colour in others for value in colour)
    steps = max(0, min(82, math.floor(largest * 166 - 0.5)))
    scale = (steps + 1) / 166
    return "".join(
        [
            _base83((_ACROSS - 1) + (_DOWN - 1) * 9, 1),
            _base83(steps, 1),
            _base83(_average(first), 4),
            *(_base83(_deviation(colour, scale), 2) for colour in others),
        ]
    )


def linear(value: int) -> float:
    """Turn a channel's value, from 0 to 255, into linear light."""
    share = value / 255
    return share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4


def _wave(rows: Sequence[Sequence[Colour]], i: int, j: int) -> Colour:
    """How much there is of the wave with i half-turns across and j down."""
    height, width = len(rows), len(rows[0])
    across = [math.cos(math.pi * i * x / width) for x in range(width)]
    red = green = blue = 0.0
    for y, row in enumerate(rows):
        down = math.cos(math.pi * j * y / height)
        for weight, (r, g, b) in zip(across, row, strict=True):
            basis = weight * down
            red += basis * r
            green += basis * g
            blue += basis * b
    scale = (1 if i == j == 0 else 2) / (width * height)
    return red * scale, green * scale, blue * scale


def _average(colour: Colour) -> int:
    red, green, blue = (_channel(value) for value in colour)
    return (red << 16) + (green << 8) + blue


def _channel(value: float) -> int:
    value = max(0.0, min(1.0, value))
    share = value * 12.92 if value <= 0.0031308 else 1.055 * value ** (1 / 2.4) - 0.055
    return int(share * 255 + 0.5)


def _deviation(colour: Colour, scale: float) -> int:
    red, green, blue = (_level(value / scale) for value in colour)
    return (red * 19 + green) * 19 + blue


def _level(value: float) -> int:
    root = math.copysign(math.sqrt(abs(value)), value)
    return max(0, min(18, math.floor(root * 9 + 9.5)))


def _base83(number: int, length: int) -> str:
    return "".join(_DIGITS[number // 83**place % 83] for place in reversed(range(length)))
