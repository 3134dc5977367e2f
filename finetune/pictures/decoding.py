"""Files → pixels: one decode path for training, evaluation and prediction; torch-free."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from finetune.pictures import bands as chosen_bands
from finetune.pictures import dicom, high_depth, opening, square
from finetune.pictures.bands import Bands
from finetune.pictures.high_depth import Wide
from finetune.pictures.opening import Content, File, Source
from finetune.records.backbone import HALF, Box
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError, cause
from finetune.storage import arrays

Pixels = npt.NDArray[np.uint8]
# Raised with any change that gives a picture other pixels, here or in what reads its file: what was
# kept of pictures is not used then.
PIXELS_VERSION = 1
Unpacked = tuple[Image.Image, Image.Image, tuple[float, float, float, float] | None]
S = TypeVar("S")
T = TypeVar("T")
_AHEAD = 96  # pictures that threads unpack before they are asked for
WHITE = (255, 255, 255, 255)
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


@dataclass(frozen=True)
class Glance:
    """What a quick look at an image tells: its header, and a small copy where one was asked for.

    `width_px` and `height_px` are those of the file, before EXIF turns it; `mode` and `format` are
    Pillow's names (and `RGB;16-bit`, which it has none for); `thumb` is the whole picture squeezed,
    uint8[side, side, 3].
    """

    width_px: int
    height_px: int
    mode: str
    format: str
    several_frames: bool
    thumb: Pixels | None


def decode(
    path: File, side_px: int, scales: Sequence[Scale] | None = None, box: Box = HALF
) -> Pixels:
    """Read one image as the network sees it: uint8[side_px, side_px, 3], RGB.

    EXIF rotation is applied, transparency is laid on white, of several frames the first is taken.
    What has more than 8 bits a value is brought to them by the scale of its kind.

    Args:
        path: The file.
        side_px: Side of the square.
        scales: From the training images, as `scales.decide` has them; None where there are none,
            as in runs of older versions: each picture is then scaled by what it holds.
        box: How a picture that is not square becomes one.

    Raises:
        ImageError: the file cannot be decoded; the message names it.
    """
    return decode_sizes(path, (side_px,), scales, box)[0]


def decode_sizes(
    path: File,
    sides_px: Sequence[int],
    scales: Sequence[Scale] | None = None,
    box: Box = HALF,
) -> list[Pixels]:
    """The same image as `decode` has it at each of several sides, unpacked once where it can be.

    A JPEG is unpacked again where a side allows another reduction: the pixels would be others.
    """

    def work(source: Source) -> list[Pixels]:
        unpacked, out = None, []
        for side_px in sides_px:
            # JPEG can be decoded at 1/2, 1/4, 1/8; twice the side keeps the resize exact enough
            unpacked = unpack(
                source, 2 * side_px, lambda wide: span_of(wide, scales), unpacked, box.bands
            )
            out.append(_square(unpacked, side_px, box))
        return out

    return opening.read(path, work)


def square_of(image: Image.Image, side_px: int, box: Box = HALF) -> Pixels:
    """The same of an image in memory, of 8 bits; its own EXIF tag turns it."""
    name = str(getattr(image, "filename", "") or "in memory")
    if image.mode.startswith(("I", "F")):
        raise ImageError(name, f"mode {image.mode} has more than 8 bits: give its file, or 8 bits")
    try:
        return _square((image, to_rgb(image), None), side_px, box)
    except OSError as error:  # it is opened, and not read yet
        raise ImageError(name, cause(error)) from error


def glance(path: Path | Content, side_px: int | None = None, bands: Bands | None = None) -> Glance:
    """Look at an image quickly: the header alone, or also a small copy of `side_px` pixels.

    The copy of a picture of more than 8 bits is stretched to its own range: no scale is known
    before the split, and near duplicates are compared without regard to brightness and contrast.

    Raises:
        ImageError: the file cannot be opened or, where a copy is asked for, not decoded.
    """

    def work(source: Source) -> Glance:
        image = begun(source, bands)
        if isinstance(image, Wide):
            height, width = image.numbers.shape[:2]
            mode, frames = image.mode, False
        else:
            (width, height), mode = image.size, high_depth.mode_of(image)
            frames = _several_frames(image)
        name = getattr(image, "format", None) or ("DICOM" if source.is_dicom() else "TIFF")
        thumb = None if side_px is None else _thumb(source, side_px, bands)
        return Glance(width, height, mode, name, frames, thumb)

    return opening.read(path, work)


def values(path: Path, bands: Bands | None = None) -> Wide | None:
    """All bits of a picture that has more than 8 a value; None of any other.

    Raises:
        ImageError: the file cannot be decoded.
    """

    def work(source: Source) -> Wide | None:
        image = begun(source, bands)
        if isinstance(image, Wide):
            return image
        if not isinstance(image, ImageFile.ImageFile):
            return None
        with opening.bounded(image, image.width * image.height):
            return high_depth.values(source, image)

    return opening.read(path, work)


def hidden(path: Path) -> bool:
    """Is a picture that is blank on white so only because it is transparent?

    Then its colours, or how far they cover, differ from pixel to pixel. Of one that cannot be read
    that is not known.
    """

    def work(source: Source) -> bool:
        image = begun(source)
        if isinstance(image, Wide):
            return False
        if "A" not in image.getbands() and "transparency" not in image.info:
            return False
        with opening.bounded(image, image.width * image.height):
            layer = np.asarray(image.convert("RGBA")).reshape(-1, 4)
        covered = layer[:, 3]
        return bool(
            covered.min() < covered.max() or (covered.max() < 255 and (layer != layer[0]).any())
        )

    try:
        return opening.read(path, work)
    except ImageError:
        return False


def size_of(path: Path, bands: Bands | None = None) -> tuple[int, int] | None:
    """Width and height in pixels from the file's header, None where it cannot be read."""
    try:
        found = glance(path, bands=bands)
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


def in_order(
    items: Iterable[S], work: Callable[[S], T], ahead: int, workers: int | None
) -> Generator[T]:
    """What comes of each item, in their order; threads work at most so many items ahead."""
    with threads(workers) as pool:
        source = iter(items)
        waiting = deque(pool.submit(work, item) for item in itertools.islice(source, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting += (pool.submit(work, item) for item in itertools.islice(source, 1))


def stream(
    paths: Sequence[Path],
    side_px: int,
    batch_size: int,
    workers: int,
    scales: Sequence[Scale] | None = None,
    box: Box = HALF,
) -> Iterator[tuple[list[int], Pixels, list[tuple[int, ImageError]]]]:
    """Decode files in threads, a few batches ahead of the consumer.

    Yields:
        Positions in `paths` that decoded, their pixels uint8[B, side, side, 3] in the same order,
        and the positions that failed with their faults. Order is that of `paths`.
    """

    def attempt(path: Path) -> Pixels | ImageError:
        try:
            return decode(path, side_px, scales, box)
        except ImageError as error:
            return error

    with contextlib.closing(in_order(paths, attempt, 3 * batch_size, workers)) as results:
        numbered = enumerate(results)
        while some := list(itertools.islice(numbered, batch_size)):
            bad = [(i, found) for i, found in some if isinstance(found, ImageError)]
            good = [(i, found) for i, found in some if not isinstance(found, ImageError)]
            blank = np.empty((0, side_px, side_px, 3), np.uint8)
            yield [i for i, _ in good], np.stack([p for _, p in good]) if good else blank, bad


def load(
    paths: Sequence[Path],
    sides_px: Sequence[int],
    workers: int,
    scales: Sequence[Scale] | None = None,
    box: Box = HALF,
) -> list[Pixels]:
    """All images at each side, uint8[N, side, side, 3], for training; very many lie in a file.

    Raises:
        ImageError: one of them cannot be decoded (it could when features were taken).
    """
    out = [arrays.pictures(len(paths), side_px) for side_px in sides_px]

    def decoded(path: Path) -> list[Pixels]:
        return decode_sizes(path, sides_px, scales, box)

    with contextlib.closing(in_order(paths, decoded, _AHEAD, workers)) as results:
        for i, found in enumerate(results):
            for pictures, pixels in zip(out, found, strict=True):
                pictures[i] = pixels
    return out


def begun(source: Source, bands: Bands | None = None) -> Image.Image | Wide:
    """The image, its pixels not read yet; or what was read of a file that Pillow does not know."""
    if bands is not None:
        return chosen_bands.read(source, bands)
    if source.is_dicom():
        return dicom.read(source)
    try:
        image = source.image()
        high_depth.refuse_misread(image, source)
    except UnidentifiedImageError:
        if source.is_tiff():
            return high_depth.tiff(source)
        raise
    return image


def unpack(
    source: Source,
    side_px: int,
    span: Callable[[Wide], high_depth.Span | None],
    before: Unpacked | None = None,
    bands: Bands | None = None,
) -> Unpacked:
    """The image, its pixels as RGB, and which of them count where a JPEG was reduced.

    Args:
        source: The file.
        side_px: A JPEG may be reduced while it is decoded, to twice that at least.
        span: What is black and white in a picture of more than 8 bits.
        before: What came of this for another side; given back where it would come once more.
        bands: Which of a TIFF are taken, as `Box` has it.
    """
    if before is not None and before[2] is None:
        return before  # what is not reduced is the same for each side
    image = begun(source, bands)
    if isinstance(image, Wide):
        rgb = high_depth.to_8_bits(image, span(image))
        return rgb, rgb, None
    if not isinstance(image, ImageFile.ImageFile):
        return image, to_rgb(image), None
    pixels = image.width * image.height
    drafted = image.draft("RGB", (side_px, side_px))
    if before is not None and getattr(before[0], "decoderconfig", None) == image.decoderconfig:
        source.images.pop()  # its pixels will not be read
        return before
    with opening.bounded(image, pixels):
        more = high_depth.values(source, image)
        rgb = to_rgb(image) if more is None else high_depth.to_8_bits(more, span(more))
    return image, rgb, None if drafted is None else drafted[1]


def _square(unpacked: Unpacked, side_px: int, box: Box) -> Pixels:
    rgb, turn = unpacked[1], turn_of(unpacked[0])
    return square.cut(rgb if turn is None else rgb.transpose(turn), side_px, box)


def _thumb(source: Source, side_px: int, bands: Bands | None) -> Pixels:
    # four times the side, and the exact box: a copy shifted by half a pixel is no copy
    image, rgb, box = unpack(source, 4 * side_px, high_depth.own, bands=bands)
    small, turn = rgb.resize((side_px, side_px), Image.Resampling.BILINEAR, box=box), turn_of(image)
    return np.asarray(small if turn is None else small.transpose(turn))


def span_of(picture: Wide, scales: Sequence[Scale] | None) -> high_depth.Span | None:
    """Which of its values are black and white; None where each picture is scaled by its own."""
    if scales is None:
        return None
    known = next((scale for scale in scales if scale.kind == picture.kind), None)
    if known is not None:
        return known.black, known.white
    return high_depth.unknown(picture)


def turn_of(image: Image.Image) -> Image.Transpose | None:
    """How its EXIF tag asks to turn it."""
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


def to_rgb(image: Image.Image) -> Image.Image:
    """Any Pillow mode of 8 bits → RGB, without the traps of a bare `convert`."""
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # the colour under transparent pixels is arbitrary; people see them on a light page
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, WHITE), layer).convert("RGB")
    return image.convert("RGB")
