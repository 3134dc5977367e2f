"""Scores of labels that are on or off → probabilities, and from which of these a label is on."""

from __future__ import annotations

import numpy as np

from finetune.storage.arrays import Array

NEWTON_STEPS = 50
# Of fewer images than this that have a label, the best threshold is one image's word.
THRESHOLD_IMAGES = 10


def fit(scores: Array, truth: Array) -> tuple[Array, Array]:
    """Slope a and intercept b, float64[K] each, so that sigmoid(a s + b) is a probability.

    Logistic regression of each label on its held-out score, to (n₁+1)/(n₁+2) and 1/(n₀+2) instead
    of 1 and 0, which bounds it where scores divide the images (Platt 1999). A slope below zero is
    taken as zero: leaving images out turns the scores of features that tell nothing upside down.

    Args:
        scores: float64[N, K] of images that were held out.
        truth: 0 or 1, float64[N, K].
    """
    on = truth.sum(axis=0)
    high, low = (on + 1) / (on + 2), 1 / (len(truth) - on + 2)
    wanted = np.where(truth > 0, high, low)
    middle, spread = scores.mean(axis=0), np.maximum(scores.std(axis=0), 1e-12)
    z = (scores - middle) / spread
    base = np.clip(wanted.mean(axis=0), 1e-6, 1 - 1e-6)
    a, b = np.zeros(len(on)), np.log(base / (1 - base))
    loss = _loss(a, b, z, wanted)
    for _ in range(NEWTON_STEPS):
        ahead_a, ahead_b = _step(a, b, z, wanted)
        size = np.ones(len(on))
        for _ in range(30):  # half as far where the loss would not fall
            found = _loss(a + size * ahead_a, b + size * ahead_b, z, wanted)
            worse = found > loss + 1e-12
            if not worse.any():
                break
            size = np.where(worse, size / 2, size)
        size = np.where(found > loss + 1e-12, 0.0, size)
        a, b = a + size * ahead_a, b + size * ahead_b
        settled = np.abs(size * ahead_a).max() < 1e-9 and np.abs(size * ahead_b).max() < 1e-9
        loss = np.minimum(loss, found)
        if settled:
            break
    useless = a <= 0
    a, b = np.where(useless, 0.0, a), np.where(useless, np.log(base / (1 - base)), b)
    return a / spread, b - a * middle / spread


def _loss(a: Array, b: Array, z: Array, wanted: Array) -> Array:
    logits = a * z + b
    found: Array = (np.logaddexp(0.0, logits) - wanted * logits).sum(axis=0)
    return found


def _step(a: Array, b: Array, z: Array, wanted: Array) -> tuple[Array, Array]:
    """Newton's step of each label: two numbers, so the inverse is written out."""
    p = probabilities(a * z + b)
    error, curve = p - wanted, np.maximum(p * (1 - p), 1e-9)
    ga, gb = (error * z).sum(axis=0), error.sum(axis=0)
    aa, ab, bb = (curve * z * z).sum(axis=0) + 1e-6, (curve * z).sum(axis=0), curve.sum(axis=0)
    det = np.maximum(aa * bb - ab * ab, 1e-12)
    return -(bb * ga - ab * gb) / det, -(aa * gb - ab * ga) / det


def probabilities(logits: Array) -> Array:
    """The logistic function without an overflow, float64[N, K]."""
    found: Array = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return found


def thresholds(likely: Array, truth: Array) -> Array:
    """From which probability each label is on, float64[K]: the best F1 on held-out images.

    A label of fewer than `THRESHOLD_IMAGES` images takes the threshold that is best for all labels
    together; so does one that all images have.

    Args:
        likely: Calibrated probabilities float64[N, K] of held-out images.
        truth: 0 or 1, float64[N, K].
    """
    common = _best_threshold(likely.ravel(), truth.ravel())
    on = truth.sum(axis=0)
    return np.array(
        [
            _best_threshold(likely[:, k], truth[:, k])
            if THRESHOLD_IMAGES <= on[k] < len(truth)
            else common
            for k in range(truth.shape[1])
        ]
    )


def _best_threshold(likely: Array, truth: Array) -> float:
    """The middle between two held-out probabilities with the best F1; of equals that next to .5."""
    order = np.argsort(-likely, kind="stable")
    ranked, hits = likely[order], np.cumsum(truth[order])
    total = hits[-1]
    if total == 0:
        return 0.5
    ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
    f1 = 2 * hits[ends] / (ends + 1 + total)
    below = np.append(ranked[1:], 0.0)[ends]
    middles = (ranked[ends] + below) / 2
    best = np.flatnonzero(f1 >= f1.max() - 1e-12)
    return float(middles[best[np.argmin(np.abs(middles[best] - 0.5))]])
