"""Probabilities of several labels and the truth to metrics with an interval; pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.metrics import clusters, ranking, resampled
from finetune.metrics.clusters import Clusters
from finetune.records.target import LabelScore, TargetMetrics

Array = npt.NDArray[np.float64]
# A draw of few images costs little; of very many, means move little and fewer draws tell as much.
MOST_DRAWN = 50_000_000
FEWEST_DRAWS = 200


def measure(
    probabilities: Array,
    truth: Array,
    names: Sequence[str],
    thresholds: Sequence[float],
    groups: Clusters | None = None,
) -> TargetMetrics:
    """Everything that is told of several labels.

    Labels that no image has count in micro F1 (as false alarms) and in the log loss, and in no mean
    over labels. F1 of a label is 2 TP / (2 TP + FP + FN).

    Args:
        probabilities: float64[N, K] of at least one image.
        truth: 0 or 1, float64[N, K].
        names: Of the K labels.
        thresholds: K probabilities from which labels are on.
        groups: Which images go together, int64[N]; None where each is one by itself.
    """
    on = probabilities >= np.asarray(thresholds, np.float64)
    has = truth > 0.5
    hits, called, actual = (on & has).sum(axis=0), on.sum(axis=0), has.sum(axis=0)
    precisions = ranking.average_precisions(probabilities, truth)
    rows = tuple(
        LabelScore(
            name=names[k],
            n=int(actual[k]),
            average_precision=float(precisions[k]) if actual[k] else None,
            precision=float(hits[k] / called[k]) if called[k] else None,
            recall=float(hits[k] / actual[k]) if actual[k] else None,
            f1=float(2 * hits[k] / (called[k] + actual[k])) if actual[k] else None,
            threshold=float(thresholds[k]),
        )
        for k in range(len(names))
    )
    known = actual > 0
    shares = actual[known] / len(truth)
    found = [r.f1 for r in rows if r.f1 is not None]
    both = int(called.sum() + actual.sum())
    clipped = np.clip(probabilities, 1e-15, 1 - 1e-15)
    return TargetMetrics(
        n=len(truth),
        baseline=float(shares.mean()) if known.any() else 0.0,
        map=ranking.mean_average_precision(probabilities, truth),
        map_interval=_interval(probabilities, truth, groups),
        micro_f1=float(2 * hits.sum() / both) if both else 1.0,
        macro_f1=float(np.mean(found)) if found else 0.0,
        exact=float((on == has).all(axis=1).mean()),
        log_loss=float(-np.where(has, np.log(clipped), np.log1p(-clipped)).mean()),
        per_label=rows,
        groups=None if groups is None else clusters.count(groups),
    )


def _interval(
    probabilities: Array, truth: Array, groups: Clusters | None
) -> tuple[float, float] | None:
    """95 % of the draws of images with replacement; None where no image has a label.

    The mean is over the labels that a draw has.
    """
    if not (truth > 0.5).any() or len(truth) < 2:
        return None
    count = int(min(resampled.INTERVAL_DRAWS, max(FEWEST_DRAWS, MOST_DRAWN / probabilities.size)))
    means = [
        ranking.mean_average_precision(probabilities[rows], truth[rows])
        for rows in resampled.draws(len(truth), groups, count)
    ]
    return resampled.interval(means)
