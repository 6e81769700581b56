"""Whether every setting made all the pictures, rightly, and the same ones."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from .pipeline import WORKS, Made, Setting
from .work import SIZES

_PORTRAIT = {5, 6, 7, 8}  # EXIF orientations that swap the sides
_ORIENTATION = 0x0112


@dataclass(frozen=True)
class Audit:
    """The result of a run; the sets hold names, which tell the setting first."""

    made: int  # files and placeholders, over all settings
    dead: Mapping[str, str]  # reasons by job, as the first setting has them
    missing: frozenset[str]  # neither made nor rightly dead-lettered
    wrong: frozenset[str]  # of another size, or no picture
    different: frozenset[str]  # not what the first setting made
    undead: frozenset[str]  # broken pictures that were not dead-lettered, good ones that were

    @property
    def ok(self) -> bool:
        return not (self.missing or self.wrong or self.different or self.undead)


def audit(
    pictures: Sequence[Path], broken: Collection[Path], results: Mapping[Setting, Made]
) -> Audit:
    shapes = {file.stem: _shape(file) for file in pictures}
    wanted = {
        f"{stem}-{name}.jpg": _fit(shape, side)
        for stem, shape in shapes.items()
        for name, side in SIZES.items()
    }
    doomed = {f"{work} {file.name}, broken" for work in WORKS for file in broken}
    names = {file.name for file in pictures}
    first = next(iter(results.values()))
    missing, wrong, different, undead = set[str](), set[str](), set[str](), set[str]()
    for setting, made in results.items():
        absent = (wanted.keys() - made.files.keys()) | (names - made.placeholders.keys())
        missing |= {f"{setting}: {name}" for name in absent}
        wrong |= {
            f"{setting}: {name}"
            for name, content in made.files.items()
            if _size(content) != wanted.get(name)
        }
        different |= {f"{setting}: {name}" for name in _differences(first, made)}
        undead |= {f"{setting}: {job}" for job in doomed ^ made.dead.keys()}
    return Audit(
        made=sum(len(made.files) + len(made.placeholders) for made in results.values()),
        dead=first.dead,
        missing=frozenset(missing),
        wrong=frozenset(wrong),
        different=frozenset(different),
        undead=frozenset(undead),
    )


def _shape(file: Path) -> tuple[int, int]:
    """Width and height as a viewer shows it."""
    with Image.open(file) as picture:
        width, height = picture.size
        return (height, width) if picture.getexif().get(_ORIENTATION) in _PORTRAIT else picture.size


def _fit(shape: tuple[int, int], side: int) -> tuple[int, int]:
    width, height = shape
    scale = side / max(shape)
    return round(width * scale), round(height * scale)


def _size(content: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            return picture.size
    except OSError:
        return None


def _differences(one: Made, other: Made) -> set[str]:
    """Names of what both have, but not alike."""
    return _unlike(one.files, other.files) | _unlike(one.placeholders, other.placeholders)


def _unlike(one: Mapping[str, object], other: Mapping[str, object]) -> set[str]:
    return {name for name in one.keys() & other.keys() if one[name] != other[name]}
