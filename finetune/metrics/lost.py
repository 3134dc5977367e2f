"""What a coarser copy of a model loses, in the metric of its target, with a paired interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from finetune.metrics import paired, ranking, resampled
from finetune.metrics.clusters import Clusters

Array = npt.NDArray[np.float64]
Measure = Literal["accuracy", "map", "rmse"]
_LEAST = 1e-12  # an RMSE below it is none: of models that are exact there is no ratio


@dataclass(frozen=True, kw_only=True)
class Lost:
    """A loss as a fraction of 1, and its 95 % interval.

    Of `accuracy` and `map` it is that of the finer model less that of the coarser, of `rmse` the
    rise as a share of the finer model's. `score` is the finer model's, `same` the share of images
    that both answer alike.
    """

    metric: Measure
    score: float
    loss: float
    interval: tuple[float, float]
    same: float


def of_classes(
    full: Array, less: Array, labels: npt.NDArray[np.int64], groups: Clusters | None
) -> Lost:
    """Of probabilities of classes float64[N, C] and the truth int64[N]."""
    correct, _ = paired.judged((full, less), labels)
    loss, low, high = paired.interval(correct[0] - correct[1], groups)
    return Lost(
        metric="accuracy",
        score=float(correct[0].mean()),
        loss=loss,
        interval=(low, high),
        same=float((full.argmax(axis=1) == less.argmax(axis=1)).mean()),
    )


def of_labels(
    full: Array, less: Array, truth: Array, thresholds: Sequence[float], groups: Clusters | None
) -> Lost:
    """Of probabilities of labels float64[N, K] and the truth, 0 or 1 float64[N, K]."""
    score = ranking.mean_average_precision

    def loss(rows: npt.NDArray[np.int64]) -> float:
        return score(full[rows], truth[rows]) - score(less[rows], truth[rows])

    least = np.asarray(thresholds, np.float64)
    found, ends = _drawn(loss, len(truth), groups)
    return Lost(
        metric="map",
        score=score(full, truth),
        loss=found,
        interval=ends,
        same=float(((full >= least) == (less >= least)).all(axis=1).mean()),
    )


def of_numbers(full: Array, less: Array, truth: Array, groups: Clusters | None) -> Lost:
    """Of numbers float64[N, K]: the rise of RMSE, its mean over several, whose units may differ."""

    def errors(values: Array, rows: npt.NDArray[np.int64]) -> Array:
        found: Array = np.sqrt(np.square(values[rows] - truth[rows]).mean(axis=0))
        return found

    def loss(rows: npt.NDArray[np.int64]) -> float:
        before = errors(full, rows)
        return float(((errors(less, rows) - before) / np.maximum(before, _LEAST)).mean())

    found, ends = _drawn(loss, len(truth), groups)
    return Lost(
        metric="rmse",
        score=float(errors(full, np.arange(len(truth))).mean()),
        loss=found,
        interval=ends,
        same=float((full == less).all(axis=1).mean()),
    )


def _drawn(
    loss: Callable[[npt.NDArray[np.int64]], float], images: int, groups: Clusters | None
) -> tuple[float, tuple[float, float]]:
    """A loss on all rows, and the 95 % of its draws of images (or groups) with replacement."""
    found = loss(np.arange(images))
    drawn = [loss(rows) for rows in resampled.draws(images, groups, resampled.INTERVAL_DRAWS)]
    return found, resampled.interval(drawn) or (found, found)
