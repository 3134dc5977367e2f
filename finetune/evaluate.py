"""Probabilities + labels → metrics with intervals; pure numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.records import ClassMetrics, Floor, Metrics

CALIBRATION_BINS = 15  # Guo et al. 2017, section 4.1
Z95 = 1.959964


def measure(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], classes: Sequence[str]
) -> Metrics:
    """Everything `finetune evaluate` reports.

    Args:
        probabilities: float64[N, C], rows sum to one, N at least 1.
        labels: int64[N] in 0..C-1.
        classes: C names.
    """
    n, count = len(labels), len(classes)
    predicted = probabilities.argmax(axis=1)
    confusion = np.zeros((count, count), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    rows = [_class_metrics(name, confusion, i) for i, name in enumerate(classes)]
    present = [r for r in rows if r.n]
    right = int(np.trace(confusion))
    return Metrics(
        n=n,
        accuracy=right / n,
        interval=wilson(right, n),
        balanced_accuracy=float(np.mean([r.recall for r in present])),
        macro_f1=float(np.mean([r.f1 for r in present])),
        log_loss=float(_log_losses(probabilities, labels).mean()),
        calibration_error=calibration_error(probabilities, labels),
        majority_baseline=float(confusion.sum(axis=1).max() / n),
        per_class=tuple(rows),
        confusion=tuple(tuple(int(v) for v in row) for row in confusion),
    )


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % score interval of a proportion (Wilson 1927); honest at small n and near 0 and 1."""
    p = right / n
    centre = p + Z95**2 / (2 * n)
    half = Z95 * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n * n))
    scale = 1 + Z95**2 / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def calibration_error(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> float:
    """Expected calibration error: mean gap of confidence and accuracy over equal-width bins."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == labels
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    total = 0.0
    for b in np.unique(bins):
        inside = bins == b
        total += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(total)


def _class_metrics(name: str, confusion: npt.NDArray[np.int64], i: int) -> ClassMetrics:
    hits = int(confusion[i, i])
    actual, called = int(confusion[i].sum()), int(confusion[:, i].sum())
    return ClassMetrics(
        name=name,
        n=actual,
        precision=hits / called if called else None,
        recall=hits / actual if actual else None,
        f1=2 * hits / (actual + called) if actual else None,
    )


def floor(
    tuned: npt.NDArray[np.float64],
    probed: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    probe_name: str,
    how: str,
    *,
    allowed: float | None = None,
) -> Floor:
    """Keep the tuned model only if it beats the probe on the same images by more than noise.

    Where it is believed to lead for other reasons, short trials on few images need only not
    contradict: it is kept unless they are behind by more than is allowed.

    More than noise: one standard error of the paired difference, of the accuracy; or, where the
    accuracy is no lower, of the log loss, which uses more than right and wrong and so tells more on
    few images.

    Args:
        tuned: Calibrated probabilities float64[N, C] of the tuned model.
        probed: The same of the probe, fitted without these images.
        labels: int64[N].
        probe_name: What to call the probe.
        how: How the images were held out.
        allowed: How far behind short trials may be, in accuracy, as `strategy.weigh` has it; None
            where this is the real model.
    """
    right, losses = _judged((tuned, probed), labels)
    gain, gain_noise = _paired(right[0] - right[1])
    less, less_noise = _paired(losses[1] - losses[0])
    better = gain > gain_noise or (gain >= 0 and less > less_noise)
    kept = better if allowed is None else gain >= -allowed
    winner = "tuned model" if kept else "probe"
    reason = (
        f"The {winner} is kept: on {how}, the tuned model has {100 * right[0].mean():.1f} %, "
        f"the best probe ({probe_name}) {100 * right[1].mean():.1f} %, a difference of "
        f"{100 * gain:+.1f} ± {100 * gain_noise:.1f} points (log loss {-less:+.3f} ± "
        f"{less_noise:.3f})"
    )
    return Floor(
        kept="tuned" if kept else "probe",
        n=len(labels),
        tuned_accuracy=float(right[0].mean()),
        probe_accuracy=float(right[1].mean()),
        tuned_log_loss=float(losses[0].mean()),
        probe_log_loss=float(losses[1].mean()),
        reason=reason,
    )


def lead(
    tuned: npt.NDArray[np.float64],
    probed: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
) -> tuple[float, float, float, float]:
    """How much more accurate `tuned` is than `probed`, with its noise, and how much less its loss.

    Noise is the standard error of the paired difference; both are float64[N, C] probabilities of
    the same images.
    """
    right, losses = _judged((tuned, probed), labels)
    return *_paired(right[0] - right[1]), *_paired(losses[1] - losses[0])


def _judged(
    models: Sequence[npt.NDArray[np.float64]], labels: npt.NDArray[np.int64]
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Of each model: which images it has right, as 0 and 1, and its log loss on each."""
    right = [(p.argmax(axis=1) == labels).astype(float) for p in models]
    return right, [_log_losses(p, labels) for p in models]


def _log_losses(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """−log of each image's probability of its label, in nats; bounded where that rounds to 0."""
    chosen = probabilities[np.arange(len(labels)), labels]
    out: npt.NDArray[np.float64] = -np.log(np.maximum(chosen, 1e-15))
    return out


def _paired(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard error of the mean, of which one image alone is never more than noise."""
    n = len(differences)
    noise = float(differences.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return float(differences.mean()), max(noise, np.abs(differences).max() / n) * (1 + 1e-9)
