"""Pictures of more than 8 bits a value: read to the last bit, and brought to 8 by a given scale."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from finetune.opening import RefusedError, Source, UnreadError

Kind = Literal["16-bit", "32-bit", "float"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Span = tuple[float, float]

# What is white where no scale is known: 12 bits is what scanners and microscopes put into files of
# 16. The least that holds a picture's values: by a sixteenth no picture is mistaken.
FULL = (1.0, 255.0, 4095.0, 65535.0)
# Of a picture's values at either end: a hot pixel or a dead one says nothing of its range.
TAIL = 0.001
_BITS, _LIGHT, _SAMPLES, _PLANES, _EXTRA, _FORMAT, _DNG = 258, 262, 277, 284, 338, 339, 50706
_NUMBERS = {1: "whole numbers", 2: "whole numbers", 3: "float"}


@dataclass(frozen=True)
class Wide:
    """The values of a picture: [H, W] grey or [H, W, 3] colour, and what shows through where.

    `opaque` is uint8[H, W], 0 where only the page is seen; None where nothing is transparent.
    """

    numbers: npt.NDArray[Any]
    kind: Kind
    opaque: npt.NDArray[np.uint8] | None = None

    @property
    def mode(self) -> str:
        """As Pillow would call it."""
        grey = {"16-bit": "I;16", "32-bit": "I", "float": "F"}
        return grey[self.kind] if self.numbers.ndim == 2 else f"RGB;{self.kind}"


def kind_of(mode: str) -> Kind | None:
    """The kind of a picture by its mode, as `Wide.mode` has it; None of 8 bits."""
    if mode.startswith("RGB;"):
        return next((kind for kind in KINDS if mode.endswith(kind)), None)
    if mode.startswith("I;16"):
        return "16-bit"
    return {"I": "32-bit", "F": "float"}.get(mode)  # type: ignore[return-value]


def mode_of(image: Image.Image) -> str:
    """Pillow's name of the mode; with the bits of colour in 16, which Pillow calls `RGB`."""
    return "RGB;16-bit" if _colour(image) else image.mode


def values(source: Source, image: ImageFile.ImageFile) -> Wide | None:
    """The picture with all its bits; None where 8 hold it."""
    raw = _colour(image)
    if raw:
        return _from_bytes(source, image, raw)
    kind = kind_of(image.mode)
    if kind is None:
        return None
    tags = dict(getattr(image, "tag_v2", {}))
    key = image.info.get("transparency")
    numbers = np.asarray(image)
    if kind == "32-bit" and tags.get(_BITS) == (32,) and tags.get(_FORMAT, (1,)) == (1,):
        numbers = numbers.view(np.uint32)  # Pillow's are signed: half of these would be negative
    opaque = np.where(numbers == key, 0, 255).astype(np.uint8) if isinstance(key, int) else None
    if tags.get(_LIGHT) == 0 and kind == "16-bit":
        numbers = 65535 - numbers  # 0 is white, which Pillow heeds up to 8 bits
    return Wide(numbers, kind, opaque)


def tiff(source: Source) -> Wide:
    """A TIFF of a kind that Pillow does not read: colour in float, double and half precision.

    Raises:
        RefusedError: nothing says which bands are red, green and blue; or tifffile, which reads
            it, is not installed.
    """
    source.file.seek(0)
    try:
        tifffile = importlib.import_module("tifffile")
    except ImportError:
        raise RefusedError(
            f"{_described(source)}, which Pillow does not read: install tifffile "
            "(pip install 'finetune[tiff]'), or convert it"
        ) from None
    with tifffile.TiffFile(source.file) as file:
        page = file.pages[0]
        numbers = page.asarray()
        colour = getattr(page.photometric, "name", "") == "RGB"
        alpha = [int(e) for e in page.extrasamples]
        if int(page.planarconfig or 1) == 2 and numbers.ndim == 3:
            numbers = np.moveaxis(numbers, 0, 2)
        what = _words(page.samplesperpixel, page.bitspersample, int(page.sampleformat or 1))
    return _banded(np.squeeze(numbers), colour, alpha, what)


def _banded(numbers: npt.NDArray[Any], colour: bool, alpha: list[int], what: str) -> Wide:
    """The bands that are seen."""
    bands = 1 if numbers.ndim == 2 else numbers.shape[2] if numbers.ndim == 3 else 0
    seen = 3 if colour else 1
    if bands < seen or (bands > seen and not (colour or alpha[:1] in ([1], [2]))):
        raise RefusedError(
            f"{what}: nothing says which of them are to be seen; save one, or three as colour"
        )
    if bands > 1:
        numbers = numbers[..., 0] if seen == 1 else numbers[..., :3]
    if numbers.dtype.kind == "f":
        return Wide(numbers.astype(np.float32), "float")
    return Wide(numbers, "16-bit" if numbers.dtype.itemsize <= 2 else "32-bit")


def refuse_misread(image: Image.Image, source: Source) -> None:
    """Stop where Pillow would read a TIFF as something that it is not.

    Raises:
        RefusedError: a camera's raw file, of which Pillow sees the thumbnail.
        UnreadError: planes of 16 bits, which it takes for 8.
    """
    if image.format != "TIFF":
        return
    tags = dict(getattr(image, "tag_v2", {}))
    if _DNG in tags:
        raise RefusedError(
            "it is a camera's raw file (DNG): develop it to JPEG or to a 16-bit TIFF"
        )
    bits = max(tags.get(_BITS) or (1,))
    if tags.get(_PLANES) == 2 and tags.get(_SAMPLES, 1) > 1 and bits > 8:
        raise UnreadError("TIFF: planes of more than 8 bits")
    if bits == 8 and tags.get(_FORMAT, (1,))[0] == 2:
        raise RefusedError(f"{_described(source)} below zero as well: save it as 16 bits or float")


def to_8_bits(wide: Wide, span: Span | None = None) -> Image.Image:
    """The picture in RGB: what is at or below `span[0]` black, at or beyond `span[1]` white.

    Without a span, colour keeps its high byte, and grey is scaled by the least usual range that
    holds its values, as runs without a scale have it.

    Raises:
        RefusedError: values that are no numbers, or of which nothing says what is black.
    """
    if span is None and wide.kind == "16-bit" and wide.numbers.ndim == 3:
        scaled = (wide.numbers >> 8).astype(np.uint8)
    else:
        low, top = usual(wide) if span is None else span
        # in place: these are the largest arrays of all
        work = _finite(wide).astype(np.float64)
        work -= low
        work *= 255.0 / max(top - low, 1e-30)
        work += 0.5
        scaled = np.clip(work, 0, 255, out=work).astype(np.uint8)
    image = Image.fromarray(scaled).convert("RGB")
    if wide.opaque is None:
        return image
    page = Image.new("RGB", image.size, (255, 255, 255))
    return Image.composite(image, page, Image.fromarray(wide.opaque))


def own(wide: Wide) -> Span:
    """Between which values nearly all of a picture's own lie: where no scale is known yet."""
    some = thinned(_finite(wide), 2**16).astype(np.float64)
    low, top = np.quantile(some, (TAIL, 1 - TAIL)).tolist()
    if top <= low:
        low, top = float(some.min()), float(some.max())
    # one colour is one colour, however it is stretched
    return (low, top) if top > low else (0.0, max(2 * top, 1.0))


def unknown(wide: Wide) -> Span:
    """The scale of a kind of which the training has seen none: what its type holds.

    Of 32 bits and floats no picture fills the type: for them the least usual range that holds the
    picture's values, but for a thousandth of them.
    """
    return (0.0, 65535.0) if wide.kind == "16-bit" else usual(wide, TAIL)


def usual(wide: Wide, tail: float = 0.0) -> Span:
    """The least usual range that holds a picture's values, but for a share at its upper end.

    Raises:
        RefusedError: values of which nothing says what is black and what is white.
    """
    numbers = _finite(wide)
    low, top = float(numbers.min(initial=0.0)), float(numbers.max(initial=0.0))
    if tail:
        top = max(float(np.quantile(thinned(numbers, 2**18), 1 - tail)), 0.0)
    floats = wide.kind == "float"
    if floats and -1.0 <= low < 0.0 and top <= 1.0:
        return -1.0, 1.0
    if low < 0.0:
        raise RefusedError(
            f"the image holds values from {low:g} to {top:g}: which of them is black?"
        )
    return 0.0, next((f for f in FULL if top <= f and (floats or f > 1.0)), top)


def thinned(numbers: npt.NDArray[Any], most: int) -> npt.NDArray[Any]:
    """At most about so many of a picture's values, evenly from all of it."""
    step = max(1, int(np.ceil((numbers.size / most) ** 0.5)))
    return numbers[::step, ::step].reshape(-1)


def _finite(wide: Wide) -> npt.NDArray[Any]:
    numbers = wide.numbers
    if wide.kind == "float":
        wrong = numbers.size - int(np.isfinite(numbers).sum())
        if wrong:
            raise RefusedError(
                f"{wrong:,} of its {numbers.size:,} values are not finite numbers (NaN or "
                "infinite): put numbers in their place"
            )
    return numbers


def _colour(image: Image.Image) -> str:
    """The raw mode of colour in 16 bits, and of grey with transparency; empty for all others."""
    tiles = getattr(image, "tile", None)
    if image.mode not in ("RGB", "RGBA") or not tiles:
        return ""
    args = tiles[0][3]
    raw = args if isinstance(args, str) else args[0] if args else ""
    return raw if str(raw).startswith(("RGB;16", "RGBX;16", "RGBA;16", "LA;16B")) else ""


def _from_bytes(source: Source, image: ImageFile.ImageFile, raw: str) -> Wide:
    """Colour in 16 bits: Pillow keeps the high byte of each value, so the low ones are read too."""
    form, _, order = raw.partition(";16")
    if form == "LA":  # as if it had four values of 8 bits
        _read_as(image, "RGBA")
        parts = np.asarray(image).astype(np.uint16)
        return Wide(parts[..., 0] << 8 | parts[..., 1], "16-bit", parts[..., 2].astype(np.uint8))
    little = order == "L" or (order == "N" and sys.byteorder == "little")
    other = source.image()
    _read_as(other, f"{form};16{'B' if little else 'L'}")
    high, low = np.asarray(image), np.asarray(other)
    numbers = high[..., :3].astype(np.uint16) << 8 | low[..., :3]
    key = image.info.get("transparency")
    opaque = high[..., 3] if high.shape[2] == 4 else None
    if opaque is None and isinstance(key, tuple):
        opaque = np.where((numbers == key).all(axis=2), 0, 255).astype(np.uint8)
    return Wide(numbers, "16-bit", opaque)


def _read_as(image: ImageFile.ImageFile, raw: str) -> None:
    """Have an image that is not read yet unpacked by another of Pillow's unpackers."""
    tiles: list[Any] = list(image.tile)
    image.tile = [
        tile._replace(args=raw if isinstance(tile.args, str) else (raw, *tile.args[1:]))
        for tile in tiles
    ]


def _described(source: Source) -> str:
    """What a TIFF's first tags say of it."""
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # noqa: PLC0415 - few need it

    source.file.seek(0)
    tags = ImageFileDirectory_v2(source.file.read(8))
    source.file.seek(tags.next)
    tags.load(source.file)
    found = {tag: tags.get(tag) for tag in (_SAMPLES, _BITS, _FORMAT)}
    bits = found[_BITS] or (1,)
    form = found[_FORMAT] or (1,)
    return _words(int(found[_SAMPLES] or 1), int(bits[0]), int(form[0]))


def _words(bands: int, bits: int | tuple[int, ...], form: int) -> str:
    each = bits if isinstance(bits, int) else bits[0]
    return f"a TIFF of {bands} band{'s'[: bands > 1]} of {each} bits, {_NUMBERS.get(form, 'other')}"
