"""How far a picture is from all that a model was trained on: one less the cosine to the nearest.

The nearest neighbor among features of unit length (Sun et al. 2022), taken as they are, not
centered: it was the best of a dozen ways with other data sets as unknowns, and the only one with
nothing to fit, so leaving out an image and its group is exact (docs/log.md, 2026-11-26). Marked is
what lies as far as hardly any held-out image (conformal p-values, Bates et al. 2023).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.heads.selective import spaced
from finetune.metrics.clusters import Clusters
from finetune.records.unsure import DistanceRow
from finetune.storage import arrays
from finetune.storage.arrays import Array, Rows

LEVELS = 127  # of int8; a cosine is then known to three digits


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Features int8[R, D] of training images, of any length; columns `start` to `stop` of rows."""

    reference: npt.NDArray[np.int8]
    start: int
    stop: int

    @property
    def digest(self) -> str:
        """What its distances depend on, as text."""
        return f"{hashlib.sha256(self.reference.tobytes()).hexdigest()} {self.start} {self.stop}"

    def distances(self, rows: Rows) -> Array:
        """Distances float64[N], 0 to 2, of what the head reads, float32[N, F]."""
        known = _unit(self.reference.astype(np.float32))
        out = np.empty(len(rows))
        for part, some in arrays.parts(rows):
            with np.errstate(invalid="ignore"):
                found = _unit(some[:, self.start : self.stop]) @ known.T
            out[part] = 1.0 - found.max(axis=1)
        return out


def fit(features: npt.NDArray[np.float32], start: int = 0) -> Detector:
    """The detector of training images.

    Args:
        features: float32[R, D].
        start: Their first column in the rows that it is to judge.
    """
    largest = np.maximum(np.abs(features).max(axis=1, keepdims=True), 1e-12)
    reference = np.rint(features / largest * LEVELS).astype(np.int8)
    return Detector(reference=reference, start=start, stop=start + features.shape[1])


def left_out(features: npt.NDArray[np.float32], groups: Clusters | None = None) -> Array:
    """Distances float64[N] of each image from the others, which are not of its group.

    Args:
        features: float32[N, D] of at least two groups.
        groups: Which images go together, int64[N]; None where each is one by itself.
    """
    known = _unit(fit(features).reference.astype(np.float32))
    cosines = _unit(features) @ known.T
    together = np.arange(len(features)) if groups is None else groups
    cosines[together[:, None] == together] = -1.0
    out: Array = 1.0 - cosines.max(axis=1).astype(np.float64)
    return out


def rows(distances: Array, weights: Array | None = None) -> tuple[DistanceRow, ...]:
    """From which distance on hardly any held-out image lies, from the farthest on.

    Args:
        distances: Of held-out images, float64[N].
        weights: By how much they count, float64[N] of mean one; None for all the same.
    """
    order = np.argsort(-distances, kind="stable")
    counted = np.ones(len(distances)) if weights is None else weights[order]
    # a new image, of which nothing is known, counts as much as the heaviest of these
    farther = np.concatenate([[0.0], np.cumsum(counted)[:-1]]) + counted.max()
    shares = farther / (counted.sum() + counted.max())
    return tuple(
        DistanceRow(refused=float(shares[i]), distance=float(distances[order[i]]))
        for i in spaced(len(order))
    )


def _unit(rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The rows at length one; those of nothing stay nothing."""
    # of a damaged network they may be too large to be squared, or no numbers: told elsewhere
    with np.errstate(invalid="ignore"):
        length = np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1, keepdims=True))
        out: npt.NDArray[np.float32] = (rows / np.maximum(length, 1e-12)).astype(np.float32)
    return out
