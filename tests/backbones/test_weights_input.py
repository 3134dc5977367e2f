"""Promises of `backbones.weights_input`: what a file of weights was trained with, and who says."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from examples import BACKBONE

from finetune.backbones import load, weights_input
from finetune.records.backbone import Preprocess, Variant
from finetune.records.errors import BackboneError, UsageError
from finetune.records.options import BackboneOptions

CONFIG = {
    "architecture": "test_resnet",
    "pretrained_cfg": {
        "input_size": [3, 224, 224],
        "mean": [0.1, 0.2, 0.3],
        "std": [0.3, 0.2, 0.1],
        "interpolation": "bilinear",
    },
}


def asked(folder: Path, config: object = None, **given: str) -> BackboneOptions:
    """Options for a file of weights, with a config.json beside it where one is given."""
    (folder / "w.safetensors").write_bytes(b"")
    if config is not None:
        (folder / "config.json").write_text(json.dumps(config), "utf-8")
    options = BackboneOptions(name="test_resnet", weights=str(folder / "w.safetensors"))
    return replace(options, **given)  # type: ignore[arg-type]


def test_a_config_beside_the_file_is_read(tmp_path: Path) -> None:
    """Timm's description on the Hub has mean, standard deviation, interpolation and size."""
    found = weights_input.variant_of(asked(tmp_path, CONFIG), None)

    assert found == Variant(
        side_px=224, mean=(0.1, 0.2, 0.3), std=(0.3, 0.2, 0.1), interpolation="bilinear"
    )


def test_options_outweigh_the_config(tmp_path: Path) -> None:
    """What the user says holds; one number stands for all channels."""
    options = asked(tmp_path, CONFIG, mean="0.5", std="0.5,0.4,0.3", interpolation="lanczos")

    found = weights_input.variant_of(options, 160)

    assert found == Variant(
        side_px=160, mean=(0.5, 0.5, 0.5), std=(0.5, 0.4, 0.3), interpolation="lanczos"
    )


@pytest.mark.parametrize("config", [None, {"architectures": ["X"]}], ids=["none", "not timm's"])
def test_without_it_nothing_is_changed(tmp_path: Path, config: object) -> None:
    """Descriptions of other programs are left alone."""
    assert weights_input.variant_of(asked(tmp_path, config), None) == Variant()


@pytest.mark.parametrize("text", ["", "a", "0.5,0.5", "nan,0,0", "300,300,300"])
def test_a_mean_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    """Three numbers of pixels from 0 to 1, and the message shows their form."""
    with pytest.raises(UsageError, match="--mean"):
        weights_input.variant_of(asked(tmp_path, mean=text), None)


def test_a_deviation_of_zero_is_refused(tmp_path: Path) -> None:
    """Nothing can be divided by it."""
    with pytest.raises(UsageError, match="--std"):
        weights_input.variant_of(asked(tmp_path, std="0,1,1"), None)


@pytest.mark.parametrize("weights", [None, "random"])
def test_the_input_of_known_weights_is_not_asked_for(weights: str | None) -> None:
    """--mean without a file of weights is a mistake, and is told."""
    with pytest.raises(UsageError, match="--mean"):
        weights_input.variant_of(BackboneOptions(weights=weights, mean="0.5"), None)


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({**CONFIG, "architecture": "resnet50"}, "resnet50"),
        ({"pretrained_cfg": {"mean": [1, 2]}}, "mean"),
        ([1, 2], "cannot read"),
    ],
    ids=["of another network", "a mean of two numbers", "no object"],
)
def test_a_config_that_does_not_fit_is_a_fault(tmp_path: Path, config: object, word: str) -> None:
    """It is named; nothing is guessed in its place."""
    with pytest.raises(BackboneError, match=word):
        weights_input.variant_of(asked(tmp_path, config), None)


def test_what_is_assumed_is_told(tmp_path: Path) -> None:
    """Each value with its source: the user, the config.json, or timm's facts of that name."""
    only_mean = {"pretrained_cfg": {"mean": [0.1, 0.2, 0.3]}}
    known = Preprocess(160, (0.1, 0.2, 0.3), (0.5, 0.5, 0.5), interpolation="lanczos")
    facts = replace(BACKBONE, name="test_resnet", weights="file w.safetensors", preprocess=known)

    said = weights_input.told(asked(tmp_path, only_mean, interpolation="lanczos"), facts)

    assert "mean 0.1,0.2,0.3 (from config.json beside it)" in said
    assert "std 0.5,0.5,0.5 (assumed, as timm has it for test_resnet: --std" in said
    assert "interpolation lanczos (as you said)" in said
    assert weights_input.told(asked(tmp_path), replace(facts, weights="run x")) == ""


def test_the_backbone_normalizes_as_told() -> None:
    """The network's own input follows, not only the record."""
    variant = Variant(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    backbone, _ = load.build("test_resnet", "random", variant=variant)

    assert float(backbone.normalise(backbone._mean.new_full((1, 3, 2, 2), 255.0)).max()) == 1.0
