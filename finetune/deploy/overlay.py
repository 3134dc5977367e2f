"""A heat map drawn on its picture: readable in gray, and whatever colors a person sees."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from finetune.deploy import evidence_box
from finetune.pictures.whole_picture import Spot
from finetune.storage.arrays import Array

# Nine steps of viridis (Smith & van der Walt 2015, CC0): lighter is more, in gray too.
_STEPS = (
    *((68, 1, 84), (71, 45, 123), (59, 82, 139), (44, 114, 142), (33, 145, 140)),
    *((40, 174, 128), (94, 201, 98), (173, 220, 48), (253, 231, 37)),
)
_LEAST, _MOST = 0.2, 0.75  # how much of the color shows where there is no evidence, and most
_UNSEEN = 0.35  # of the brightness of what the network does not see
_PICTURE = 0.8  # of a picture's, so that light means evidence
_SIDE = 256  # a map is drawn as fine as this, then put on its picture


def drawn(picture: Image.Image, places: Array, part: Spot, inside: Spot, box: Spot | None) -> bytes:
    """A PNG of the picture in gray with the evidence as color, and a frame round its box.

    Args:
        picture: RGB, upright.
        places: The evidence in the square that the network sees, float64[H,W].
        part: What of the picture fills the square, in its pixels.
        inside: Which part of the square that is, in shares of its side.
        box: In pixels of the picture; None without one.
    """
    gray = np.asarray(picture.convert("L"), np.float64) * _PICTURE
    out = np.repeat((_UNSEEN * gray)[:, :, None], 3, 2)
    left, upper, right, lower = (round(edge) for edge in part)
    heat = strength(places, inside, (max(1, right - left), max(1, lower - upper)))
    rows = slice(upper, upper + heat.shape[0])
    columns = slice(left, left + heat.shape[1])
    heat = heat[: out[rows].shape[0], : out[:, columns].shape[1]]
    share = (_LEAST + (_MOST - _LEAST) * heat)[:, :, None]
    out[rows, columns] = share * colors(heat) + (1 - share) * gray[rows, columns, None]
    image = Image.fromarray(out.round().astype(np.uint8))
    if box is not None:
        _frame(image, box)
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def on_square(pixels: npt.NDArray[np.uint8], places: Array) -> bytes:
    """A PNG of what the network sees, uint8[S,S,3], with the evidence float64[H,W] as color."""
    whole = (0.0, 0.0, float(pixels.shape[1]), float(pixels.shape[0]))
    return drawn(Image.fromarray(pixels), places, whole, (0.0, 0.0, 1.0, 1.0), None)


def strength(places: Array, inside: Spot, size: tuple[int, int]) -> Array:
    """The evidence in the part of the square that is picture, float64[height,width], 0 to 1."""
    square = Image.fromarray(evidence_box.smooth(places, _SIDE).astype(np.float32))
    spot = (_SIDE * inside[0], _SIDE * inside[1], _SIDE * inside[2], _SIDE * inside[3])
    heat = np.asarray(square.resize(size, Image.Resampling.BILINEAR, box=spot), np.float64)
    return heat / max(float(heat.max()), 1e-12)


def colors(strength: Array) -> Array:
    """Values float64[H,W] from 0 to 1 as colors float64[H,W,3] from 0 to 255."""
    at = np.linspace(0, 1, len(_STEPS))
    steps: npt.NDArray[np.float64] = np.array(_STEPS, np.float64)
    return np.stack([np.interp(strength, at, steps[:, c]) for c in range(3)], axis=-1)


def _frame(image: Image.Image, box: Spot) -> None:
    """Dark beside light, so that it shows on either."""
    width = max(1, max(image.size) // 250)
    pen = ImageDraw.Draw(image)
    for more, color in ((0, (0, 0, 0)), (width, (255, 255, 255))):
        left, upper, right, lower = (round(edge) for edge in box)
        spot = (left + more, upper + more, right - 1 - more, lower - 1 - more)
        if spot[0] < spot[2] and spot[1] < spot[3]:
            pen.rectangle(spot, outline=color, width=width)
