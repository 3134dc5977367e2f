"""How a run's labels or numbers get worse on pictures that are dark, blurred …; torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from finetune.deploy.predictor import Predictor
from finetune.metrics import paired, ranking, resampled
from finetune.pictures import corruptions
from finetune.records.choices import OtherTarget
from finetune.records.dataset import Sample
from finetune.records.events import Listener
from finetune.records.robustness import TargetFall
from finetune.storage.arrays import Array
from finetune.workflows import robustness

# What would change the truth: another picture behind has labels of its own, and an angle, a size or
# a count is another one in a picture that is turned, made smaller or stretched.
LEFT_OUT: dict[OtherTarget, frozenset[str]] = {
    "labels": frozenset({"clutter"}),
    "number": frozenset({"clutter", "scale", "rotation", "stretch"}),
}


def measure(
    model: Predictor, kind: OtherTarget, root: Path, samples: Sequence[Sample], listener: Listener
) -> tuple[TargetFall, ...]:
    """The mAP, or the MAE, on the same images under every corruption that changes no truth.

    Args:
        model: What answers.
        kind: What it answers.
        root: Where the images lie.
        samples: With their labels or numbers; of many some are drawn.
        listener: Hears of progress.

    Returns:
        Three for each kind; empty where no image can be read.
    """
    kept, pictures = robustness.some(model, root, samples)
    if not pictures:
        return ()
    truth = np.array([s.values for s in kept], np.float64)
    kinds = [c for c in corruptions.CORRUPTIONS if c.kind not in LEFT_OUT[kind]]
    before: tuple[float, Array] | None = None
    falls: list[TargetFall] = []
    for change, outputs in robustness.answers(model, pictures, kinds, listener):
        now = _labels(outputs, truth) if kind == "labels" else _number(outputs, truth)
        if change is None or before is None:
            before = now
            continue
        if kind == "labels":
            lost, error = before[0] - now[0], resampled.noise(before[1], now[1])
        else:
            lost, error = paired.paired(now[1] - before[1])
        falls.append(
            TargetFall(
                kind=change.kind,
                strength=change.strength,
                what=change.what,
                images=len(pictures),
                metric="map" if kind == "labels" else "mae",
                score=now[0],
                lost=lost,
                error=error if len(pictures) > 1 else abs(now[0]),  # of one nothing is known
            )
        )
    return tuple(falls)


def _labels(outputs: Array, truth: Array) -> tuple[float, Array]:
    """The mAP, and that of draws of the images, float64[DRAWS]."""
    score = ranking.mean_average_precision(outputs, truth)
    drawn = resampled.scores(ranking.mean_average_precision, (outputs,), truth)
    return score, drawn[0]


def _number(outputs: Array, truth: Array) -> tuple[float, Array]:
    """The MAE, and the error of each image, a mean over its numbers, float64[N]."""
    errors: Array = np.abs(outputs - truth).mean(axis=1)
    return float(errors.mean()), errors
