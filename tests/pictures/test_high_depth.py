"""Promises of `pictures.high_depth`: pictures of more than 8 bits are read to the last bit."""

from __future__ import annotations

import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from finetune.pictures import decoding, high_depth
from finetune.records.dataset import Scale
from finetune.records.errors import ImageError

Numbers = npt.NDArray[np.generic]
RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 65536, (40, 30, 3), np.uint16)


def png(numbers: Numbers, colour: int) -> bytes:
    """A PNG of 16 bits, [H, W, bands]; `colour` as the format counts it."""
    height, width = numbers.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in parts
    )


def tiff(
    numbers: Numbers,
    light: int = 2,
    extra: tuple[int, ...] = (),
    *,
    order: str = "<",
    zip_: bool = False,
) -> bytes:
    """A TIFF of one strip, [H, W, bands]."""
    height, width, bands = numbers.shape
    form = {"u": 1, "i": 2, "f": 3}[numbers.dtype.kind]
    data = numbers.astype(numbers.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if zip_ else data
    data += b"\0" * (len(data) % 2)
    tags: list[tuple[int, str, tuple[int, ...]]] = [
        (256, "I", (width,)),
        (257, "I", (height,)),
        (258, "H", (8 * numbers.dtype.itemsize,) * bands),
        (259, "H", (8 if zip_ else 1,)),
        (262, "H", (light,)),
        (273, "I", (8,)),
        (277, "H", (bands,)),
        (278, "I", (height,)),
        (279, "I", (len(data),)),
        *([(338, "H", extra)] if extra else []),
        (339, "H", (form,) * bands),
    ]
    start, entries, beyond = 8 + len(data), b"", b""
    end = start + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        value = struct.pack(f"{order}{len(values)}{kind}", *values)
        if len(value) > 4:
            value, beyond = struct.pack(f"{order}I", end + len(beyond)), beyond + value
        entries += struct.pack(f"{order}HHI", tag, 3 if kind == "H" else 4, len(values))
        entries += value.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", start)
    return head + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + beyond


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("zip_", [True, False])
@pytest.mark.parametrize("order", ["<", ">"])
def test_colour_in_a_16_bit_tiff_keeps_its_low_byte(tmp_path: Path, order: str, zip_: bool) -> None:
    """Of Pillow's reading alone the high bytes would be left."""
    picture = decoding.values(written(tmp_path / "x.tif", tiff(COLOUR, order=order, zip_=zip_)))

    assert picture is not None
    assert (picture.numbers == COLOUR).all()
    assert (picture.kind, picture.mode, picture.opaque) == ("16-bit", "RGB;16-bit", None)


def test_colour_in_a_16_bit_png_keeps_its_low_byte(tmp_path: Path) -> None:
    """With transparency and without; and grey with transparency."""
    alpha = RNG.integers(0, 65536, (40, 30, 1), np.uint16)
    plain = decoding.values(written(tmp_path / "x.png", png(COLOUR, 2)))
    clear = decoding.values(written(tmp_path / "a.png", png(np.dstack([COLOUR, alpha]), 6)))
    grey = decoding.values(written(tmp_path / "g.png", png(np.dstack([COLOUR[..., 0], alpha]), 4)))

    assert plain is not None
    assert clear is not None
    assert grey is not None
    assert clear.opaque is not None
    assert grey.opaque is not None
    assert (plain.numbers == COLOUR).all()
    assert (clear.numbers == COLOUR).all()
    assert (grey.numbers == COLOUR[..., 0]).all()
    assert (clear.opaque == alpha[..., 0] >> 8).all()
    assert (grey.opaque == alpha[..., 0] >> 8).all()


def test_pictures_of_8_bits_have_no_wide_values(tmp_path: Path) -> None:
    """They go the way they went."""
    Image.fromarray((COLOUR >> 8).astype(np.uint8)).save(tmp_path / "x.png")

    assert decoding.values(tmp_path / "x.png") is None


@pytest.mark.parametrize(
    ("numbers", "kind"),
    [
        (np.array([[[-1000], [3000]]], np.int16), "32-bit"),
        (np.array([[[0], [4_000_000_000]]], np.uint32), "32-bit"),
        (np.array([[[-1.5], [1.5]]], np.float32), "float"),
        (np.array([[[7], [60_000]]], np.uint16), "16-bit"),
    ],
)
def test_signed_and_very_large_values_are_what_they_are(
    tmp_path: Path, numbers: Numbers, kind: str
) -> None:
    """Below zero, and beyond what a signed number of 32 bits holds."""
    picture = decoding.values(written(tmp_path / "x.tif", tiff(numbers, 1)))

    assert picture is not None
    assert picture.kind == kind
    assert picture.numbers.tolist() == numbers[..., 0].tolist()


def test_in_a_picture_where_zero_is_white_zero_is_white(tmp_path: Path) -> None:
    """TIFF may say so of 16 bits as well."""
    path = written(tmp_path / "x.tif", tiff(np.zeros((8, 8, 1), np.uint16), 0))

    assert decoding.decode(path, 8, ()).min() == 255


def test_a_scale_says_what_is_black_and_white(tmp_path: Path) -> None:
    """Values at its ends and beyond; the middle is the middle; other kinds are not touched."""
    values = np.repeat([0, 1000, 2000, 3000, 9000], 8).astype(np.uint16)
    path = written(tmp_path / "x.tif", tiff(np.tile(values, (40, 1))[..., None], 1))
    scale = Scale("16-bit", 1000.0, 3000.0, 5, "")

    row = decoding.decode(path, 40, (scale,))[20, 4::8, 0].tolist()

    assert row == pytest.approx([0, 0, 128, 255, 255], abs=1)


@pytest.mark.parametrize(("value", "expected"), [(4095, 16), (65535, 255)])
def test_a_kind_unseen_in_training_has_the_range_of_its_type(
    tmp_path: Path, value: int, expected: int
) -> None:
    """Not its own: an answer would depend on the brightest pixel."""
    path = written(tmp_path / "x.tif", tiff(np.full((8, 8, 1), value, np.uint16), 1))

    assert decoding.decode(path, 8, ()).max() == expected


def test_nothing_is_made_of_values_that_are_no_numbers(tmp_path: Path) -> None:
    """The reason counts them, in a small copy too."""
    values = np.zeros((8, 8, 1), np.float32)
    values[0, 0], values[3, 3] = np.nan, np.inf
    path = written(tmp_path / "x.tif", tiff(values, 1))

    for look in (lambda: decoding.decode(path, 8, ()), lambda: decoding.glance(path, 32)):
        with pytest.raises(ImageError, match="2 of its 64 values are not finite numbers"):
            look()


def test_a_small_copy_shows_what_there_is_in_a_narrow_band(tmp_path: Path) -> None:
    """And below zero: before the split there is no scale, so it is stretched to its own range."""
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))[..., None]
    for i, values in enumerate(((29_000 + 100 * ramp).astype(np.uint16), (ramp - 0.5) * 4000)):
        content = tiff(values if i == 0 else values.astype(np.float32), 1)
        seen = decoding.glance(written(tmp_path / f"{i}.tif", content), 32)
        assert seen.thumb is not None
        assert seen.thumb.min() < 10
        assert seen.thumb.max() > 245


@pytest.mark.parametrize("bands", [2, 5])
def test_bands_that_nothing_is_known_of_are_the_reason(tmp_path: Path, bands: int) -> None:
    """Which of them is seen is not guessed."""
    values = np.zeros((8, 8, bands), np.uint16)
    path = written(tmp_path / "x.tif", tiff(values, 1, (0,) * (bands - 1)))

    with pytest.raises(ImageError, match=f"a TIFF of {bands} bands of 16 bits"):
        decoding.decode(path, 8)


def test_colour_in_floats_is_read_where_tifffile_is(tmp_path: Path) -> None:
    """To the last bit, and glanced at."""
    pytest.importorskip("tifffile")
    values = RNG.random((16, 16, 3)).astype(np.float32)
    path = written(tmp_path / "x.tif", tiff(values))

    picture = decoding.values(path)

    assert picture is not None
    assert (picture.numbers == values).all()
    assert decoding.glance(path).mode == "RGB;float"
    assert high_depth.kind_of("RGB;float") == "float"


def test_colour_in_floats_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without tifffile the reason says what the file is and what reads it."""
    monkeypatch.setitem(sys.modules, "tifffile", None)
    path = written(tmp_path / "x.tif", tiff(np.zeros((8, 8, 3), np.float32)))

    with pytest.raises(ImageError, match=r"3 bands of 32 bits \(floats\).* install tifffile"):
        decoding.decode(path, 8)
