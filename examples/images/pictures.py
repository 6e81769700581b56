"""Pictures to work on: the same ones for the same seed, and some that no program can use."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from random import Random

from PIL import Image, ImageDraw, ImageFilter, ImageOps

WIDTH, HEIGHT = 1200, 900
_ORIENTATION = 0x0112  # the EXIF tag that tells how the camera was held
_QUARTER_TURN = 6
_TURNED = 0.25  # share of the pictures that were taken upright
_BOMB_SIDE = 60_000


def draw_pictures(folder: Path, count: int, seed: int) -> list[Path]:
    """Draw `count` pictures into a folder, of the shapes and colours of no place in particular."""
    files = []
    for number in range(count):
        rng = Random(f"{seed} {number}")
        file = folder / f"picture-{number:03}.jpg"
        exif = Image.Exif()
        if rng.random() < _TURNED:
            exif[_ORIENTATION] = _QUARTER_TURN
        _draw(rng).save(file, "JPEG", quality=92, exif=exif)
        files.append(file)
    return files


def _draw(rng: Random) -> Image.Image:
    sky = Image.linear_gradient("L").resize((WIDTH, HEIGHT))
    picture = ImageOps.colorize(sky, black=_colour(rng), white=_colour(rng))
    pen = ImageDraw.Draw(picture)
    for _ in range(40):
        x, y, r = rng.randrange(WIDTH), rng.randrange(HEIGHT), rng.randint(20, 260)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=_colour(rng))
    grain = Image.frombytes("L", (WIDTH // 4, HEIGHT // 4), rng.randbytes(WIDTH * HEIGHT // 16))
    grain = grain.resize((WIDTH, HEIGHT)).convert("RGB")
    return Image.blend(picture.filter(ImageFilter.BoxBlur(2)), grain, 0.1)


def _colour(rng: Random) -> str:
    return f"hsl({rng.randrange(360)}, {rng.randint(20, 80)}%, {rng.randint(20, 80)}%)"


def draw_broken(folder: Path, good: Path) -> list[Path]:
    """Make what looks like a picture and is none: cut off, no picture at all, far too large."""
    contents = {
        "cut-off.jpg": good.read_bytes()[: good.stat().st_size // 2],
        "not-a-picture.jpg": b"<html>404 Not Found</html>",
        "too-large.png": _png_of_one_colour(_BOMB_SIDE, _BOMB_SIDE),
    }
    files = []
    for name, content in contents.items():
        file = folder / name
        file.write_bytes(content)
        files.append(file)
    return files


def _png_of_one_colour(width: int, height: int) -> bytes:
    """A few bytes that would take gigabytes when decoded: what is called a decompression bomb."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(kind + data)
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)
