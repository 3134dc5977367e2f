"""Logits to probabilities, at the temperature with the least log loss on held-out images."""

from __future__ import annotations

import math

import numpy as np

from finetune.storage.arrays import Array, Labels

INVERSE_TEMPERATURES = (math.exp(-3.0), math.exp(7.0))  # wider than scores of ridge ask for
NEWTON_STEPS, TOLERANCE = 60, 1e-6


def probabilities(logits: Array, temperature: float, shift: Array | None = None) -> Array:
    """Softmax of scores / temperature, float64[N, C]; of that and a shift float64[C] by class."""
    z = logits / temperature if shift is None else logits / temperature + shift
    z = np.exp(z - z.max(axis=1, keepdims=True))
    out: Array = z / z.sum(axis=1, keepdims=True)
    return out


def log_loss(logits: Array, labels: Labels, weights: Array | None = None) -> float:
    """Mean of −log softmax(scores)[label], in nats; of images that count by weights float64[N]."""
    losses = negative_log_likelihoods(logits)[np.arange(len(labels)), labels]
    return float(losses.mean() if weights is None else np.average(losses, weights=weights))


def calibrated_log_loss(
    logits: Array, labels: Labels, shift: Array | None = None, weights: Array | None = None
) -> float:
    """The log loss at the temperature that `fit_temperature` finds on the same images."""
    scaled = logits / fit_temperature(logits, labels, shift, weights)
    return log_loss(scaled if shift is None else scaled + shift, labels, weights)


def negative_log_likelihoods(logits: Array) -> Array:
    """−log softmax(scores), float64[N, C]."""
    top = logits.max(axis=1, keepdims=True)
    total: Array = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True)) - logits
    return total


def fit_temperature(
    logits: Array, labels: Labels, shift: Array | None = None, weights: Array | None = None
) -> float:
    """The temperature with the least log loss on held-out scores (Guo et al. 2017).

    One imagined image whose label may be any counts with them: few images that are all right would
    otherwise ask for certainty (docs/log.md, 2026-11-23). The loss is convex in 1/temperature:
    Newton's steps, halving the bracket on the log scale where one leaves it.

    Args:
        logits: float64[N, C].
        labels: int64[N].
        shift: Added to the scores / temperature of each class, float64[C].
        weights: By how much images count, float64[N] of mean one.
    """
    n = len(labels)
    counted = np.ones(n) if weights is None else weights
    share = (n + 1) / n
    centred = logits - logits.mean(axis=1, keepdims=True)
    wanted = (counted * centred[np.arange(n), labels]).sum()
    low, high = INVERSE_TEMPERATURES
    inverse = math.sqrt(low * high)
    for _ in range(NEWTON_STEPS):
        p = probabilities(centred, 1 / inverse, shift)
        mean = (p * centred).sum(axis=1)
        slope = share * (counted * mean).sum() - wanted
        spread = (p * np.square(centred)).sum(axis=1) - np.square(mean)
        curve = share * (counted * spread).sum()
        low, high = (inverse, high) if slope < 0 else (low, inverse)
        ahead = inverse - slope / max(curve, 1e-300)
        before, inverse = inverse, ahead if low < ahead < high else math.sqrt(low * high)
        if abs(inverse - before) <= TOLERANCE * before:
            break
    return float(1 / inverse)
