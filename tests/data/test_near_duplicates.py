"""Promises of `finetune.data.near_duplicates`: what counts as a near copy, and what never does."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image, ImageDraw, ImageEnhance
from sklearn.datasets import load_sample_images

from finetune.data import near_duplicates

Array = npt.NDArray[np.uint8]


def thumb(image: Image.Image) -> Array:
    side = (near_duplicates.SIDE_PX, near_duplicates.SIDE_PX)
    return np.asarray(image.convert("RGB").resize(side, Image.Resampling.BILINEAR))


def clusters(*images: Image.Image) -> list[int]:
    return near_duplicates.clusters(np.stack([thumb(i) for i in images])).tolist()


def photos() -> list[Image.Image]:
    """Four different pieces of two photographs."""
    whole = [Image.fromarray(a) for a in load_sample_images().images]
    return [w.crop((x, 60, x + 240, 260)) for w in whole for x in (0, 320)]


def recoded(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=40)
    return Image.open(file)


@pytest.mark.parametrize(
    "change",
    [
        recoded,
        lambda i: i.resize((120, 100), Image.Resampling.BICUBIC),
        lambda i: i.resize((480, 400), Image.Resampling.BICUBIC),
        lambda i: ImageEnhance.Brightness(i).enhance(0.9),
        lambda i: ImageEnhance.Contrast(i).enhance(1.1),
        lambda i: recoded(i.resize((160, 133))),
    ],
    ids=["re-encoded", "halved", "doubled", "darker", "more contrast", "smaller and re-encoded"],
)
def test_copies_of_photographs_are_found(change: Callable[[Image.Image], Image.Image]) -> None:
    """Each copy joins its own original and no other."""
    originals = photos()

    found = clusters(*originals, *[change(p) for p in originals])

    assert found == [0, 1, 2, 3, 0, 1, 2, 3]


@pytest.mark.parametrize(
    "change",
    [
        lambda i: i.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda i: i.crop((24, 20, 240, 200)),
        lambda i: Image.merge("RGB", i.split()[::-1]),
    ],
    ids=["mirrored", "cropped", "recoloured"],
)
def test_other_pictures_are_not_copies(change: Callable[[Image.Image], Image.Image]) -> None:
    """What is mirrored, cropped by a tenth or coloured anew is another picture."""
    originals = photos()

    assert clusters(*originals, *[change(p) for p in originals]) == list(range(8))


def test_drawings_of_one_kind_are_not_copies() -> None:
    """Strokes at slightly different angles, on 28 pixels, are different drawings."""
    strokes = []
    for i in range(12):
        image = Image.new("L", (28, 28))
        ImageDraw.Draw(image).line((8 + i // 2, 3, 20 - i // 2, 25), 255, width=3)
        strokes.append(image)

    found = clusters(*strokes)

    assert len(set(found)) >= 6  # neighbours share their pixels two by two
    assert found == sorted(found)


def test_plain_pictures_have_no_family() -> None:
    """Pictures of one colour, the same or another, have nothing to compare."""
    plain = [Image.new("RGB", (40, 40), c) for c in ("red", "red", "#fe0000", "black", "white")]

    assert clusters(*plain) == list(range(5))
    assert all(near_duplicates.is_plain(thumb(p)) for p in plain)
    assert not any(near_duplicates.is_plain(thumb(p)) for p in photos())


@pytest.mark.parametrize("spread", [3.0, 3.9, 3.99, 4.01, 4.1, 5.0])
@pytest.mark.parametrize("mean", [20, 128, 230])
def test_plain_is_a_spread_below_the_limit_in_the_mean_of_the_channels(
    spread: float, mean: int
) -> None:
    """The verdict in whole numbers is that of numpy's variance, on both sides of the limit."""
    noise = np.random.default_rng(0).normal(
        size=(near_duplicates.SIDE_PX, near_duplicates.SIDE_PX, 3)
    )
    noise *= np.array([0.5, 1.0, 1.3]) * spread / np.sqrt((0.25 + 1.0 + 1.69) / 3)
    picture = np.clip(np.rint(mean + noise), 0, 255).astype(np.uint8)

    variance = float(picture.var(axis=(0, 1)).mean())

    assert near_duplicates.is_plain(picture) == (variance < near_duplicates.PLAIN**2)


def test_colour_tells_drawings_apart() -> None:
    """The same disc in red and in blue on white: a class may be just that."""
    discs = []
    for colour in ("red", "blue"):
        image = Image.new("RGB", (64, 64), "white")
        ImageDraw.Draw(image).ellipse((16, 16, 48, 48), colour)
        discs.append(image)

    assert clusters(*discs) == [0, 1]


def test_the_filter_loses_no_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the block means leave out is not alike: the result is that of comparing all pairs."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (40, 32, 32, 3)).astype(np.float64)
    noisy = [base + rng.normal(0, level, base.shape) for level in (0.5, 4, 6, 8, 12, 40)]
    small = np.concatenate([base, *noisy]).clip(0, 255).astype(np.uint8)
    monkeypatch.setattr(near_duplicates, "_ROWS", 32)
    monkeypatch.setattr(near_duplicates, "_COLUMNS", 16)

    found = near_duplicates.clusters(small)

    units = near_duplicates._unit(small)
    near = units @ units.T >= near_duplicates.ALIKE
    expected = np.arange(len(small))
    for _ in range(len(small)):
        expected = np.where(near, expected[None], len(small)).min(axis=1)
    assert (found == expected).all()
    assert len(set(found.tolist())) < len(small)


def test_nothing_is_alike_in_nothing() -> None:
    """No pictures, no families."""
    assert near_duplicates.clusters(np.empty((0, 32, 32, 3), np.uint8)).tolist() == []
