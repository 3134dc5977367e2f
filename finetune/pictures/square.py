"""A picture of any shape → a square, in one of four ways; torch-free."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.records.backbone import Box
from finetune.records.choices import Interpolation

KERNELS: dict[Interpolation, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


def cut(upright: Image.Image, side_px: int, box: Box) -> npt.NDArray[np.uint8]:
    """The square uint8[side_px, side_px, 3] of an RGB picture.

    `squash`, `center` and `letterbox` are timm's `squash`, `center` and `border` at a crop share
    of 1 (timm/data/transforms_factory.py), to the pixel.

    Args:
        upright: The picture, turned as EXIF asks.
        side_px: Side of the square.
        box: Which way.
    """
    width, height = upright.size
    size, kernel = (side_px, side_px), KERNELS[box.interpolation]
    if box.fit == "letterbox":
        inner = _letterbox(width, height, side_px)
        small = upright.resize(inner, kernel)
        out = Image.new("RGB", size, box.fill)
        out.paste(small, ((side_px - inner[0]) // 2, (side_px - inner[1]) // 2))
        return np.asarray(out)
    if box.fit == "half":
        part = half(width, height)
    elif box.fit == "center":
        part = _middle(width, height, side_px)
    else:
        part = (0.0, 0.0, float(width), float(height))
    return np.asarray(upright.resize(size, kernel, box=part))


def half(width: float, height: float) -> tuple[float, float, float, float]:
    """The central part of a picture that becomes the square.

    Squeezing the whole picture distorts shapes; cropping a square cuts objects off. Half of each:
    the part kept has the square root of the picture's aspect ratio (docs/log.md, 2026-11-23:
    the best or second of seven ways on average over six sets).
    """
    middle = math.sqrt(width * height)  # the long side, once its excess is halved
    keep_w, keep_h = min(width, middle), min(height, middle)
    left, upper = (width - keep_w) / 2, (height - keep_h) / 2
    return left, upper, left + keep_w, upper + keep_h


def _middle(width: int, height: int, side_px: int) -> tuple[float, float, float, float]:
    """The part that is left where the short side is made `side_px` and the middle is cut out."""
    short = min(width, height)
    spans = []
    for length in (width, height):
        resized = side_px * length // short
        offset = round((resized - side_px) / 2)
        step = length / resized
        spans.append((offset * step, (offset + side_px) * step))
    (left, right), (upper, lower) = spans
    return left, upper, min(right, width), min(lower, height)


def _letterbox(width: int, height: int, side_px: int) -> tuple[int, int]:
    """Size of the whole picture where its long side is made `side_px`."""
    long = max(width, height)
    return max(1, round(width * side_px / long)), max(1, round(height * side_px / long))
