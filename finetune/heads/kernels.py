"""Centered kernels of each stage's features, which add up to those of several stages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from finetune.storage.arrays import Array


def stage_kernels(
    rows: npt.NDArray[np.float32], layout: Mapping[str, tuple[int, int]]
) -> dict[str, Array]:
    """Centred kernel of each stage's features, float64[N, N], its diagonal one on average.

    Within a stage the network's own relative scales are kept (standardising them cost 1.7 points on
    average, docs/log.md 2026-11-23); stages are brought to the same mean squared norm, so that wide
    ones do not drown narrow ones.
    """
    return {
        stage: unit(gram(rows[:, start:stop] - rows[:, start:stop].mean(axis=0)))
        for stage, (start, stop) in layout.items()
    }


def combined(known: Mapping[str, Array], taps: Sequence[str]) -> Array:
    """The kernel of several stages side by side, float64[N, N]."""
    total: Array = np.mean([known[tap] for tap in taps], axis=0)
    return total


def gram(x: npt.NDArray[np.float32]) -> Array:
    """Inner products of rows float32[N, D], float64[N, N]."""
    return (x @ x.T).astype(np.float64)


def unit(kernel: Array) -> Array:
    """Divided by its mean diagonal, which brings the rows to a mean squared norm of one."""
    scaled: Array = kernel / max(float(np.trace(kernel)) / len(kernel), 1e-12)
    return scaled


def centered(kernel: Array) -> Array:
    """The kernel of the same rows with their mean taken off."""
    rows = kernel - kernel.mean(axis=0)
    out: Array = rows - rows.mean(axis=1, keepdims=True)
    return out
