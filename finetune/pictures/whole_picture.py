"""A picture as people see it, and which part of it the network sees; torch-free."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image

from finetune.pictures import decoding, opening, square
from finetune.pictures.bands import Bands
from finetune.pictures.high_depth import Wide
from finetune.pictures.opening import File, Source
from finetune.records.backbone import Box
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError, cause

Picture = File | Image.Image
Spot = tuple[float, float, float, float]  # left, upper, right, lower


LEAST_PX, MOST_PX = 320, 640  # of the long side of what is drawn on: a person is to see it
_ON_ITS_SIDE = frozenset(
    {
        *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
        *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
    }
)


def size_of(picture: Picture, bands: Bands | None = None) -> tuple[int, int]:
    """Width and height in pixels of a file or an image, turned as EXIF asks.

    Raises:
        ImageError: the file cannot be opened.
    """
    if isinstance(picture, Image.Image):
        return _turned(picture.size, decoding.turn_of(picture))

    def work(source: Source) -> tuple[int, int]:
        image = decoding.begun(source, bands)
        if isinstance(image, Wide):
            height, width = image.numbers.shape[:2]
            return width, height
        return _turned(image.size, decoding.turn_of(image))

    return opening.read(picture, work)


def upright(
    picture: Picture, scales: Sequence[Scale] | None = None, bands: Bands | None = None
) -> Image.Image:
    """A picture in RGB to draw on, turned as EXIF asks: long side `LEAST_PX` to `MOST_PX`.

    Args:
        picture: The file, or an image in memory.
        scales: As for `decoding.decode`.
        bands: Which of a TIFF are taken.

    Raises:
        ImageError: it cannot be decoded.
    """
    size = size_of(picture, bands)
    if isinstance(picture, Image.Image):
        try:
            rgb, turn = decoding.to_rgb(picture), decoding.turn_of(picture)
        except OSError as error:  # it is opened, and not read yet
            raise ImageError("in memory", cause(error)) from error
    else:

        def work(source: Source) -> tuple[Image.Image, Image.Transpose | None]:
            image, rgb, _ = decoding.unpack(
                source, MOST_PX, lambda wide: decoding.span_of(wide, scales), bands=bands
            )
            return rgb, decoding.turn_of(image)

        rgb, turn = opening.read(picture, work)
    share = min(max(LEAST_PX, *size), MOST_PX) / max(size)
    width, height = (max(1, round(share * length)) for length in size)
    straight = rgb if turn is None else rgb.transpose(turn)
    return straight.resize((width, height), Image.Resampling.LANCZOS)


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    return size[::-1] if turn in _ON_ITS_SIDE else size


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
