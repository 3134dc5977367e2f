"""Promises of `backbones.reference`: shipped weights answer as is known, or are refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.backbones import load, reference, registry
from finetune.backbones.stages import Backbone
from finetune.records.backbone import BackboneFacts, Variant
from finetune.records.errors import BackboneError

SEPARATE = Path(__file__).parents[1] / "reference_logits.json"


def test_every_package_has_known_answers() -> None:
    """Lite0's are those of the separate implementation."""
    logits = json.loads(SEPARATE.read_text())["chirp0"]

    assert set(reference.LOGITS) == set(registry.BACKBONES)
    for place, known in zip(
        reference.PLACES, reference.LOGITS["tf_efficientnet_lite0"], strict=True
    ):
        assert known == pytest.approx(logits[place], abs=1e-3)


def test_the_same_weights_with_another_input_are_found(
    default_backbone: tuple[Backbone, BackboneFacts],
) -> None:
    """A mean that is off by a tenth changes the answer by more than is allowed."""
    backbone, facts = default_backbone
    side = facts.preprocess.side_px

    def shifted(pixels: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            x = backbone.normalise(torch.from_numpy(pixels)) + 0.2
            return backbone.logits(x).numpy()

    reference.require(facts.name, side, lambda x: load._answer(backbone, x))
    with pytest.raises(BackboneError, match="off by"):
        reference.require(facts.name, side, shifted)


def test_answers_that_are_no_numbers_are_found() -> None:
    """NaN is no agreement."""
    with pytest.raises(BackboneError, match="answers a known picture otherwise"):
        reference.require(registry.DEFAULT, 8, lambda _: np.full((1, 1000), np.nan, np.float32))


def test_loading_compares(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of a package that answer otherwise are not used; untrained ones are not asked."""
    wrong = dict.fromkeys(reference.LOGITS, (9.0,) * len(reference.PLACES))
    monkeypatch.setattr(reference, "LOGITS", wrong)

    with pytest.raises(BackboneError, match="answers a known picture otherwise"):
        load.build(registry.DEFAULT)
    load.build(registry.DEFAULT, "random", variant=Variant())
