"""Promises of `analysis.upright`: flips where up and down mean nothing, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune.analysis import upright
from finetune.backbones.inference import TOP, Engine
from finetune.pictures import decoding
from finetune.records.analysis import Reason

LABELS = np.arange(100) % 4
ALONE = [str(i) for i in range(100)]


def features(seed: int, gravity: float = 0.0, classes: float = 4.0) -> np.ndarray:
    """Random features with the class in four columns, and which side is up in another."""
    rows = np.random.default_rng(seed).normal(size=(100, 30))
    rows[np.arange(100), LABELS] += classes
    rows[:, 10] += gravity
    return rows.astype(np.float32)


def test_images_like_their_flipped_copies_are_not_upright() -> None:
    """Nothing tells the flipped ones, their classes are known as well: up and down mean nothing."""
    found = upright.judge(features(0), features(1), LABELS, ALONE)

    assert not found.upright
    assert "100 images" in found.reason


@pytest.mark.parametrize(
    "turned",
    [features(1, gravity=3.0), features(1, classes=0.0)],
    ids=["it shows which are flipped", "flipped ones are not known"],
)
def test_images_that_differ_from_their_flipped_copies_are_upright(turned: np.ndarray) -> None:
    """Either sign is enough: a side that is up, or classes that are lost upside down."""
    assert upright.judge(features(0), turned, LABELS, ALONE).upright


def test_an_image_does_not_give_its_own_flipped_copy_away() -> None:
    """Features that only say which image it is tell nothing of up and down."""
    plain = features(0, classes=4.0)

    assert not upright.judge(plain, plain + 1e-3 * features(1), LABELS, ALONE).upright


def test_few_images_are_left_upright() -> None:
    """Where nothing can be measured nothing is flipped, and the reason says so."""
    found = upright.unmeasured(12)

    assert found.upright
    assert "12 images" in found.reason


def test_flipped_pictures_are_turned_upside_down(tmp_path: Path) -> None:
    """The engine sees each picture as decoded, its rows in reverse order, in parts of a batch."""
    paths = []
    for number in range(upright.BATCH + 1):
        picture = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    means = lambda pixels: pixels[:, 0].reshape(len(pixels), -1).astype(np.float32)  # noqa: E731
    engine = Engine(means, {TOP: (0, 24)}, "none", Reason("engine", ""))

    rows = upright.flipped(paths, lambda p: decoding.decode(p, 8), engine, TOP)

    last = np.stack([decoding.decode(path, 8)[-1].ravel() for path in paths])
    np.testing.assert_array_equal(rows, last)
