"""Pictures of more than 8 bits a value: read to the last bit, and brought to 8 by a given scale."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from finetune.pictures import file_kinds
from finetune.pictures.opening import RefusedError, Source, UnreadError

Kind = Literal["16-bit", "32-bit", "float"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Span = tuple[float, float]
# What is white where no scale is known: 12 bits is what scanners and microscopes put into files of
# 16. The least that holds a picture's values: by a sixteenth no picture is mistaken.
FULL = (1.0, 255.0, 4095.0, 65535.0)
# Of a picture's values at either end: a hot pixel or a dead one says nothing of its range.
TAIL = 0.001
MOST_BYTES = 2**30  # a TIFF that Pillow does not read is unpacked with all its bands
# TIFF tags (TIFF 6.0, section 8; DNG 1.7)
_WIDTH, _HEIGHT, _BITS, _LIGHT, _SAMPLES, _PLANES = 256, 257, 258, 262, 277, 284
_EXTRA, _FORMAT, _DNG = 338, 339, 50706


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
        RefusedError: nothing says which of its bands are seen; it is too large; or tifffile, which
            reads it, is not installed.
        UnreadError: it is none.
    """
    about = _about(source)
    if not about.width * about.height:
        raise UnreadError
    if about.seen is None:
        raise RefusedError(
            f"{about}: nothing says which of them are to be seen; say it with --bands 3,2,1 (red, "
            "green, blue), or save one, or three as color"
        )
    pixels = about.width * about.height
    if pixels * about.bands * about.bits > 8 * MOST_BYTES:
        raise RefusedError(f"{about}: too many pixels ({pixels:,}) to be unpacked")
    try:
        tifffile = importlib.import_module("tifffile")
    except ImportError:
        raise RefusedError(
            f"{about}, which Pillow does not read: install tifffile "
            "(pip install 'finetune[tiff]'), or convert it"
        ) from None
    source.file.seek(0)
    with tifffile.TiffFile(source.file) as file:
        numbers = np.squeeze(file.pages[0].asarray())
    if about.planes and numbers.ndim == 3:
        numbers = np.moveaxis(numbers, 0, 2)
    if numbers.ndim == 3:
        numbers = numbers[..., 0] if about.seen == 1 else numbers[..., : about.seen]
    if numbers.dtype.kind == "f":
        return Wide(numbers.astype(np.float32), "float")
    return Wide(numbers, "16-bit" if numbers.dtype.itemsize <= 2 else "32-bit")


@dataclass(frozen=True)
class _About:
    """What a TIFF's first tags say of it."""

    width: int
    height: int
    bands: int
    bits: int
    form: int
    light: int
    planes: bool
    transparent: bool

    @property
    def seen(self) -> int | None:
        """How many of its bands make the picture, the first ones; None where nothing says which."""
        if self.light == 2 and self.bands >= 3:
            return 3
        return 1 if self.bands == 1 or (self.bands == 2 and self.transparent) else None

    def __str__(self) -> str:
        numbers = {1: "integers", 2: "integers below zero as well", 3: "floats"}
        bands = f"{self.bands} band{'s'[: self.bands > 1]}"
        return f"a TIFF of {bands} of {self.bits} bits ({numbers.get(self.form, 'other numbers')})"


def _about(source: Source) -> _About:
    from PIL.TiffImagePlugin import ImageFileDirectory_v2  # noqa: PLC0415 - few need it

    source.file.seek(0)
    tags = ImageFileDirectory_v2(source.file.read(8))
    source.file.seek(tags.next)
    tags.load(source.file)

    def first(tag: int, default: int) -> int:
        value = tags.get(tag, default)
        return int(value[0] if isinstance(value, tuple) else value)

    return _About(
        *(first(_WIDTH, 0), first(_HEIGHT, 0), first(_SAMPLES, 1), first(_BITS, 1)),
        *(first(_FORMAT, 1), first(_LIGHT, 1), first(_PLANES, 1) == 2, first(_EXTRA, 0) in (1, 2)),
    )


def refuse_misread(image: Image.Image, source: Source) -> None:
    """Stop where Pillow would read a TIFF as something that it is not.

    Raises:
        RefusedError: a camera's raw file, of which Pillow sees the thumbnail; values below zero in
            8 bits, which it takes for others.
        UnreadError: planes of 16 bits, which it takes for 8.
    """
    if image.format != "TIFF":
        return
    tags = dict(getattr(image, "tag_v2", {}))
    kind = file_kinds.of(source.head())
    if kind is not None:
        raise RefusedError(kind.reason)
    if _DNG in tags:
        raise RefusedError(
            "it is a camera's raw file (DNG): develop it to JPEG or to a 16-bit TIFF"
        )
    bits = max(tags.get(_BITS) or (1,))
    if tags.get(_PLANES) == 2 and tags.get(_SAMPLES, 1) > 1 and bits > 8:
        raise UnreadError("TIFF: planes of more than 8 bits")
    if bits == 8 and tags.get(_FORMAT, (1,))[0] == 2:
        raise RefusedError(f"{_about(source)}: save it as 16 bits or floats")


def to_8_bits(wide: Wide, span: Span | None = None) -> Image.Image:
    """The picture in RGB: what is at or below `span[0]` black, at or beyond `span[1]` white.

    Without a span, colour keeps its high byte, and grey is scaled by the least usual range that
    holds its values, as runs without a scale have it.

    Raises:
        RefusedError: values that are not numbers, or of which nothing says what is black.
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
