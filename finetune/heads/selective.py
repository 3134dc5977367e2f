"""Answers with doubt, from held-out images: thresholds of confidence, and sets of labels.

Confidence: of all thresholds those are kept at which fewer answers mean fewer wrong ones (the
risk-coverage curve, El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017). Sets: split conformal
prediction with the probability as score (LAC, Sadinle et al. 2019; Angelopoulos and Bates 2021).
Where n images were held out, the k-th largest probability of a true label is undercut by that of a
new image's with probability 1 − k/(n+1), if new images are drawn as these were.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetune.metrics import classification, clusters
from finetune.records.unsure import MOST_ROWS, ConfidenceRow, SetRow
from finetune.storage.arrays import Array, Labels


@dataclass(frozen=True, kw_only=True)
class HeldOut:
    """Calibrated probabilities float64[N, C] of images that the model did not learn from.

    `groups` int64[N] says which go together (None: each by itself), `weights` float64[N] of mean
    one by how much images count where classes will have other shares.
    """

    likely: Array
    labels: Labels
    groups: clusters.Clusters | None = None
    weights: Array | None = None

    @property
    def counted(self) -> Array:
        """The weights, or ones."""
        return np.ones(len(self.labels)) if self.weights is None else self.weights


def confidence_rows(held: HeldOut) -> tuple[ConfidenceRow, ...]:
    """Thresholds from all answered on, each with a smaller bound of the error than before it."""
    sure = held.likely.max(axis=1)
    wrong = held.likely.argmax(axis=1) != held.labels
    order = np.argsort(-sure, kind="stable")
    counted = held.counted[order]
    seen, missed = np.cumsum(counted), np.cumsum(counted * wrong[order])
    bounds = (missed + 1) / (seen + 1)
    # equal confidences are answered together: only the last of them is a threshold
    last = np.append(np.flatnonzero(np.diff(sure[order])), len(sure) - 1)
    rows: list[ConfidenceRow] = []
    least = np.inf
    for place in last[::-1].tolist():
        error = round(float(missed[place] / seen[place]), 6)
        if bounds[place] >= least or (rows and error >= rows[-1].error):
            continue
        least = float(bounds[place])
        some = order[: place + 1]
        rows.append(
            ConfidenceRow(
                min_confidence=0.0 if not rows else _down(float(sure[order[place]])),
                answered=round(min(1.0, float(seen[place] / seen[-1])), 6),
                error=error,
                interval=interval(wrong[some], held.counted[some], held.groups, some),
                bound=_up(least),
            )
        )
    return tuple(rows[i] for i in _thinned(len(rows)))


def set_rows(held: HeldOut) -> tuple[SetRow, ...]:
    """How probable a label has to be for each coverage that so many images can vouch for."""
    true = held.likely[np.arange(len(held.labels)), held.labels]
    order = np.argsort(-true, kind="stable")
    counted = held.counted[order]
    # a new image, of which nothing is known, counts as much as the heaviest of these
    covered = np.cumsum(counted) / (counted.sum() + counted.max())
    rows = [
        SetRow(coverage=_down(float(c)), min_probability=_down(float(p)))
        for c, p in zip(covered, true[order], strict=True)
    ]
    # dense where coverage is large, and where it is asked for
    return tuple(rows[-1 - i] for i in spaced(len(rows))[::-1])


def interval(
    wrong: np.ndarray, counted: Array, groups: clusters.Clusters | None, rows: Labels
) -> tuple[float, float]:
    """95 % interval of the share of wrong answers among some images, Wilson's.

    At as many images as tell the same where they come in groups, or count unequally (Kish 1965).

    Args:
        wrong: Of these images, bool[M].
        counted: Their weights, float64[M].
        groups: Of all images, int64[N].
        rows: Which of all these are, int64[M].
    """
    share = float(np.average(wrong, weights=counted))
    size = float(counted.sum() ** 2 / np.square(counted).sum())
    some = clusters.renumbered(groups, rows)
    if some is not None:
        size *= clusters.effective(wrong - share, some) / len(rows)
    low, high = classification.wilson(share * max(size, 1.0), max(size, 1.0))
    return round(low, 6), round(high, 6)


def _down(value: float) -> float:
    """The value with six digits, not above it: what was just answered still is."""
    return float(np.floor(value * 1e6) / 1e6)


def _up(value: float) -> float:
    """The value with six digits, not below it."""
    return -_down(-value)


def _thinned(count: int) -> list[int]:
    """At most `MOST_ROWS` of so many rows, first and last among them."""
    ranks = np.linspace(0, count - 1, min(count, MOST_ROWS)).round().astype(int)
    return [int(rank) for rank in np.unique(ranks)]


def spaced(count: int) -> list[int]:
    """The same, the first of them all and later ones ever rarer."""
    first = np.arange(min(count, MOST_ROWS // 2))
    later = np.geomspace(1, count, MOST_ROWS // 2).round().astype(int) - 1
    return [int(rank) for rank in np.union1d(first, later)]
