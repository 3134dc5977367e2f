"""Promises of `finetune.pictures.decoding`: what a file looks like to the network."""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from conftest import ImageFolder
from PIL import Image, features
from sklearn.datasets import load_sample_image

from finetune.pictures import decoding, opening
from finetune.records.errors import ImageError

Array = npt.NDArray[np.uint8]


def quadrants(height: int = 32, width: int = 48) -> Array:
    """A picture that no flip or rotation leaves as it is."""
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, : width // 2] = (250, 20, 20)
    picture[: height // 2, width // 2 :] = (20, 250, 20)
    picture[height // 2 :, : width // 2] = (20, 20, 250)
    picture[height // 2 :, width // 2 :] = (240, 240, 10)
    return picture


def saved(image: Image.Image, path: Path, **options: object) -> Path:
    image.save(path, **options)
    return path


def colour_of(path: Path) -> list[int]:
    """The one colour of a plain picture, as decoded."""
    pixels = decoding.decode(path, 8)
    assert pixels.min((0, 1)).tolist() == pixels.max((0, 1)).tolist()
    return [int(v) for v in pixels[0, 0]]


# --- decode ---------------------------------------------------------------------------------------

# How the picture `p` must lie in the file so that the EXIF orientation turns it upright (the words
# of the EXIF standard: where row 0 and column 0 of the file are in the scene).
STORED: dict[int, Callable[[Array], Array]] = {
    1: lambda p: p,  # top, left
    2: lambda p: p[:, ::-1],  # top, right
    3: lambda p: p[::-1, ::-1],  # bottom, right
    4: lambda p: p[::-1],  # bottom, left
    5: lambda p: p.swapaxes(0, 1),  # left, top
    6: lambda p: p[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda p: p[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda p: p[::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("orientation", STORED)
def test_decode_turns_pictures_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    """All eight EXIF orientations of a scene decode to the same upright picture."""
    scene = quadrants()
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = np.ascontiguousarray(STORED[orientation](scene))
    path = saved(Image.fromarray(lying), tmp_path / f"x{suffix}", exif=exif, quality=100)
    upright = saved(Image.fromarray(scene), tmp_path / "upright.png")

    pixels = decoding.decode(path, 16)

    # JPEG's halved colour resolution blurs where the quadrants meet
    gap = np.abs(pixels.astype(int) - decoding.decode(upright, 16)).mean()
    assert gap < (0.01 if suffix == ".png" else 8)


def test_decode_gives_a_square_of_the_side_asked_for(tmp_path: Path) -> None:
    """The result is uint8[side, side, 3], whatever the file's size."""
    path = saved(Image.fromarray(quadrants()), tmp_path / "x.png")

    pixels = decoding.decode(path, 20)

    assert pixels.shape == (20, 20, 3)
    assert pixels.dtype == np.uint8


def test_decode_squeezes_half_and_crops_half(tmp_path: Path) -> None:
    """Of a picture four times as wide as high the middle half is kept, squeezed to a square."""
    picture = np.full((100, 400, 3), 255, np.uint8)
    picture[:, 100:150] = (200, 0, 0)
    picture[:, 150:250] = (0, 200, 0)
    picture[:, 250:300] = (0, 0, 200)
    wide = saved(Image.fromarray(picture), tmp_path / "wide.png")
    high = saved(Image.fromarray(picture.swapaxes(0, 1)), tmp_path / "high.png")

    across, down = decoding.decode(wide, 40), decoding.decode(high, 40)

    # a bicubic kernel reaches two pixels across an edge
    assert (across[:, 2:8] == (200, 0, 0)).all()
    assert (across[:, 12:28] == (0, 200, 0)).all()
    assert (across[:, 32:38] == (0, 0, 200)).all()
    assert (down == across.swapaxes(0, 1)).all()


@pytest.mark.parametrize("size", [(1, 500), (500, 1), (1, 1), (2, 3000), (500, 499)])
def test_decode_takes_any_aspect_ratio(tmp_path: Path, size: tuple[int, int]) -> None:
    """A line or a single pixel is a picture too."""
    path = saved(Image.new("RGB", size, (10, 120, 230)), tmp_path / "x.png")

    assert colour_of(path) == [10, 120, 230]


def test_decode_lays_transparent_pixels_on_white(tmp_path: Path) -> None:
    """The colour under transparent pixels is arbitrary: what shows is a white page."""
    clear = saved(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), tmp_path / "rgba.png")
    half = saved(Image.new("RGBA", (9, 9), (255, 0, 0, 128)), tmp_path / "half.png")
    grey = saved(Image.new("LA", (9, 9), (0, 0)), tmp_path / "la.png")
    webp = saved(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), tmp_path / "x.webp", lossless=True)

    assert colour_of(clear) == [255, 255, 255]
    assert colour_of(half) == [255, 127, 127]
    assert colour_of(grey) == [255, 255, 255]
    assert colour_of(webp) == [255, 255, 255]


@pytest.mark.parametrize(("mode", "key"), [("P", 3), ("L", 3), ("RGB", (1, 2, 3)), ("1", 0)])
def test_decode_lays_a_transparent_colour_on_white(
    tmp_path: Path, mode: str, key: int | tuple[int, int, int]
) -> None:
    """One colour of a palette, grey or RGB picture may be declared transparent."""
    image = Image.new(mode, (9, 9), key)
    if mode == "P":
        image.putpalette([0, 0, 0] * 256)
    path = saved(image, tmp_path / "x.png", transparency=key)

    assert colour_of(path) == [255, 255, 255]


def test_decode_reads_palettes(tmp_path: Path) -> None:
    """An indexed picture decodes to its palette's colours, not to its indices."""
    image = Image.new("P", (9, 9), 2)
    image.putpalette([0, 0, 0, 1, 1, 1, 200, 100, 50])

    for suffix in (".png", ".gif", ".bmp", ".tif"):
        assert colour_of(saved(image, tmp_path / f"x{suffix}")) == [200, 100, 50]


def test_decode_reads_cmyk(tmp_path: Path) -> None:
    """A JPEG for print decodes to the colours it shows, not to their negative."""
    path = saved(Image.new("CMYK", (32, 32), (0, 255, 255, 0)), tmp_path / "x.jpg", quality=100)

    assert colour_of(path) == pytest.approx([255, 0, 0], abs=4)


def test_decode_reads_grey_and_bilevel(tmp_path: Path) -> None:
    """Grey becomes three equal channels; the ones of a 1-bit one are white, not nearly black."""
    grey = saved(Image.new("L", (9, 9), 100), tmp_path / "grey.png")
    white = saved(Image.new("1", (9, 9), 1), tmp_path / "white.png")
    black = saved(Image.new("1", (9, 9), 0), tmp_path / "black.tif")

    assert colour_of(grey) == [100, 100, 100]
    assert colour_of(white) == [255, 255, 255]
    assert colour_of(black) == [0, 0, 0]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("value", "expected"), [(0, 0), (32768, 128), (65535, 255)])
def test_decode_scales_16_bits_to_8(tmp_path: Path, suffix: str, value: int, expected: int) -> None:
    """A mid-grey 16-bit picture is mid-grey, not white."""
    image = Image.fromarray(np.full((9, 9), value, np.uint16))

    assert colour_of(saved(image, tmp_path / f"x{suffix}")) == [expected] * 3


def test_decode_reads_big_endian_16_bits(tmp_path: Path) -> None:
    """The order of the two bytes in the file does not matter."""
    image = Image.frombytes("I;16B", (9, 9), np.full((9, 9), 32768, ">u2").tobytes())

    assert colour_of(saved(image, tmp_path / "x.tif")) == [128] * 3


@pytest.mark.parametrize(
    ("kind", "top", "value", "expected"),
    [
        (np.int32, 65535, 32768, 128),  # 16 bits in 32, as microscopes write
        (np.int32, 255, 100, 100),
        (np.uint16, 4095, 2048, 128),  # 12 bits in 16, as scanners write
        (np.uint16, 255, 100, 100),
        (np.float32, 1.0, -1.0, 0),
        (np.float32, 4095.0, 2048.0, 128),
        (np.float32, 1.0, 0.5, 128),
        (np.float32, 255.0, 100.0, 100),
        (np.float32, 65535.0, 32768.0, 128),
    ],
)
def test_decode_scales_wide_numbers(
    tmp_path: Path, kind: type[np.generic], top: float, value: float, expected: int
) -> None:
    """Wide pictures are scaled by the least range that holds them: 1, 255, 4095 or 65535."""
    values = np.full((8, 16), value, kind)
    values[:, 8:] = top
    path = saved(Image.fromarray(values), tmp_path / "x.tif")

    pixels = decoding.decode(path, 16)

    assert pixels[8, 2].tolist() == pytest.approx([expected] * 3, abs=1)
    assert pixels[8, 13].tolist() == pytest.approx([255] * 3, abs=1)


def test_decode_refuses_values_that_are_not_finite(tmp_path: Path) -> None:
    """A float picture with NaN has no colours; the fault says so."""
    path = saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), tmp_path / "x.tif")

    with pytest.raises(ImageError, match="not finite"):
        decoding.decode(path, 8)


@pytest.mark.parametrize("suffix", [".gif", ".tif", ".png", ".webp"])
def test_decode_takes_the_first_frame(tmp_path: Path, suffix: str) -> None:
    """Of an animation or a document with pages the first counts."""
    first, second = (Image.new("RGB", (9, 9), c) for c in ((200, 30, 30), (0, 0, 255)))
    options = {"save_all": True, "append_images": [second, first]}
    if suffix == ".webp":
        options["lossless"] = True

    assert colour_of(saved(first, tmp_path / f"x{suffix}", **options)) == [200, 30, 30]


@pytest.mark.parametrize("suffix", [".webp", ".bmp", ".ppm", ".tiff", ".ico", ".jpg"])
def test_decode_reads_usual_formats(tmp_path: Path, suffix: str) -> None:
    """A plain picture has the same colour in every format."""
    path = saved(Image.new("RGB", (32, 32), (200, 100, 50)), tmp_path / f"x{suffix}", quality=100)

    assert colour_of(path) == pytest.approx([200, 100, 50], abs=3)


@pytest.mark.parametrize("side_px", [32, 64, 128])
def test_fast_jpeg_decoding_is_close_to_the_full_one(tmp_path: Path, side_px: int) -> None:
    """Decoding a large JPEG at a fraction of its size changes a photo by a grey level or two."""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    jpeg = saved(photo, tmp_path / "x.jpg", quality=95)
    with Image.open(jpeg) as full:
        lossless = saved(full.convert("RGB"), tmp_path / "x.png")

    fast, exact = decoding.decode(jpeg, side_px), decoding.decode(lossless, side_px)

    assert np.abs(fast.astype(int) - exact).mean() < 2


def broken(kind: str, path: Path) -> Path:
    """A file that claims to be a picture."""
    if kind == "missing":
        return path
    if kind == "folder":
        path.mkdir()
        return path
    Image.fromarray(quadrants()).save(path)
    whole = path.read_bytes()
    content = {"truncated": whole[: len(whole) // 2], "empty": b"", "text": b"not a picture\n"}
    path.write_bytes(content[kind])
    return path


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif", ".gif", ".bmp"])
@pytest.mark.parametrize("kind", ["truncated", "empty", "text", "folder", "missing"])
def test_unreadable_file_is_a_fault_naming_it(tmp_path: Path, kind: str, suffix: str) -> None:
    """A damaged or misnamed file raises ImageError with its path and a hint, nothing else."""
    path = broken(kind, tmp_path / f"damaged{suffix}")

    with pytest.raises(ImageError) as caught:
        decoding.decode(path, 16)

    assert str(path) in caught.value.message
    assert caught.value.hint


def test_odd_exif_does_not_cost_the_image(tmp_path: Path) -> None:
    """EXIF that Pillow cannot write back is no reason to refuse: the picture is turned by it."""
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "maker"
    raw = exif.tobytes()
    # the maker's name declared as one float (type 11) instead of six letters (type 2)
    edited = raw.replace(b"\x01\x0f\x00\x02\x00\x00\x00\x06", b"\x01\x0f\x00\x0b\x00\x00\x00\x01")
    assert edited != raw
    image = Image.new("RGB", (32, 32), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 32, 16))  # dark above, which orientation 6 turns to the right
    image.save(tmp_path / "x.jpg", exif=edited)

    pixels = decoding.decode(tmp_path / "x.jpg", 16)

    assert pixels[:, 12:].mean() < 20
    assert pixels[:, :4].mean() > 235


@pytest.mark.parametrize("suffix", [".png", ".webp", ".jpg"])
def test_damaged_exif_does_not_cost_the_image(tmp_path: Path, suffix: str) -> None:
    """EXIF that is no EXIF says nothing of the picture: it is read as it lies, and glanced at."""
    image = Image.new("RGB", (32, 32), (200, 30, 30))
    path = tmp_path / f"x{suffix}"
    image.save(path, exif=b"Exif\x00\x00garbage! and more")

    assert decoding.decode(path, 16)[8, 8, 0] > 150
    assert decoding.glance(path, 16).thumb is not None


def test_values_below_zero_have_no_known_black(tmp_path: Path) -> None:
    """A CT slice in its own units is refused with its range, not clipped to black."""
    values = np.linspace(-1000, 3000, 64, dtype=np.float32).reshape(8, 8)
    path = saved(Image.fromarray(values), tmp_path / "x.tif")

    with pytest.raises(ImageError, match="from -1000 to 3000"):
        decoding.decode(path, 8)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_damaged_avif_is_a_fault_like_any_other(tmp_path: Path) -> None:
    """Pillow raises RuntimeError for AVIF: `decode` says ImageError, `size_of` nothing."""
    path = tmp_path / "x.avif"
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path)
    whole = path.read_bytes()

    faults = 0
    for i in range(0, 300, 4):
        path.write_bytes(whole[:i] + bytes(4) + whole[i + 4 :])
        decoding.size_of(path)
        try:
            decoding.decode(path, 16)
        except ImageError:
            faults += 1

    assert faults > 0


def test_decode_reads_ycck(tmp_path: Path) -> None:
    """Photoshop's other JPEG for print (luminance, two colours, black) decodes like CMYK."""
    # red is no cyan, all magenta and yellow; these three are written as luminance and two colours,
    # and Pillow writes the complement of what it is given
    ink = Image.new("RGB", (32, 32), (0, 255, 255)).convert("YCbCr").getpixel((0, 0))
    planes = (*(255 - v for v in ink), 0)
    path = saved(Image.new("CMYK", (32, 32), planes), tmp_path / "x.jpg", quality=100)
    whole = path.read_bytes()
    marker = whole.index(b"Adobe")
    path.write_bytes(whole[: marker + 11] + b"\2" + whole[marker + 12 :])  # transform 2: YCCK

    with Image.open(path) as image:
        assert image.mode == "CMYK"
    assert colour_of(path) == pytest.approx([255, 0, 0], abs=4)


@pytest.mark.skipif(not features.check("avif"), reason="this Pillow reads no AVIF")
def test_decode_reads_avif(tmp_path: Path) -> None:
    """AVIF is a picture like any other."""
    path = saved(Image.new("RGB", (32, 32), (200, 100, 50)), tmp_path / "x.avif", quality=100)

    assert colour_of(path) == pytest.approx([200, 100, 50], abs=4)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp"])
def test_the_content_counts_and_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    """A WebP under another name decodes as what it is."""
    path = tmp_path / f"x{suffix}"
    Image.new("RGB", (16, 16), (200, 100, 50)).save(path, format="WEBP", lossless=True)

    assert colour_of(path) == [200, 100, 50]


def test_formats_that_run_other_programs_are_not_opened(tmp_path: Path) -> None:
    """PostScript would be handed to Ghostscript: under whatever name, it is no image here."""
    path = tmp_path / "x.jpg"
    Image.new("RGB", (16, 16)).save(path, format="EPS")

    with pytest.raises(ImageError, match="it is a PostScript file"):
        decoding.decode(path, 8)


@pytest.mark.skipif(os.name != "posix", reason="other systems refuse such names")
@pytest.mark.parametrize(
    "name", [b"with space", "🌷".encode(), b"line\nbreak", b"caf\xe9", b"n" * 251, b"\x1b[2J"]
)
def test_decode_takes_any_name(tmp_path: Path, name: bytes) -> None:
    """A file is read whatever it is called, and a fault about it is one printable line."""
    path = tmp_path / os.fsdecode(name + b".png")
    saved(Image.new("RGB", (9, 9), (1, 2, 3)), path)

    assert colour_of(path) == [1, 2, 3]
    path.write_bytes(b"")
    with pytest.raises(ImageError) as caught:
        decoding.decode(path, 8)
    assert caught.value.message.isprintable()
    assert caught.value.reason == "it is empty"


def test_a_link_is_read_and_a_loop_is_a_fault(tmp_path: Path) -> None:
    """A link to a picture is that picture; one to itself cannot be read."""
    saved(Image.new("RGB", (9, 9), (1, 2, 3)), tmp_path / "x.png")
    (tmp_path / "link.png").symlink_to("x.png")
    (tmp_path / "loop.png").symlink_to("loop.png")

    assert colour_of(tmp_path / "link.png") == [1, 2, 3]
    with pytest.raises(ImageError, match=r"loop\.png: .*symbolic links"):
        decoding.decode(tmp_path / "loop.png", 8)


def test_no_right_to_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system says is the reason, without the path again."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "x.png")

    monkeypatch.setattr(Path, "open", refuse)

    with pytest.raises(ImageError, match=r"cannot read image x\.png: Permission denied$"):
        decoding.decode(Path("x.png"), 8)


def test_too_many_pixels_are_refused_before_they_are_unpacked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header tells; a JPEG counts with the pixels it is reduced to."""
    monkeypatch.setattr(opening, "MOST_PIXELS", 40 * 40)
    large = Image.fromarray(quadrants(160, 160))
    png, jpeg = saved(large, tmp_path / "x.png"), saved(large, tmp_path / "x.jpg")
    monkeypatch.setattr(decoding, "to_rgb", lambda image: image.convert("RGB"))

    with pytest.raises(ImageError, match="too many pixels"):
        decoding.decode(png, 8)
    assert decoding.decode(jpeg, 8).shape == (8, 8, 3)


def test_pillows_own_limit_is_neither_asked_nor_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels count once a JPEG is reduced: Pillow, which counts before that, refuses nothing."""
    path = saved(Image.fromarray(quadrants()), tmp_path / "x.jpg")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)

    assert decoding.decode(path, 16).shape == (16, 16, 3)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_size_comes_from_the_header(tmp_path: Path) -> None:
    """Width and height are read without decoding; a file without a header has none."""
    path = saved(Image.fromarray(quadrants(32, 48)), tmp_path / "x.png")
    cut_off = tmp_path / "cut.png"
    cut_off.write_bytes(path.read_bytes()[:60])

    assert decoding.size_of(path) == (48, 32)
    assert decoding.size_of(cut_off) == (48, 32)
    assert decoding.size_of(broken("text", tmp_path / "text.png")) is None
    assert decoding.size_of(tmp_path / "missing.png") is None


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_glance_sees_the_whole_picture_small(tmp_path: Path, suffix: str) -> None:
    """Header and small copy; a fast JPEG's copy lies where the exact one does."""
    photo = Image.fromarray(load_sample_image("china.jpg"))
    path = saved(photo, tmp_path / f"x{suffix}", quality=95)

    seen = decoding.glance(path, 32)

    assert (seen.width_px, seen.height_px, seen.mode) == (*photo.size, "RGB")
    assert seen.format == {".jpg": "JPEG", ".png": "PNG"}[suffix]
    exact = np.asarray(photo.resize((32, 32), Image.Resampling.BILINEAR), int)
    assert np.abs(seen.thumb - exact).mean() < 1.5


def test_a_glance_turns_the_picture_and_knows_frames(tmp_path: Path) -> None:
    """The copy is upright like what the network sees; several frames are told."""
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = np.ascontiguousarray(STORED[6](quadrants()))
    turned = saved(Image.fromarray(lying), tmp_path / "x.png", exif=exif)
    upright = saved(Image.fromarray(quadrants()), tmp_path / "upright.png")
    frames = {"save_all": True, "append_images": [Image.new("RGB", (9, 9), "red")]}
    moving = saved(Image.new("RGB", (9, 9)), tmp_path / "x.gif", **frames)

    a, b = decoding.glance(turned, 32), decoding.glance(upright, 32)
    assert np.abs(a.thumb.astype(int) - b.thumb).max() <= 1
    assert decoding.glance(moving).several_frames
    assert not b.several_frames
    assert decoding.glance(upright).thumb is None


# --- several sides -------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tiff", ".webp", ".gif"])
@pytest.mark.parametrize("size", [(48, 32), (200, 150), (320, 240), (700, 900)])
@pytest.mark.parametrize("sides", [(39, 32), (32, 39), (120, 32), (32, 32, 8)])
def test_several_sides_have_the_pixels_of_each(
    tmp_path: Path, suffix: str, size: tuple[int, int], sides: tuple[int, ...]
) -> None:
    """What is unpacked once for several sides differs in no bit from decoding for each."""
    picture = Image.fromarray(quadrants(size[1], size[0]).astype(np.uint8))
    turned = Image.Exif()
    turned[0x112] = 6
    path = saved(picture, tmp_path / f"x{suffix}", exif=turned)

    found = decoding.decode_sizes(path, sides)

    for pixels, side in zip(found, sides, strict=True):
        assert np.array_equal(pixels, decoding.decode(path, side))


@pytest.mark.parametrize(
    ("suffix", "sides", "times"),
    [
        (".png", (39, 32), 1),
        (".jpg", (39, 32), 1),  # 78 and 64 pixels: both a half of 200 by 150
        (".jpg", (37, 8), 2),  # a half, and an eighth
    ],
)
def test_a_file_is_unpacked_once_where_its_sides_allow(
    tmp_path: Path, monkeypatch, suffix: str, sides: tuple[int, ...], times: int
) -> None:
    """Only a JPEG that another side reduces further is unpacked again."""
    path = saved(Image.new("RGB", (200, 160), (9, 99, 199)), tmp_path / f"x{suffix}")
    unpacked, bounded = [], opening.bounded

    def counted(image: Image.Image, pixels: int) -> object:
        unpacked.append(pixels)
        return bounded(image, pixels)

    monkeypatch.setattr(opening, "bounded", counted)
    decoding.decode_sizes(path, sides)

    assert len(unpacked) == times


# --- stream and load ------------------------------------------------------------------------------


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.png"))


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize(("count", "batch"), [(25, 4), (3, 8), (8, 8), (9, 8), (1, 1)])
def test_stream_gives_every_file_once_in_order(
    image_folder: ImageFolder, count: int, batch: int, workers: int
) -> None:
    """Full batches, the last one short, all in the order asked for, whichever thread was first."""
    paths = files(image_folder({"a": count}, size=(12, 12)))

    got = list(decoding.stream(paths, 12, batch, workers))

    assert [i for good, _, _ in got for i in good] == list(range(count))
    assert all(len(good) == batch for good, _, _ in got[:-1])
    for good, pixels, bad in got:
        assert bad == []
        assert (pixels == np.stack([decoding.decode(paths[i], 12) for i in good])).all()


def test_a_bounded_number_of_images_waits() -> None:
    """No more are worked on ahead than the limit, and what comes of them keeps their order."""
    taken, most, lock = 0, 0, threading.Lock()

    def attempt(number: int) -> int:
        nonlocal most
        with lock:
            most = max(most, number - taken)
        return -number

    for found in decoding.in_order(range(200), attempt, 3, 8):
        assert found == -taken
        taken += 1

    assert taken == 200
    assert most <= 3


def test_stream_reports_failures_by_position(image_folder: ImageFolder) -> None:
    """A file that cannot be read is named with its position; its neighbours keep theirs."""
    paths = files(image_folder({"a": 20}, size=(12, 12)))
    for i in (0, 7, 8, 19):
        paths[i].write_bytes(b"")

    got = list(decoding.stream(paths, 12, 4, 2))

    assert [i for good, _, _ in got for i in good] == sorted({*range(20)} - {0, 7, 8, 19})
    faults = [fault for _, _, bad in got for fault in bad]
    assert [i for i, _ in faults] == [0, 7, 8, 19]
    assert all(str(paths[i]) in error.message for i, error in faults)


def test_stream_of_damaged_files_alone_gives_no_pixels(image_folder: ImageFolder) -> None:
    """A batch of which nothing decoded has zero rows of the usual shape."""
    paths = files(image_folder({"a": 3}))
    for path in paths:
        path.write_bytes(b"")

    ((good, pixels, bad),) = decoding.stream(paths, 12, 4, 2)

    assert good == []
    assert pixels.shape == (0, 12, 12, 3)
    assert [i for i, _ in bad] == [0, 1, 2]


def test_stream_leaves_the_warning_filters_alone(image_folder: ImageFolder) -> None:
    """Decoding in many threads leaves no filter behind that hides all warnings."""
    paths = sorted(image_folder({"a": 100}).rglob("*.png"))
    before = list(warnings.filters)

    for _ in range(3):
        for _ in decoding.stream(paths, 32, 32, 4):
            pass

    assert list(warnings.filters) == before


def test_stream_of_nothing_is_nothing() -> None:
    """No files, no batches."""
    assert list(decoding.stream([], 12, 4, 2)) == []


def test_load_puts_all_in_memory_in_order(image_folder: ImageFolder) -> None:
    """Row i is file i, over more than one batch of decoding."""
    paths = files(image_folder({"a": 40}, size=(12, 12)))

    (pixels,) = decoding.load(paths, [12], 2)

    assert pixels.shape == (40, 12, 12, 3)
    assert (pixels == np.stack([decoding.decode(p, 12) for p in paths])).all()


def test_load_raises_on_a_damaged_file(image_folder: ImageFolder) -> None:
    """A file that decoded before and does not now stops training, named."""
    paths = files(image_folder({"a": 5}))
    paths[3].write_bytes(b"")

    with pytest.raises(ImageError, match=r"0003\.png"):
        decoding.load(paths, [12], 2)


def test_a_stream_that_is_left_decodes_no_more(image_folder, monkeypatch) -> None:
    """Images that were queued and are not wanted any more are not decoded."""
    paths = sorted(image_folder({"a": 60}).rglob("*.png"))
    done, decode = [], decoding.decode

    def slow(path: Path, side_px: int, *_: object) -> decoding.Pixels:
        done.append(path)
        time.sleep(0.02)
        return decode(path, side_px)

    monkeypatch.setattr(decoding, "decode", slow)
    rows = decoding.stream(paths, 32, 16, 2)

    next(rows)
    rows.close()

    assert len(done) < 40
