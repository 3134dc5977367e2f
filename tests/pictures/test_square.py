"""Promises of the square: each of its ways is stated in the words of others, to the pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import Recorder, train
from PIL import Image
from timm.data.transforms_factory import transforms_imagenet_eval

from finetune.backbones import features
from finetune.deploy import predictor
from finetune.pictures import decoding, square
from finetune.records.backbone import Box, Preprocess
from finetune.records.choices import Fit
from finetune.runs import run_folder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TIMM = {"squash": "squash", "center": "center", "letterbox": "border"}
SIZES = ((97, 61), (61, 97), (64, 64), (300, 40), (33, 20), (20, 33), (640, 427))


def picture(width: int, height: int) -> Image.Image:
    """A picture of noise over a slope."""
    rng = np.random.default_rng(width * height)
    slope = np.linspace(0, 128, width)[None, :, None]
    return Image.fromarray((slope + rng.integers(0, 127, (height, width, 3))).astype(np.uint8))


@pytest.mark.parametrize("fit", TIMM)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_the_square_is_timms(fit: Fit, size: tuple[int, int]) -> None:
    """Squash, center and letterbox are what timm makes of its crop modes at a share of 1."""
    transform = transforms_imagenet_eval(
        64, 1.0, TIMM[fit], interpolation="bicubic", mean=MEAN, std=STD, normalize=False
    )
    expected = np.asarray(transform(picture(*size))).transpose(1, 2, 0).astype(int)

    found = square.cut(picture(*size), 64, Preprocess(64, MEAN, STD, fit=fit).box)

    # one pass resizes and crops, two round in between
    assert np.abs(found.astype(int) - expected).max() <= (2 if fit == "center" else 0)


def test_beside_a_letterbox_is_the_mean_color() -> None:
    """What is left of the square has the color that the network sees as zero."""
    found = square.cut(picture(80, 20), 40, Preprocess(40, MEAN, STD, fit="letterbox").box)

    assert found[0, 0].tolist() == found[39, 39].tolist() == [124, 116, 104]
    assert (found[15:25] != found[0, 0]).any()


def test_features_of_one_square_are_not_taken_for_those_of_another() -> None:
    """What is kept of an image is kept for its square; that of older versions is still found."""
    keys = {features._boxed(Box(fit=fit)) for fit in ("half", "squash", "center", "letterbox")}

    assert len(keys) == 4
    assert features._boxed(Box()) == ""


@pytest.mark.parametrize("strategy", ["linear-probe", "deep"])
def test_a_run_keeps_its_square(tmp_path: Path, strategy: str) -> None:
    """`--fit` is in run.json; what was tested, and what predict says, are of that square."""
    for label, shift in (("a", 0), ("b", 100)):
        (tmp_path / "data" / label).mkdir(parents=True)
        for i in range(12):
            image = picture(90 + i, 40).transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            darker = Image.fromarray(np.asarray(image) // 2 + shift)
            darker.save(tmp_path / "data" / label / f"{i}.png")
    options = {"epochs": 1, "side_px": 32} if strategy == "deep" else {}
    train(
        tmp_path / "data",
        tmp_path / "run",
        strategy=strategy,
        fit="squash",
        backbone="test_resnet",
        weights="random",
        options=options,
    )

    facts = run_folder.load_facts(tmp_path / "run")
    model = predictor.of_run(tmp_path / "run", facts, device="cpu", images=1, listener=Recorder())
    path = tmp_path / "data" / "a" / "0.png"
    pixels = decoding.decode(path, facts.preprocess.side_px, (), Box(fit="squash"))

    assert facts.preprocess.fit == "squash"
    assert facts.request is not None
    assert facts.request.fit == "squash"
    assert np.array_equal(model.of_files([path], Recorder()).rows[:], model.logits(pixels[None]))
    assert not np.array_equal(pixels, decoding.decode(path, facts.preprocess.side_px))
