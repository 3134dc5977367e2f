"""Images in two dimensions of their features, as the probe sees them with each left out."""

from __future__ import annotations

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.heads import cross_validation
from finetune.records.errors import safe_name
from finetune.records.material import ImageMap, MapPoint
from finetune.storage.arrays import Array

MOST_POINTS = 500  # more lie over each other


def image_map(analysis: Analysis, found: cross_validation.LeftOut) -> ImageMap | None:
    """Place images by the two directions in which their left-out scores differ most.

    A score is a linear combination of features, and that of an image comes from a fit without it,
    so classes do not part by themselves as those of a fit to all images would. Two classes have
    one such direction; the second is then that in which features differ most.

    Args:
        analysis: The images.
        found: The probe, with a row for each of `analysis.ranked` that the network does not know.
    """
    rows = analysis.ranked[~analysis.learnt[analysis.ranked]]
    if len(rows) < 3 or found.logits.shape[1] < 2:
        return None
    some = np.arange(len(rows))
    if len(rows) > MOST_POINTS:
        rng = np.random.default_rng(0)
        some = cross_validation.draw(rng, found.labels, MOST_POINTS / len(rows), 1)
    scores = found.logits[some] / found.temperature
    place = _principal(scores - scores.mean(axis=1, keepdims=True))
    text = "the two directions in which the scores differ most"
    if scores.shape[1] == 2:
        features = np.asarray(analysis.blocks(found.score.taps, rows[some]).rows[:], np.float64)
        place = np.stack([scores[:, 1] - scores[:, 0], _principal(features)[:, 0]], axis=1)
        text = "across the difference of both scores, upward the first principal component"
    place = place / np.maximum(np.abs(place).max(axis=0), 1e-12)
    called = found.logits.argmax(axis=1)
    return ImageMap(
        points=tuple(
            MapPoint(
                path=safe_name(analysis.samples[rows[i]].path),
                x=round(float(x), 4),
                y=round(float(y), 4),
                label=int(found.labels[i]),
                answer=int(called[i]),
            )
            for i, (x, y) in zip(some.tolist(), place, strict=True)
        ),
        images=len(analysis.labels),
        text=f"scores of the probe on {found.score.name}, each image left out: {text}",
    )


def _principal(rows: Array) -> Array:
    """The two principal components of some rows, float64[N, 2], the larger first."""
    centered = rows - rows.mean(axis=0)
    if centered.shape[0] <= centered.shape[1]:  # by the smaller of both matrices
        values, vectors = np.linalg.eigh(centered @ centered.T)
        out = vectors[:, ::-1][:, :2] * np.sqrt(np.maximum(values[::-1][:2], 0.0))
    else:
        _, vectors = np.linalg.eigh(centered.T @ centered)
        out = centered @ vectors[:, ::-1][:, :2]
    return out if out.shape[1] == 2 else np.pad(out, ((0, 0), (0, 1)))
