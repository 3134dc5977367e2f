"""DICOM: the first frame as a person is meant to see it, by the window in the file.

Windows as in PS3.3 C.11.2.1.2 and C.11.2.1.3 of the standard; the first of several is taken.
"""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from finetune.pictures.high_depth import MOST_BYTES, Wide
from finetune.pictures.opening import RefusedError, Source
from finetune.records.errors import first_line

INSTALL = "install pydicom, which reads it (pip install 'finetune[dicom]'), or convert it to PNG"


def read(source: Source) -> Image.Image | Wide:
    """The first frame: of 8 bits where the file has a window or color, else with all its bits.

    Stored values become what they stand for (modality LUT, rescale) and these grey by the window
    (VOI LUT, or center and width). MONOCHROME1 is turned, so that bone is white in all. Without a
    window, values are scaled as those of other pictures of more than 8 bits.

    Raises:
        RefusedError: pydicom is not installed, or cannot unpack it; it is too large, or no picture.
    """
    try:
        pydicom = importlib.import_module("pydicom")
        pixels = importlib.import_module("pydicom.pixels")
    except ImportError:
        raise RefusedError(f"it is a DICOM file: {INSTALL}") from None
    source.file.seek(0)
    try:
        about = pydicom.dcmread(source.file)
        _require_size(about)
        stored = pixels.pixel_array(about, index=0)  # color comes as RGB
        light = str(about.get("PhotometricInterpretation", "MONOCHROME2"))
        if light == "PALETTE COLOR":
            stored = pixels.apply_color_lut(stored, about)
            stored = stored if stored.dtype == np.uint8 else (stored >> 8).astype(np.uint8)
        if stored.ndim == 3:
            return _color(stored)
        meant = pixels.apply_modality_lut(stored, about)
        return _grey(meant, _windowed(meant, about, pixels), dark=light == "MONOCHROME1")
    except RefusedError:
        raise
    except Exception as error:  # pydicom and its decoders raise all sorts of things
        raise RefusedError(
            f"it is a DICOM file that pydicom does not unpack ({first_line(error)}): install "
            "pylibjpeg with its decoders, or convert it to PNG"
        ) from error


def _require_size(about: Any) -> None:
    size = int(about.get("Rows", 0)) * int(about.get("Columns", 0))
    size *= int(about.get("SamplesPerPixel", 1)) * max(1, int(about.get("BitsAllocated", 8)) // 8)
    if not size:
        raise RefusedError("it is a DICOM file without a picture: leave it out")
    if size > MOST_BYTES:
        raise RefusedError(f"it is a DICOM file with too many pixels ({size:,} bytes a frame)")


def _color(stored: npt.NDArray[Any]) -> Image.Image | Wide:
    if stored.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(stored[..., :3]))
    return Wide(stored[..., :3].astype(np.uint16), "16-bit")


def _windowed(meant: npt.NDArray[Any], about: Any, pixels: Any) -> npt.NDArray[np.float64] | None:
    """Grey from 0 to 1 by the window of the file, float64[H, W]; None where it has none."""
    if "VOILUTSequence" in about:
        bits = int(about.VOILUTSequence[0].LUTDescriptor[2])
        out: npt.NDArray[np.float64] = pixels.apply_voi(meant, about) / float(2**bits - 1)
        return out
    center, width = (_first(about.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    values = meant.astype(np.float64)
    how = str(about.get("VOILUTFunction", "LINEAR"))
    if how == "SIGMOID":
        return 1.0 / (1.0 + np.exp(np.clip(-4.0 * (values - center) / max(width, 1e-9), -700, 700)))
    if how == "LINEAR_EXACT":
        return (values - center) / max(width, 1e-9) + 0.5
    # of a width of 1 nothing is between black and white
    return (values - (center - 0.5)) / max(width - 1.0, 1e-9) + 0.5


def _first(value: Any) -> float | None:
    """The first of several values, as a number; None where there is none."""
    if value is None or value == "":
        return None
    several = not isinstance(value, str | int | float) and hasattr(value, "__len__")
    return float(value[0] if several else value)


def _grey(
    meant: npt.NDArray[Any], shown: npt.NDArray[np.float64] | None, *, dark: bool
) -> Image.Image | Wide:
    """Grey of 8 bits, or all the bits; `dark` says that small values are bright in the file."""
    if shown is not None:
        grey = np.floor(255.0 * np.clip(shown, 0.0, 1.0) + 0.5).astype(np.uint8)
        return Image.fromarray(255 - grey if dark else grey)
    if meant.dtype == np.uint8:
        return Image.fromarray(255 - meant if dark else meant)
    if meant.dtype == np.uint16:
        return Wide(65535 - meant if dark else meant, "16-bit")
    values = meant.astype(np.float32)
    return Wide(-values if dark else values, "float")
