"""Files → pixels: one decode path for training, evaluation and prediction; torch-free."""

from __future__ import annotations

import contextlib
import functools
import itertools
import math
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from finetune import matrix
from finetune.errors import ImageError, first_line
from finetune.matrix import Index, Rows, View

Pixels = npt.NDArray[np.uint8]
HEAD = struct.Struct("<3I16s16s")  # size, frames, mode and format of a packed glance
WHITE = (255, 255, 255, 255)
# What is white in pictures of more than 8 bits: 12 bits is what scanners and microscopes put into
# files of 16. The least that holds a picture's values: by a sixteenth no picture is mistaken.
FULL = (1.0, 255.0, 4095.0, 65535.0)
# What the EXIF orientation tag asks for (Exif 2.3, section 4.6.4 A). Read by ourselves: Pillow's
# exif_transpose also rewrites the other tags, and fails where one of them is damaged.
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# What is opened, whatever a file's suffix says. Pillow knows forty more, some of which start other
# programs (EPS runs Ghostscript); of those here none does.
FORMATS = (*("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "AVIF", "JPEG2000", "ICO"),)
# The most that is unpacked, counted after a JPEG's reduction: 200 MB as RGB, and in the worst case
# (float, 16 bits, transparency) a gigabyte for each worker. Pillow refuses 179 million by itself.
MOST_PIXELS = 2**26


@dataclass(frozen=True)
class Glance:
    """What a quick look at an image tells: its header, and a small copy where one was asked for.

    `width_px` and `height_px` are those of the file, before EXIF turns it; `mode` and `format` are
    Pillow's names; `thumb` is the whole picture squeezed, uint8[side, side, 3].
    """

    width_px: int
    height_px: int
    mode: str
    format: str
    several_frames: bool
    thumb: Pixels | None


def decode(path: Path, side_px: int) -> Pixels:
    """Read one image as the network sees it: uint8[side_px, side_px, 3], RGB.

    EXIF rotation is applied, transparency is laid on white, 16-bit and float images are scaled to
    8 bits, of several frames the first is taken. A picture that is not square is brought to a
    square half by squeezing and half by cropping (`_square_box`).

    Raises:
        ImageError: the file cannot be decoded; the message names it.
    """
    with _opened(path) as image:
        # JPEG can be decoded at 1/2, 1/4, 1/8; twice the side keeps the resize exact enough
        image.draft("RGB", (2 * side_px, 2 * side_px))
        upright = _upright(image)
        box = _square_box(*upright.size)
        square = upright.resize((side_px, side_px), Image.Resampling.BICUBIC, box=box)
    return np.asarray(square)


def glance(path: Path, side_px: int | None = None) -> Glance:
    """Look at an image quickly: the header alone, or also a small copy of `side_px` pixels.

    Raises:
        ImageError: the file cannot be opened or, where a copy is asked for, not decoded.
    """
    with _opened(path) as image:
        (width, height), mode, thumb = image.size, image.mode, None
        if side_px is not None:
            # four times the side, and the exact box: a copy shifted by half a pixel is no copy
            drafted = image.draft("RGB", (4 * side_px, 4 * side_px))
            box = None if drafted is None else drafted[1]
            small = _to_rgb(_bounded(image)).resize(
                (side_px, side_px), Image.Resampling.BILINEAR, box=box
            )
            turn = _turn(image)
            thumb = np.asarray(small if turn is None else small.transpose(turn))
        name = str(image.format)
        return Glance(width, height, mode, name, _several_frames(image), thumb)


def hidden(path: Path) -> bool:
    """Is a picture that is blank on white so only because it is transparent?

    Then its colours, or how far they cover, differ from pixel to pixel. Of one that cannot be read
    that is not known.
    """
    try:
        with _opened(path) as image:
            if "A" not in image.getbands() and "transparency" not in image.info:
                return False
            layer = np.asarray(_bounded(image).convert("RGBA")).reshape(-1, 4)
    except ImageError:
        return False
    covered = layer[:, 3]
    return bool(
        covered.min() < covered.max() or (covered.max() < 255 and (layer != layer[0]).any())
    )


def packed(seen: Glance) -> npt.NDArray[np.float32]:
    """A glance with its small copy as bytes, which the cache keeps as a row of numbers."""
    assert seen.thumb is not None
    names = (seen.mode.encode(), seen.format.encode())
    head = HEAD.pack(seen.width_px, seen.height_px, seen.several_frames, *names)
    return np.frombuffer(head + seen.thumb.tobytes(), np.float32)


def unpacked(row: npt.NDArray[np.float32], side_px: int) -> Glance:
    """What `packed` was given."""
    content = row.tobytes()
    width, height, frames, *names = HEAD.unpack_from(content)
    mode, name = (text.rstrip(b"\0").decode() for text in names)
    thumb = np.frombuffer(content, np.uint8, offset=HEAD.size).reshape(side_px, side_px, 3)
    return Glance(width, height, mode, name, bool(frames), thumb)


def packed_width(side_px: int) -> int:
    """Numbers in a row that `packed` makes."""
    return (HEAD.size + 3 * side_px * side_px) // 4


class Small:
    """Small copies in rows that `packed` made, uint8[N, side, side, 3], read when needed."""

    def __init__(self, rows: Rows, numbers: npt.NDArray[np.int64], side_px: int) -> None:
        self._pixels = View(rows, ((HEAD.size // 4, packed_width(side_px)),), numbers)
        self._side_px = side_px

    def __len__(self) -> int:
        return len(self._pixels)

    def __getitem__(self, index: Index, /) -> Pixels:
        return self._pixels[index].view(np.uint8).reshape(-1, self._side_px, self._side_px, 3)


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels from the file's header, None where it cannot be read."""
    try:
        found = glance(path)
    except ImageError:  # `decode` will tell
        return None
    return found.width_px, found.height_px


@contextlib.contextmanager
def threads(count: int | None) -> Iterator[ThreadPoolExecutor]:
    """Threads that leave undone what nobody waits for any more: Ctrl-C ends soon."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def stream(
    paths: Sequence[Path], side_px: int, batch_size: int, workers: int
) -> Iterator[tuple[list[int], Pixels, list[tuple[int, ImageError]]]]:
    """Decode files in threads, a few batches ahead of the consumer.

    Yields:
        Positions in `paths` that decoded, their pixels uint8[B, side, side, 3] in the same order,
        and the positions that failed with their faults. Order is that of `paths`.
    """

    def attempt(path: Path) -> Pixels | ImageError:
        try:
            return decode(path, side_px)
        except ImageError as error:
            return error

    with threads(workers) as pool:
        ahead: deque[tuple[int, Future[Pixels | ImageError]]] = deque()
        source = iter(enumerate(paths))
        for i, path in itertools.islice(source, 3 * batch_size):
            ahead.append((i, pool.submit(attempt, path)))
        while ahead:
            good, pixels, bad = [], [], []
            for _ in range(min(batch_size, len(ahead))):
                position, future = ahead.popleft()
                result = future.result()
                if isinstance(result, ImageError):
                    bad.append((position, result))
                else:
                    good.append(position)
                    pixels.append(result)
                for i, path in itertools.islice(source, 1):
                    ahead.append((i, pool.submit(attempt, path)))
            stacked = np.stack(pixels) if pixels else np.empty((0, side_px, side_px, 3), np.uint8)
            yield good, stacked, bad


def load(paths: Sequence[Path], side_px: int, workers: int) -> Pixels:
    """All images, uint8[N, side, side, 3], decoded once for training; very many lie in a file.

    Raises:
        ImageError: one of them cannot be decoded (it could when features were taken).
    """
    out = matrix.pictures(len(paths), side_px)
    for good, pixels, bad in stream(paths, side_px, 32, workers):
        if bad:
            raise bad[0][1]
        out[good] = pixels
    return out


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """The image, its pixels not read yet; whatever goes wrong with it becomes an `ImageError`."""
    try:
        with Image.open(path, formats=_formats()) as image:
            yield image
    except Exception as error:  # decoders raise all sorts of things on damaged files
        raise ImageError(str(path), _reason(error, path)) from error


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow knows; older ones have no AVIF."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _reason(error: Exception, path: Path) -> str:
    """Why an image cannot be read, in words that do not repeat its name."""
    if isinstance(error, UnidentifiedImageError):
        empty = path.is_file() and path.stat().st_size == 0
        return "it is empty" if empty else "not an image of a known format"
    if isinstance(error, Image.DecompressionBombError):
        return f"too many pixels (more than {2 * (Image.MAX_IMAGE_PIXELS or 0):,})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if "truncated" in str(error).lower():
        return "it is truncated"
    return first_line(error)


def _bounded(image: Image.Image) -> Image.Image:
    """The image, unless unpacking it would take too much memory."""
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise ValueError(f"too many pixels ({pixels:,}; at most {MOST_PIXELS:,} are unpacked)")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """The picture in RGB, turned as its EXIF tag asks."""
    rgb, turn = _to_rgb(_bounded(image)), _turn(image)
    return rgb if turn is None else rgb.transpose(turn)


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return TURNS.get(image.getexif().get(ORIENTATION, 1))
    except Exception:  # Pillow raises all sorts of things; damaged EXIF says nothing of the picture
        return None


def _several_frames(image: Image.Image) -> bool:
    """Is it an animation or a document with pages? Phones hide a depth map in a JPEG (MPO)."""
    if image.format == "MPO":
        return False
    try:
        return bool(getattr(image, "is_animated", False))
    except Exception:  # a damaged second frame is no concern: the first counts
        return False


def _square_box(width: int, height: int) -> tuple[float, float, float, float]:
    """The central part of a picture that becomes the square.

    Squeezing the whole picture distorts shapes; cropping a square cuts objects off. Half of each:
    the part kept has the square root of the picture's aspect ratio (docs/log.md, 2026-11-23:
    the best or second of seven ways on average over six sets).
    """
    middle = math.sqrt(width * height)  # the long side, once its excess is halved
    keep_w, keep_h = min(width, middle), min(height, middle)
    left, upper = (width - keep_w) / 2, (height - keep_h) / 2
    return left, upper, left + keep_w, upper + keep_h


def _to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode → RGB, without the traps of a bare `convert`."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        # convert() would clip everything above 255 to white
        return _scale_to_8_bit(image)
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # the colour under transparent pixels is arbitrary; people see them on a light page
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, WHITE), layer).convert("RGB")
    return image.convert("RGB")


def _scale_to_8_bit(image: Image.Image) -> Image.Image:
    """One channel of more than 8 bits, scaled by the least usual range that holds its values.

    Raises:
        ValueError: values of which nothing says what is black and what is white.
    """
    values = np.array(image, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("the image holds values that are not finite numbers")
    low, top = float(values.min(initial=0.0)), float(values.max(initial=0.0))
    floats = image.mode == "F"
    # in place, here and below: these are the largest arrays of all
    if floats and -1.0 <= low < 0.0 and top <= 1.0:
        values += 1.0
        values /= 2.0
        top = 1.0
    elif low < 0.0:
        raise ValueError(f"the image holds values from {low:g} to {top:g}: which of them is black?")
    full = next((f for f in FULL if top <= f and (floats or f > 1.0)), top)
    values *= 255.0 / full
    values += 0.5
    scaled = np.clip(values, 0, 255, out=values).astype(np.uint8)
    return Image.fromarray(scaled).convert("RGB")
