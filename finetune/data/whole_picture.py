"""A picture as people see it, and which part of it the network sees; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from finetune.data import decoding, opening, square
from finetune.data.high_depth import Wide
from finetune.data.opening import Content, Source
from finetune.records.backbone import Box
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError, cause

Spot = tuple[float, float, float, float]  # left, upper, right, lower


LEAST_PX, MOST_PX = 320, 640  # of the long side of what is drawn on: a person is to see it


@dataclass(frozen=True)
class Whole:
    """A picture turned as EXIF asks, of a size to be seen, and the size that it has."""

    image: Image.Image
    width_px: int
    height_px: int


def of_file(path: Path | Content, scales: Sequence[Scale] | None) -> Whole:
    """The picture of a file, its long side between `LEAST_PX` and `MOST_PX`.

    Args:
        path: The file.
        scales: As for `decoding.decode`.

    Raises:
        ImageError: the file cannot be decoded.
    """

    def work(source: Source) -> Whole:
        first = decoding.begun(source)
        size = first.numbers.shape[1::-1] if isinstance(first, Wide) else first.size
        image, rgb, _ = decoding.unpack(
            source, MOST_PX, lambda wide: decoding.span_of(wide, scales)
        )
        return _whole(rgb, decoding.turn_of(image), (int(size[0]), int(size[1])))

    return opening.read(path, work)


def of_image(image: Image.Image) -> Whole:
    """The same of an image in memory.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        return _whole(decoding.to_rgb(image), decoding.turn_of(image), image.size)
    except OSError as error:  # it is opened, and not read yet
        raise ImageError("in memory", cause(error)) from error


def _whole(rgb: Image.Image, turn: Image.Transpose | None, size: tuple[int, int]) -> Whole:
    share = min(max(LEAST_PX, *size), MOST_PX) / max(size)
    small = rgb.resize(
        (max(1, round(share * size[0])), max(1, round(share * size[1]))), Image.Resampling.LANCZOS
    )
    if turn is None:
        return Whole(small, *size)
    on_its_side = turn not in (
        *(Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM),
        Image.Transpose.ROTATE_180,
    )
    return Whole(small.transpose(turn), *(size[::-1] if on_its_side else size))


def seen(width: float, height: float, box: Box) -> tuple[Spot, Spot]:
    """Which part of a picture fills which part of the square, that as shares of its side.

    Args:
        width: Of the picture, in whatever unit the answer is to have.
        height: As well.
        box: How it becomes a square.
    """
    whole, every = (0.0, 0.0, width, height), (0.0, 0.0, 1.0, 1.0)
    if box.fit == "half":
        return square.half(width, height), every
    if box.fit == "center":
        short = min(width, height)
        left, upper = (width - short) / 2, (height - short) / 2
        return (left, upper, left + short, upper + short), every
    if box.fit == "letterbox":
        long = max(width, height)
        x, y = (1 - width / long) / 2, (1 - height / long) / 2
        return whole, (x, y, 1 - x, 1 - y)
    return whole, every
