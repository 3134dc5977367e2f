"""Pictures of every kind that files come in, drawn here: an export is checked on them, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

KINDS = ("jpeg", "turned", "grey", "png", "alpha", "palette", "tall", "wide")
_TURN = 6  # a quarter to the right, as telephones write it
_ORIENTATION = 0x0112


def draw(folder: Path, count: int) -> list[Path]:
    """Draw so many pictures, the kinds in turn, always the same."""
    return [_save(folder, number, KINDS[number % len(KINDS)]) for number in range(count)]


def _save(folder: Path, number: int, kind: str) -> Path:
    rng = np.random.default_rng(number)
    width, height = {"tall": (150, 420), "wide": (520, 130)}.get(kind, (320, 240))
    pixels = _pixels(rng, width, height)
    image, exif = Image.fromarray(pixels), Image.Exif()
    if kind == "grey":
        image = image.convert("L")
    elif kind == "palette":
        image = image.quantize(64)
    elif kind == "alpha":
        image.putalpha(Image.fromarray(_pixels(rng, width, height)[..., 0]))
    elif kind == "turned":
        exif[_ORIENTATION] = _TURN
    plain = kind in ("png", "alpha", "palette", "wide")
    path = folder / f"{number:02d}-{kind}.{'png' if plain else 'jpg'}"
    image.save(path, exif=exif, quality=90)  # which PNG passes over
    return path


def _pixels(
    rng: np.random.Generator, width: int, height: int
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Discs on a slope under a little noise, uint8[height, width, 3]."""
    y, x = np.mgrid[0:height, 0:width]
    out = np.empty((height, width, 3))
    out[:] = rng.integers(0, 256, 3) + (x / width)[..., None] * rng.integers(-120, 121, 3)
    for _ in range(6):
        at_x, at_y, radius = rng.random(3) * (width, height, min(width, height) / 2)
        inside = (x - at_x) ** 2 + (y - at_y) ** 2 < radius**2
        out[inside] = rng.integers(0, 256, 3)
    out += rng.normal(0, 6, out.shape)
    return out.clip(0, 255).astype(np.uint8)
