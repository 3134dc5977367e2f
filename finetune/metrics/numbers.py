"""Answers in numbers and the truth to metrics with intervals; pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.metrics import clusters, resampled
from finetune.metrics.clusters import Clusters
from finetune.records.target import NumberScore, TargetMetrics

Array = npt.NDArray[np.float64]
Ends = tuple[float, float]


def measure(
    values: Array,
    truth: Array,
    names: Sequence[str],
    train_mean: Array,
    groups: Clusters | None = None,
) -> TargetMetrics:
    """Everything that is told of numbers, each in its own unit; means over several.

    R² is 1 − Σ(y − ŷ)² / Σ(y − ȳ)², with the mean ȳ of these images, as scikit-learn has it.

    Args:
        values: The answers, float64[N, K] of at least one image.
        truth: float64[N, K].
        names: Of the K numbers.
        train_mean: Of the images that were learned from, float64[K].
        groups: Which images go together, int64[N]; None where each is one by itself.
    """
    mean = np.asarray(train_mean, np.float64)
    squares, errors = np.square(values - truth), np.abs(values - truth)
    base = np.abs(truth - mean).mean(axis=0)
    r2 = _r2(squares, truth)
    rows = tuple(
        NumberScore(
            name=names[k],
            r2=float(r2[k]) if np.isfinite(r2[k]) else None,
            mae=float(errors[:, k].mean()),
            rmse=float(np.sqrt(squares[:, k].mean())),
            mean=float(truth[:, k].mean()),
            deviation=float(truth[:, k].std()),
            baseline_mae=float(base[k]),
        )
        for k in range(len(names))
    )
    ends = _intervals(squares, errors, truth, groups)
    return TargetMetrics(
        n=len(truth),
        baseline=float(base.mean()),
        r2=_mean(r2),
        r2_interval=ends[0],
        mae=float(errors.mean()),
        mae_interval=ends[1],
        rmse=float(np.sqrt(squares.mean(axis=0)).mean()),
        rmse_interval=ends[2],
        per_number=rows,
        groups=None if groups is None else clusters.count(groups),
    )


def _r2(squares: Array, truth: Array) -> Array:
    """Of each number, float64[K]; NaN where all images have the same."""
    total = np.square(truth - truth.mean(axis=0)).sum(axis=0)
    out: Array = np.where(
        total > 0, 1 - squares.sum(axis=0) / np.where(total > 0, total, 1), np.nan
    )
    return out


def _mean(found: Array) -> float | None:
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else None


def _intervals(
    squares: Array, errors: Array, truth: Array, groups: Clusters | None
) -> tuple[Ends | None, Ends | None, Ends | None]:
    """95 % of the draws of images with replacement: of R², MAE and RMSE."""
    if len(truth) < 2:
        return None, None, None
    drawn: list[tuple[float | None, float, float]] = [
        (
            _mean(_r2(squares[rows], truth[rows])),
            float(errors[rows].mean()),
            float(np.sqrt(squares[rows].mean(axis=0)).mean()),
        )
        for rows in resampled.draws(len(truth), groups, resampled.INTERVAL_DRAWS)
    ]
    r2, mae, rmse = (
        resampled.interval([v for row in drawn if (v := row[place]) is not None])
        for place in range(3)
    )
    return r2, mae, rmse
