"""Centered kernels of each stage's features, which add up to those of several stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from finetune.storage.arrays import Array


def stage_kernels(
    rows: npt.NDArray[np.float32],
    layout: Mapping[str, tuple[int, int]],
    weights: Array | None = None,
) -> dict[str, Array]:
    """Centred kernel of each stage's features, float64[N, N], its diagonal one on average.

    Within a stage the network's own relative scales are kept (standardising them cost 1.7 points on
    average, docs/log.md 2026-11-23); stages are brought to the same mean squared norm, so that wide
    ones do not drown narrow ones. Means are weighed by `weights` float64[N] where rows count
    differently.
    """
    return {
        stage: unit(gram(rows[:, a:b] - mean(rows[:, a:b], weights).astype(rows.dtype)), weights)
        for stage, (a, b) in layout.items()
    }


def mean(rows: npt.NDArray[np.floating], weights: Array | None = None) -> npt.NDArray[np.floating]:
    """The mean of rows [N, D], of which each counts by its weight float64[N]."""
    out: npt.NDArray[np.floating] = (
        rows.mean(axis=0) if weights is None else (weights / weights.sum()) @ rows
    )
    return out


def combined(known: Mapping[str, Array], taps: Sequence[str]) -> Array:
    """The kernel of several stages side by side, float64[N, N]."""
    total: Array = np.mean([known[tap] for tap in taps], axis=0)
    return total


def gram(x: npt.NDArray[np.float32]) -> Array:
    """Inner products of rows float32[N, D], float64[N, N]."""
    return (x @ x.T).astype(np.float64)


def unit(kernel: Array, weights: Array | None = None) -> Array:
    """Divided by its mean diagonal, which brings the rows to a mean squared norm of one."""
    norm = float(np.trace(kernel)) / len(kernel)
    if weights is not None:
        norm = float(weights @ kernel.diagonal() / weights.sum())
    scaled: Array = kernel / max(norm, 1e-12)
    return scaled


def centered(kernel: Array, weights: Array | None = None) -> Array:
    """The kernel of the same rows with their mean taken off."""
    rows = kernel - mean(kernel, weights)
    out: Array = rows - (
        rows.mean(axis=1, keepdims=True) if weights is None else mean(rows.T, weights)[:, None]
    )
    return out
