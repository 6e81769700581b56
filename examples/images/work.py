"""The two handlers: the part to copy.

They stand at the top level of a module of their own, so that worker processes can import them
by name. A payload is the path of a picture, not the picture. Payloads go through the queue, and
through its log if it has one; large things stay in files.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageOps, UnidentifiedImageError

from jobqueue.final import JobContext, RejectJobError

from .blurhash import blurhash, linear

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = {"large": 800, "medium": 400, "small": 160}
"""The longest side of what `resize` makes, in pixels, by name."""

_HASHED_PIXELS = (100, 100)  # what a placeholder is computed from, at most: more is not seen in it
_LINEAR = [linear(value) for value in range(256)]


def resize(payload: bytes, context: JobContext) -> None:
    """Make the picture in the file `payload` smaller, into the directory of the header `into`.

    Idempotent: it makes the same files again. One is there whole or not at all, even if this
    process is killed.

    Raises:
        RejectJobError: that is no picture that will ever be made smaller.
    """
    source, into = Path(os.fsdecode(payload)), Path(context.job.headers["into"])
    picture = _open(source, _upright)
    for name, side in SIZES.items():
        picture = ImageOps.contain(picture, (side, side), Image.Resampling.LANCZOS)
        _save(picture, into / f"{source.stem}-{name}.jpg")


def placeholder(payload: bytes) -> str:
    """Return the BlurHash of the picture in the file `payload`.

    Raises:
        RejectJobError: that is no picture.
    """
    picture = _open(Path(os.fsdecode(payload)), _tiny)
    data, width = picture.tobytes(), picture.width * 3
    rows = [data[start : start + width] for start in range(0, len(data), width)]
    return blurhash([_pixels(row) for row in rows])


def _pixels(row: bytes) -> list[tuple[float, float, float]]:
    values = [_LINEAR[value] for value in row]
    return list(zip(values[::3], values[1::3], values[2::3], strict=True))


def _open(source: Path, load: Callable[[Image.Image], Image.Image]) -> Image.Image:
    """Load a picture, and tell what is wrong with the picture from what is wrong with the disk."""
    try:
        with Image.open(source) as file:
            return load(file)
    except (UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise RejectJobError(_without_path(error, source)) from error
    except OSError as error:
        if error.errno is not None:  # the disk's, not the decoder's: may go better next time
            raise
        raise RejectJobError(str(error)) from error


def _without_path(error: Exception, source: Path) -> str:
    return str(error).replace(str(source), source.name)


def _upright(file: Image.Image) -> Image.Image:
    """As the camera was held."""
    return ImageOps.exif_transpose(file).convert("RGB")


def _tiny(file: Image.Image) -> Image.Image:
    file.draft("RGB", _HASHED_PIXELS)  # a JPEG is decoded at an eighth of its size then
    picture = _upright(file)
    picture.thumbnail(_HASHED_PIXELS, Image.Resampling.BOX)
    return picture


def _save(picture: Image.Image, target: Path) -> None:
    unfinished = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    picture.save(unfinished, "JPEG", quality=85)
    os.replace(unfinished, target)
