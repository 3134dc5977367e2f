"""Probabilities and labels to metrics with intervals; pure numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.records.metrics import ClassMetrics, Metrics

CALIBRATION_BINS = 15  # Guo et al. 2017, section 4.1
Z95 = 1.959964
# A matrix of more classes is nothing to look at, and grows with the square; what is not zero in it
# is no more than the images.
DENSE_CLASSES = 100


@dataclass(frozen=True)
class Answers:
    """What N images were answered, as far as anything is measured of it.

    `labels` and `called` int64[N] are the true classes and the answers, `confidence` float64[N] the
    probabilities of the answers, `losses` float64[N] those of −log of the true class.
    """

    labels: npt.NDArray[np.int64]
    called: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float64]
    losses: npt.NDArray[np.float64]


def answers(parts: Iterable[npt.NDArray[np.float64]], labels: npt.NDArray[np.int64]) -> Answers:
    """What is measured of probabilities that come some images at a time.

    Args:
        parts: float64[n, C] each, rows sum to one; N rows together.
        labels: int64[N] in 0..C-1.
    """
    called = np.empty(len(labels), np.int64)
    confidence, losses = np.empty(len(labels)), np.empty(len(labels))
    start = 0
    for some in parts:
        part = slice(start, start + len(some))
        called[part], confidence[part] = some.argmax(axis=1), some.max(axis=1)
        losses[part] = log_losses(some, labels[part])
        start = part.stop
    return Answers(labels, called, confidence, losses)


def measure(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> Metrics:
    """`summary` of probabilities float64[N, C] that are all at hand."""
    return summary(answers([probabilities], labels), classes)


def summary(found: Answers, classes: Sequence[str]) -> Metrics:
    """Everything `finetune evaluate` reports.

    Args:
        found: Of at least one image.
        classes: C names.
    """
    n, count = len(found.labels), len(classes)
    correct = found.called == found.labels
    hits, actual, called = (
        np.bincount(some, minlength=count)
        for some in (found.labels[correct], found.labels, found.called)
    )
    rows = tuple(
        _class_metrics(*row)
        for row in zip(classes, hits.tolist(), actual.tolist(), called.tolist(), strict=True)
    )
    places, images = np.unique(found.labels * count + found.called, return_counts=True)
    dense = np.zeros((count, count) if count <= DENSE_CLASSES else (0, 0), np.int64)
    if dense.size:
        dense.flat[places] = images
    cells = () if dense.size else zip(places // count, places % count, images, strict=True)
    return Metrics(
        n=n,
        accuracy=int(correct.sum()) / n,
        interval=wilson(int(correct.sum()), n),
        balanced_accuracy=float(np.mean([r.recall for r in rows if r.n])),
        macro_f1=float(np.mean([r.f1 for r in rows if r.n])),
        log_loss=float(found.losses.mean()),
        calibration_error=_calibration_error(found.confidence, correct),
        majority_baseline=float(actual.max() / n),
        per_class=rows,
        confusion=tuple(map(tuple, dense.tolist())),
        cells=tuple((int(true), int(answer), int(v)) for true, answer, v in cells),
    )


def wilson(correct: int, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927); honest at small n and near 0 and 1."""
    p = correct / n
    centre = p + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def calibration_error(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over equal-width bins."""
    return _calibration_error(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)


def _calibration_error(
    confidence: npt.NDArray[np.float64], correct: npt.NDArray[np.bool_]
) -> float:
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    total = 0.0
    for b in np.unique(bins):
        inside = bins == b
        total += inside.mean() * abs(confidence[inside].mean() - correct[inside].mean())
    return float(total)


def _class_metrics(name: str, hits: int, actual: int, called: int) -> ClassMetrics:
    return ClassMetrics(
        name=name,
        n=actual,
        precision=hits / called if called else None,
        recall=hits / actual if actual else None,
        f1=2 * hits / (actual + called) if actual else None,
    )


def log_losses(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """−log of each image's probability of its label, in nats; bounded where that rounds to 0."""
    chosen = probabilities[np.arange(len(labels)), labels]
    out: npt.NDArray[np.float64] = -np.log(np.maximum(chosen, 1e-15))
    return out
