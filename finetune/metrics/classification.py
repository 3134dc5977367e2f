"""Probabilities and labels to metrics with intervals; pure numpy."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.metrics import clusters
from finetune.metrics.clusters import Z95, Clusters
from finetune.records.metrics import AtShares, ClassMetrics, Metrics

CALIBRATION_BINS = 15  # Guo et al. 2017, section 4.1
# The commonest class by the rarest, from which on balanced accuracy is told with its interval: at
# 3:1 always answering the commonest of two classes is right three times in four.
UNEVEN = 3.0
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
    probabilities: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    classes: Sequence[str],
    groups: Clusters | None = None,
    shares: npt.NDArray[np.float64] | None = None,
) -> Metrics:
    """`summary` of probabilities float64[N, C] that are all at hand."""
    return summary(answers([probabilities], labels), classes, groups, shares)


def summary(
    found: Answers,
    classes: Sequence[str],
    groups: Clusters | None = None,
    shares: npt.NDArray[np.float64] | None = None,
) -> Metrics:
    """Everything `finetune evaluate` reports.

    Args:
        found: Of at least one image.
        classes: C names.
        groups: Which images go together, int64[N]; None where each is one by itself.
        shares: The classes' shares where the model is used, float64[C]; None for those measured.
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
        interval=accuracy_interval(correct, groups),
        balanced_accuracy=float(np.mean([r.recall for r in rows if r.n])),
        macro_f1=float(np.mean([r.f1 for r in rows if r.n])),
        log_loss=float(found.losses.mean()),
        calibration_error=_calibration_error(found.confidence, correct),
        majority_baseline=float(actual.max() / n),
        per_class=rows,
        confusion=tuple(map(tuple, dense.tolist())),
        cells=tuple((int(true), int(answer), int(v)) for true, answer, v in cells),
        balanced_interval=balanced_interval(found.labels, correct, groups),
        groups=None if groups is None else clusters.count(groups),
        at_shares=None if shares is None else _at_shares(found, correct, groups, shares),
    )


def _at_shares(
    found: Answers,
    correct: npt.NDArray[np.bool_],
    groups: Clusters | None,
    shares: npt.NDArray[np.float64],
) -> AtShares:
    """What counts by the shares of the classes; those without images are left out."""
    counts = np.bincount(found.labels, minlength=len(shares))
    weights = (shares / np.maximum(counts, 1))[found.labels]
    return AtShares(
        accuracy=float(np.average(correct, weights=weights)),
        interval=balanced_interval(found.labels, correct, groups, shares),
        log_loss=float(np.average(found.losses, weights=weights)),
    )


def accuracy_interval(
    correct: npt.NDArray[np.bool_], groups: Clusters | None = None
) -> tuple[float, float]:
    """95 % interval of an accuracy: Wilson's; by groups with as many images as tell the same.

    Wilson's interval at the effective size is that of Korn and Graubard 1998; measured in
    `benchmarks/group_coverage.py`.
    """
    hits, n = int(correct.sum()), len(correct)
    if groups is None:
        return wilson(hits, n)
    size = clusters.effective(correct.astype(np.float64) - hits / n, groups)
    return wilson(hits / n * size, size)


def interval_text(metrics: Metrics) -> str:
    """The interval of an accuracy in words, with what it is by: `95 % interval 86.0% to 98.8%`."""
    return _text(metrics.interval, metrics.groups)


def balanced_text(metrics: Metrics) -> str:
    """The same of the balanced accuracy; empty in runs of older versions."""
    found = metrics.balanced_interval
    return "" if found is None else _text(found, metrics.groups)


def _text(ends: tuple[float, float], groups: int | None) -> str:
    by = "" if groups is None else f" by {groups} groups"
    return f"95 % interval{by} {ends[0]:.1%} to {ends[1]:.1%}"


def balanced_interval(
    labels: npt.NDArray[np.int64],
    correct: npt.NDArray[np.bool_],
    groups: Clusters | None = None,
    shares: npt.NDArray[np.float64] | None = None,
) -> tuple[float, float]:
    """95 % interval of the mean of the classes' recalls, from Wilson's of each of them.

    How far each end of the recalls' intervals is from the recall adds up as standard errors do
    (MOVER, Zou and Donner 2008), which holds at few images of a class and near 0 and 1.

    Args:
        labels: int64[N]; the classes that have images count.
        correct: Which images are classified rightly, bool[N].
        groups: As for `summary`.
        shares: What each class's recall counts, float64[C]; None for all the same.
    """
    counts = np.bincount(labels)
    hits = np.bincount(labels, correct)
    present = np.flatnonzero(counts)
    sizes = counts.astype(np.float64)
    if groups is not None:
        sizes = _effective_sizes(labels, correct.astype(np.float64), groups)
    part = np.ones(len(counts)) if shares is None else shares
    whole = float(part[present].sum())
    below, above, total = 0.0, 0.0, 0.0
    for c in present.tolist():
        recall, size = float(hits[c] / counts[c]), float(sizes[c])
        low, high = wilson(recall * size, size)
        count = float(part[c]) / whole
        below += (count * (recall - low)) ** 2
        above += (count * (high - recall)) ** 2
        total += count * recall
    return max(0.0, total - math.sqrt(below)), min(1.0, total + math.sqrt(above))


def _effective_sizes(
    labels: npt.NDArray[np.int64], correct: npt.NDArray[np.float64], groups: Clusters
) -> npt.NDArray[np.float64]:
    """How many independent images would tell as much of each class's recall, float64[C].

    By the groups inside the class, or by those of all classes together where these say fewer: the
    recalls of classes that share groups go together.
    """
    counts = np.bincount(labels)
    recalls = np.bincount(labels, correct) / np.maximum(counts, 1)
    off = correct - recalls[labels]
    sizes = counts * clusters.effective(off / counts[labels], groups) / len(labels)
    for c in np.flatnonzero(counts).tolist():
        rows = np.flatnonzero(labels == c)
        inside = clusters.renumbered(groups, rows)
        if inside is not None:
            sizes[c] = min(sizes[c], clusters.effective(off[rows], inside))
    out: npt.NDArray[np.float64] = np.maximum(sizes, 1.0)
    return out


def wilson(correct: float, n: float) -> tuple[float, float]:
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
