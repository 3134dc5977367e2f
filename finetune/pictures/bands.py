"""Which bands of a TIFF with many are red, green and blue, one as gray, or all shared out."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.pictures.high_depth import MOST_BYTES, Wide
from finetune.pictures.opening import RefusedError, Source
from finetune.records.dataset import Finding, FindingKind
from finetune.records.errors import UsageError

Bands = tuple[int, ...]
ALL = "all"
# What `parsed` gives for all: the first convolution repeated over the bands and scaled, as is usual
# where a pretrained network gets more channels. No strategy tunes it but `scratch`, so weights that
# are repeated see only the mean of the bands that share them: every third is red, green or blue.
EVERY: Bands = (0,)
CHANNELS = 3
MOST_BAND = 10_000  # of a hyperspectral cube, and more
EXAMPLE = "--bands 4,3,2"
CHOSEN = FindingKind(
    "FT165",
    "note",
    "bands of TIFFs that are taken",
    "Nothing to do: the run keeps them, and takes the same of every picture from now on.",
)


def parsed(text: str | None) -> Bands | None:
    """The numbers in `--bands`, from 1; None where none are given.

    Raises:
        UsageError: they are not one band, or three, or all.
    """
    if text is None:
        return None
    if text.strip().lower() == ALL:
        return EVERY
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if len(found) not in (1, 3) or not all(1 <= band <= MOST_BAND for band in found):
        raise UsageError(
            f"--bands is '{text}'",
            hint=f"Give one band or three, counted from 1: {EXAMPLE} for red, green and blue; or "
            f"--bands {ALL}.",
        )
    return found


def told(bands: Bands) -> str:
    """What becomes of them, in a sentence."""
    if bands == EVERY:
        return (
            "all bands of each TIFF are taken: red is the mean of bands 1, 4, 7 …, green of 2, 5, "
            "8 …, blue of 3, 6, 9 …"
        )
    if len(bands) == 1:
        return f"band {bands[0]} of each TIFF is taken, as gray"
    return f"bands {', '.join(map(str, bands))} of each TIFF are taken as red, green and blue"


def findings(bands: Bands | None) -> tuple[Finding, ...]:
    """The same, as a run records it."""
    return () if bands is None else (CHOSEN.finding(told(bands), ()),)


def read(source: Source, bands: Bands) -> Image.Image | Wide:
    """These bands of a TIFF: an image where they have 8 bits, else all their bits.

    Bands may be samples of a pixel, planes, or pages of one size, as tifffile's first series has
    them.

    Raises:
        RefusedError: it is no TIFF or has no such band; it is too large; its values are no real
            numbers; or tifffile, which reads it, is not installed.
    """
    if not source.is_tiff():
        raise RefusedError(
            f"{_wanted(bands, 'a TIFF')}, and it is none: give TIFFs, or train without --bands"
        )
    try:
        tifffile = importlib.import_module("tifffile")
    except ImportError:
        raise RefusedError(
            f"{_wanted(bands, 'it')}: install tifffile, which reads it "
            "(pip install 'finetune[tiff]')"
        ) from None
    source.file.seek(0)
    with tifffile.TiffFile(source.file) as file:
        series = file.series[0]
        shape, axes = tuple(series.shape), str(series.axes)
        if not {"Y", "X"} <= set(axes):
            raise RefusedError(f"a TIFF of axes {axes}: nothing says which of them are the picture")
        height, width = shape[axes.index("Y")], shape[axes.index("X")]
        count = math.prod(shape) // max(1, height * width)
        if bands == EVERY and count < CHANNELS:
            raise RefusedError(
                f"all bands of it are wanted, and it has {count} band{'s'[: count != 1]}: --bands "
                f"{ALL} takes {CHANNELS} and more; give one, such as --bands 1"
            )
        if max(bands) > count or not height * width:
            has = f"{count} band{'s'[: count != 1]}"
            raise RefusedError(
                f"{_wanted(bands, 'it')}, and it has {has}: give bands from 1 to {count}"
            )
        if math.prod(shape) * series.dtype.itemsize > MOST_BYTES:
            raise RefusedError(f"too many pixels ({height * width:,} of {count} bands)")
        cube = np.moveaxis(series.asarray(), (axes.index("Y"), axes.index("X")), (-2, -1))
    return _picture(_chosen(cube.reshape(count, height, width), bands))


def _wanted(bands: Sequence[int], of: str) -> str:
    """What is asked of a file, in words."""
    if tuple(bands) == EVERY:
        return f"all bands of {of} are wanted"
    if len(bands) == 1:
        return f"band {bands[0]} of {of} is wanted"
    return f"bands {', '.join(map(str, bands))} of {of} are wanted"


def _chosen(cube: npt.NDArray[Any], bands: Bands) -> npt.NDArray[Any]:
    """[H, W] of one band, or [H, W, 3], of a cube [bands, H, W]."""
    if bands == EVERY:
        return np.stack([_mean(cube[first::CHANNELS]) for first in range(CHANNELS)], axis=-1)
    if len(bands) == 1:
        return np.ascontiguousarray(cube[bands[0] - 1])
    return np.stack([cube[band - 1] for band in bands], axis=-1)


def _mean(cube: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The mean [H, W] of bands [n, H, W] of real numbers, rounded where they are whole."""
    out: npt.NDArray[Any] = cube[0]
    if cube.dtype.kind in "uif" and len(cube) > 1:  # of others `_picture` says what is wrong
        mean = cube.mean(axis=0, dtype=np.float64)
        out = (np.rint(mean) if cube.dtype.kind in "ui" else mean).astype(cube.dtype)
    return out


def _picture(numbers: npt.NDArray[Any]) -> Image.Image | Wide:
    kind = numbers.dtype.kind
    if kind == "b":
        numbers, kind = numbers.astype(np.uint8) * np.uint8(255), "u"
    if kind not in "uif":
        raise RefusedError(f"its values are {numbers.dtype}: save real numbers")
    if numbers.dtype == np.uint8:
        return Image.fromarray(numbers)
    if numbers.dtype == np.uint16:
        return Wide(numbers, "16-bit")
    if kind == "f" or numbers.dtype.itemsize > 4:
        return Wide(numbers.astype(np.float32), "float")
    return Wide(numbers if numbers.dtype == np.uint32 else numbers.astype(np.int32), "32-bit")
