"""Promises of `pictures.mending`: metadata costs no picture, and what is cut off stays cut off."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, PngImagePlugin

from finetune.pictures import decoding, mending
from finetune.records.errors import ImageError

Chunks = list[tuple[bytes, bytes]]
LONG = "x" * 1_500_000


def picture(side: int = 96) -> Image.Image:
    """Noise: no byte of its file can be missed."""
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8))


def saved(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    buffer = io.BytesIO()
    (image or picture()).save(buffer, kind, **options)
    return buffer.getvalue()


def chunks(png: bytes) -> Chunks:
    found, at = [], 8
    while at < len(png):
        size, name = struct.unpack(">I4s", png[at : at + 8])
        found.append((name, png[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def joined(parts: Chunks, wrong: bytes = b"") -> bytes:
    """A PNG of these chunks, those called `wrong` with a wrong check sum."""
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d) ^ (n == wrong))
        for n, d in parts
    )


def decoded(path: Path, content: bytes) -> np.ndarray:
    path.write_bytes(content)
    return decoding.decode(path, 96)


@pytest.mark.parametrize("kind", ["zTXt", "iTXt", "iCCP", "many"])
def test_long_texts_and_profiles_cost_no_png(tmp_path: Path, kind: str) -> None:
    """Pillow refuses what unpacks to more than a megabyte; the pixels are the same without it."""
    info, options = PngImagePlugin.PngInfo(), {}
    if kind == "zTXt":
        info.add_text("prompt", LONG, zip=True)
    elif kind == "iTXt":
        info.add_itxt("prompt", LONG, zip=True)
    elif kind == "iCCP":
        options["icc_profile"] = bytes(1_500_000)
    else:
        for i in range(70):
            info.add_text(f"t{i}", "y" * 1_000_000, zip=True)
    content = saved("PNG", pnginfo=info, **options)
    with (
        pytest.raises(ValueError, match=r"too large|Too much"),
        Image.open(io.BytesIO(content)) as image,
    ):
        image.load()

    assert (decoded(tmp_path / "x.png", content) == np.asarray(picture())).all()


@pytest.mark.parametrize(
    ("name", "data"),
    [(b"gAMA", b""), (b"pHYs", b"\0"), (b"cHRM", b"\0\0"), (b"iCCP", b"x\0\0bad"), (b"eXIf", b"?")],
)
@pytest.mark.parametrize("wrong", [True, False])
def test_damaged_chunks_beside_the_pixels_cost_no_png(
    tmp_path: Path, name: bytes, data: bytes, wrong: bool
) -> None:
    """Too short ones and wrong check sums, before the pixels."""
    head, *rest = chunks(saved("PNG"))
    content = joined([head, (name, data), *rest], name if wrong else b"")

    assert (decoded(tmp_path / "x.png", content) == np.asarray(picture())).all()


@pytest.mark.parametrize("name", [b"IHDR", b"IDAT", b"IEND"])
def test_a_wrong_check_sum_around_whole_pixels_costs_no_png(tmp_path: Path, name: bytes) -> None:
    """The packed pixels have a sum of their own: where that one holds they are what was written."""
    content = joined(chunks(saved("PNG")), name)

    assert (decoded(tmp_path / "x.png", content) == np.asarray(picture())).all()


def test_damaged_pixels_are_a_fault(tmp_path: Path) -> None:
    """A changed byte within the packed pixels does not come back as a picture."""
    content = bytearray(saved("PNG"))
    content[len(content) // 2] ^= 0xFF
    (tmp_path / "x.png").write_bytes(bytes(content))

    with pytest.raises(ImageError):
        decoding.decode(tmp_path / "x.png", 96)


def test_the_way_up_is_kept_where_texts_are_left_out(tmp_path: Path) -> None:
    """EXIF still turns a PNG with a long text, and a JPEG that lacks its end."""
    exif, info = Image.Exif(), PngImagePlugin.PngInfo()
    exif[0x0112] = 3
    info.add_text("prompt", LONG, zip=True)
    upright = np.asarray(picture().transpose(Image.Transpose.ROTATE_180))

    png = decoded(tmp_path / "x.png", saved("PNG", pnginfo=info, exif=exif))
    whole = decoded(tmp_path / "w.jpg", saved("JPEG", quality=95, exif=exif))
    cut = decoded(tmp_path / "x.jpg", saved("JPEG", quality=95, exif=exif)[:-2])

    assert (png == upright).all()
    assert (cut == whole).all()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("cut", [1, 2, 5, 20])
def test_a_jpeg_may_lack_its_last_bytes(tmp_path: Path, cut: int, progressive: bool) -> None:
    """Cameras and downloads leave them out: all but the lower right corner is the same."""
    content = saved("JPEG", quality=90, progressive=progressive)

    whole = decoded(tmp_path / "w.jpg", content).astype(int)
    lacking = decoded(tmp_path / "x.jpg", content[:-cut]).astype(int)

    assert (np.abs(whole - lacking).max(axis=2) > 24).mean() < mending.MOST_MISSING


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "L", "PNG", "BMP"])
@pytest.mark.parametrize("kept", [0.3, 0.5, 0.7])
def test_what_is_cut_off_stays_unreadable(tmp_path: Path, kind: str, kept: float) -> None:
    """A third of the picture and more is missed."""
    image = picture().convert("L") if kind == "L" else picture()
    form = kind if kind in ("PNG", "BMP") else "JPEG"
    content = saved(form, image, progressive=kind == "progressive")
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(content[: int(kept * len(content))])

    with pytest.raises(ImageError, match="truncated"):
        decoding.decode(path, 96)
    with pytest.raises(ImageError, match="truncated"):
        decoding.glance(path, 32)


@pytest.mark.parametrize("lost", [4, 12, 16])
def test_a_png_may_lack_its_end(tmp_path: Path, lost: int) -> None:
    """Its last chunk and the check sum before it say nothing of the pixels."""
    content = saved("PNG")[:-lost]

    assert (decoded(tmp_path / "x.png", content) == np.asarray(picture())).all()


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\xff\xe1\0\x0eExif\0\0rubbi",
        b"\xff\xe2\0\x0eICC_PROFILE\0",
        b"\xff\xe2\0\x0bMPF\0rubbi",
        b"\xff\xed\0\x14Photoshop 3.0\08BIM",
        b"\xff\xee\0\x07Adobe",
        b"\xff\xe0\0\x06JFIF",
        b"\0\0\0",
        b"\xff\xff\xff",
    ],
)
@pytest.mark.parametrize("cut", [0, 2])
def test_rubbish_beside_the_pixels_costs_no_jpeg(tmp_path: Path, rubbish: bytes, cut: int) -> None:
    """Damaged segments and filling of other programs, whether the end is there or not."""
    content = saved("JPEG", quality=90)
    whole = decoded(tmp_path / "w.jpg", content)

    odd = decoded(tmp_path / "x.jpg", content[:2] + rubbish + content[2 : len(content) - cut])

    assert (odd == whole).all()


def test_no_switch_of_pillow_is_touched(tmp_path: Path) -> None:
    """Others in the process find its limits as they were."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS

    decoded(tmp_path / "x.jpg", saved("JPEG")[:-2])

    after = ImageFile.LOAD_TRUNCATED_IMAGES, PngImagePlugin.MAX_TEXT_CHUNK, Image.MAX_IMAGE_PIXELS
    assert after == before
    assert not ImageFile.LOAD_TRUNCATED_IMAGES
