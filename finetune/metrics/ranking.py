"""How well scores rank the images that have a label before those that have not."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def average_precisions(scores: Array, truth: Array) -> Array:
    """Average precision of each label, float64[K]; NaN where no image has it.

    Σ (R_n − R_{n−1}) P_n over the thresholds, equal scores at once, as scikit-learn has it.

    Args:
        scores: float64[N, K], higher where a label is likelier.
        truth: 0 or 1, float64[N, K].
    """
    out = np.full(truth.shape[1], np.nan)
    for k in range(truth.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        ranked, hits = scores[order, k], np.cumsum(truth[order, k])
        if not len(hits) or hits[-1] == 0:
            continue
        ends = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True))
        precision = hits[ends] / (ends + 1)
        gained = np.diff(hits[ends], prepend=0.0) / hits[-1]
        out[k] = float((gained * precision).sum())
    return out


def mean_average_precision(scores: Array, truth: Array) -> float:
    """The mean over the labels that some image has; 0 where none has any."""
    found = average_precisions(scores, truth)
    known = found[np.isfinite(found)]
    return float(known.mean()) if len(known) else 0.0
