"""Promises of `decision.tuned_near`: which tuned networks can tell unknown pictures."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from examples import PLAN

from finetune.backbones.inference import TOP, Engine
from finetune.decision import tuned_near
from finetune.decision.fitted import Near
from finetune.heads import ridge
from finetune.records.analysis import Reason
from finetune.training import holdout
from finetune.training.loop import Tuned

NETWORK: Any = "judged"
JUDGED = Tuned(NETWORK, ridge.Head(np.zeros((2, 3)), np.zeros(2), 1.0), (), PLAN)
LEARNT, HELD = np.array([0, 2, 3]), np.array([1, 4])
PIXELS = np.random.default_rng(0).integers(0, 256, (5, 2, 2, 3), dtype=np.uint8)


def near(outcome: Tuned, tuned: Tuned | None) -> Near | str:
    """What is known of a network whose features are the pixels, behind another column."""

    def forward(pixels: np.ndarray) -> np.ndarray:
        rows = pixels.reshape(len(pixels), -1).astype(np.float32)
        return np.concatenate([np.ones((len(rows), 1), np.float32), rows], axis=1)

    engine = Engine(forward, {"stem": (0, 1), TOP: (1, 13)}, "torch", Reason("engine", ""))
    analysis: Any = SimpleNamespace(labels=np.array([0, 0, 1, 1, 1]), wanted=None)
    images: Any = SimpleNamespace(device=torch.device("cpu"), plain=PIXELS)
    trial = holdout.Trial(((LEARNT, HELD),), np.zeros((2, 2)), tuned, "")
    return tuned_near.of_trial(analysis, images, trial, outcome, engine)


def test_validation_images_say_how_far_new_ones_lie() -> None:
    """Where the judged network is returned: cosines to what it learnt from, of what it did not."""
    found = near(JUDGED, JUDGED)

    assert isinstance(found, Near)
    rows = PIXELS.reshape(5, -1).astype(float)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    expected = 1 - (rows[HELD] @ rows[LEARNT].T).max(axis=1)
    assert found.distances == pytest.approx(expected, abs=0.01)
    assert found.detector.reference.shape == (len(LEARNT), 12)


@pytest.mark.parametrize(
    ("outcome", "tuned", "why"),
    [
        (replace(JUDGED), JUDGED, "all images"),
        (JUDGED, None, "all images"),
        (replace(JUDGED, stopped=KeyboardInterrupt()), JUDGED, "stopped"),
    ],
    ids=["trained again", "two folds", "stopped"],
)
def test_a_network_that_has_seen_all_images_says_so(
    outcome: Tuned, tuned: Tuned | None, why: str
) -> None:
    """Then no image is left that tells how far new ones lie; the run keeps the reason."""
    found = near(outcome, tuned)

    assert isinstance(found, str)
    assert why in found
