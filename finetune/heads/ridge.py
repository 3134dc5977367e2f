"""Ridge regression on frozen features, fitted at a known penalty.

A head minimises, over one-hot labels y and features x scaled to a mean squared norm of one,

    Σ_i ‖y_i − b − x_i W‖²  +  λ ‖W‖²

and its logits, divided by a fitted temperature, go through a softmax.
Logistic regression cross-validated in folds was no better and 25 times slower (docs/log.md,
2026-11-23).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.heads import kernels
from finetune.storage import arrays
from finetune.storage.arrays import Array, Labels, Rows


@dataclass(frozen=True)
class Blocks:
    """Features grouped by stage: `rows` float32[N, D], one (start, stop) of columns per stage."""

    rows: Rows
    spans: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features: scores = x @ weight.T + bias.

    `weight` float64[C, D], `bias` float64[C]; probabilities are softmax(scores / temperature).
    """

    weight: Array
    bias: Array
    temperature: float


def fit(blocks: Blocks, labels: Labels, classes: int, penalty: float, temperature: float) -> Head:
    """Fit a head on all rows at a known penalty; scaling is folded into its weights.

    One linear system whose side is the number of rows or of features, whichever is less.
    """
    factor, shift = _scaling(blocks)
    hot = np.eye(classes)[labels]
    mean = hot.mean(axis=0)
    if blocks.rows.shape[1] >= len(blocks.rows):
        x = _scaled(blocks.rows[:], shift, factor)
        inner = kernels.gram(x)
        inner[np.diag_indices_from(inner)] += penalty
        w = x.T @ np.linalg.solve(inner, hot - mean)
    else:
        inner = np.diag(np.full(len(factor), penalty))
        side = np.zeros((len(factor), classes))
        for part, rows in arrays.parts(blocks.rows):
            x = _scaled(rows, shift, factor)
            inner += x.T @ x
            side += x.T @ (hot[part] - mean)
        w = np.linalg.solve(inner, side)
    weight = (w * factor[:, None]).T
    return Head(weight=weight, bias=mean - weight @ shift, temperature=temperature)


def stored(head: Head) -> Head:
    """The head as a run keeps it, in float32, so that a test measures what is kept."""
    weight, bias = head.weight.astype(np.float32), head.bias.astype(np.float32)
    return Head(weight.astype(np.float64), bias.astype(np.float64), head.temperature)


def score(head: Head, rows: Rows) -> Array:
    """Scores float64[N, C] before temperature, from raw features float32[N, D]."""
    out = np.empty((len(rows), len(head.bias)))
    for part, some in arrays.parts(rows):
        out[part] = some.astype(np.float64) @ head.weight.T + head.bias
    return out


def _scaling(blocks: Blocks) -> tuple[Array, Array]:
    """Per-feature factor and shift, float64[D] each; the same scaling as that of `kernels`."""
    count, width = blocks.rows.shape
    shift, variance = np.zeros(width), np.zeros(width)
    for _, rows in arrays.parts(blocks.rows):
        shift += rows.sum(axis=0, dtype=np.float64) / count
    for _, rows in arrays.parts(blocks.rows):
        variance += np.square(rows - shift).sum(axis=0) / count
    factor = np.empty(width)
    for start, stop in blocks.spans:
        norm = np.sqrt(variance[start:stop].sum())
        factor[start:stop] = 1.0 / max(float(norm), 1e-12)
    return factor / np.sqrt(len(blocks.spans)), shift


def _scaled(rows: npt.NDArray[np.float32], shift: Array, factor: Array) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = ((rows - shift) * factor).astype(np.float32)
    return out
