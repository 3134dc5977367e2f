"""Ridge regression on frozen features, fitted at a known penalty.

A head minimises, over one-hot labels y and features x scaled to a mean squared norm of one,

    Σ_i w_i ‖y_i − b − x_i W‖²  +  λ ‖W‖²

with w_i = 1 unless rows count differently (means are weighed by w, too), and its logits, divided by
a fitted temperature, go through a softmax.
Logistic regression cross-validated in folds was no better and 25 times slower (docs/log.md,
2026-11-23).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.heads import kernels
from finetune.storage import arrays
from finetune.storage.arrays import Array, Labels, Rows


@dataclass(frozen=True)
class Blocks:
    """Features grouped by stage: `rows` float32[N, D], one (start, stop) of columns per stage.

    `weights` float64[N] say how much a row counts; None where all count the same.
    """

    rows: Rows
    spans: tuple[tuple[int, int], ...]
    weights: Array | None = None


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features: scores = x @ weight.T + bias.

    `weight` float64[C, D], `bias` float64[C]; probabilities are softmax(scores / temperature).
    """

    weight: Array
    bias: Array
    temperature: float


def fit(blocks: Blocks, labels: Labels, classes: int, penalty: float, temperature: float) -> Head:
    """Fit a head on all rows at a known penalty; scaling is folded into its weights."""
    return fit_to(blocks, np.eye(classes)[labels], penalty, temperature)


def fit_to(blocks: Blocks, wanted: Array, penalty: float, temperature: float = 1.0) -> Head:
    """The same for any scores that are wanted, float64[N, C].

    One linear system whose side is the number of rows or of features, whichever is less.
    """
    factor, shift = _scaling(blocks)
    mean = kernels.mean(wanted, blocks.weights).astype(np.float64)
    root = None if blocks.weights is None else np.sqrt(blocks.weights)[:, None]
    off = wanted - mean if root is None else root * (wanted - mean)
    if blocks.rows.shape[1] >= len(blocks.rows):
        x = _scaled(blocks.rows[:], shift, factor)
        if root is not None:
            x = (x * root).astype(np.float32)
        inner = kernels.gram(x)
        inner[np.diag_indices_from(inner)] += penalty
        w = x.T @ np.linalg.solve(inner, off)
    else:
        inner, side = _products(blocks.rows, off, (factor, shift), penalty, root)
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


def left_out(
    blocks: Blocks, labels: Labels, classes: int, penalty: float, groups: Sequence[str]
) -> Array:
    """What a fit without an image and its group says of it, float64[N, C], before temperature.

    Exact for ridge while the scaling is taken as fixed, as in `cross_validation`, but for any
    number of images: the one matrix that is inverted has as many sides as there are images or
    features, whichever is less. All count the same: `blocks` have no weights.

    Args:
        blocks: The features of all images.
        labels: int64[N] in 0..classes-1.
        classes: C.
        penalty: As for `fit`.
        groups: One for each image; equal ones are left out together.
    """
    factor, shift = _scaling(blocks)
    count, hot = len(labels), np.eye(classes)[labels]
    target = hot - hot.mean(axis=0)
    missed, own = np.empty_like(target), np.empty(count)
    if blocks.rows.shape[1] >= count:
        inner = kernels.gram(_scaled(blocks.rows[:], shift, factor))
        inner[np.diag_indices_from(inner)] += penalty
        inverse = np.linalg.inv(inner)
        missed[:] = penalty * inverse @ target
        own[:] = 1 - penalty * inverse.diagonal()

        def inside(rows: Labels) -> Array:
            return np.eye(len(rows)) - penalty * inverse[np.ix_(rows, rows)]
    else:
        inner, side = _products(blocks.rows, target, (factor, shift), penalty)
        inverse = np.linalg.inv(inner)
        weight = inverse @ side
        for part, raw in arrays.parts(blocks.rows):
            x = _scaled(raw, shift, factor).astype(np.float64)
            missed[part] = target[part] - x @ weight
            own[part] = ((x @ inverse) * x).sum(axis=1)

        def inside(rows: Labels) -> Array:
            x = _scaled(blocks.rows[rows], shift, factor).astype(np.float64)
            return x @ inverse @ x.T

    residual = missed.copy()
    missed /= np.maximum(1 - own - 1 / count, 1e-9)[:, None]
    for some in together(groups):
        left = (1 + 1e-9) * np.eye(len(some)) - inside(some) - 1 / count
        missed[some] = np.linalg.solve(left, residual[some])
    out: Array = hot - missed
    return out


def scaler(blocks: Blocks) -> Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]:
    """What brings raw features float32[M, D] about their mean, and stages to the same weight."""
    factor, shift = _scaling(blocks)
    return lambda rows: _scaled(rows, shift, factor)


def together(groups: Sequence[str]) -> list[Labels]:
    """The rows of each group that has several."""
    members: dict[str, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    return [np.array(rows) for rows in members.values() if len(rows) > 1]


def _products(
    rows: Rows,
    target: Array,
    scaling: tuple[Array, Array],
    penalty: float,
    root: Array | None = None,
) -> tuple[Array, Array]:
    """XᵀX + λI float64[D, D] and XᵀY float64[D, C] of scaled rows, a part at a time.

    Rows are multiplied by `root` float64[N, 1], as the target was.
    """
    factor, shift = scaling
    inner = np.diag(np.full(len(factor), penalty))
    side = np.zeros((len(factor), target.shape[1]))
    for part, some in arrays.parts(rows):
        x = _scaled(some, shift, factor)
        if root is not None:
            x = (x * root[part]).astype(np.float32)
        inner += x.T @ x
        side += x.T @ target[part]
    return inner, side


def _scaling(blocks: Blocks) -> tuple[Array, Array]:
    """Per-feature factor and shift, float64[D] each; the same scaling as that of `kernels`."""
    count, width = blocks.rows.shape
    shift, variance, w = np.zeros(width), np.zeros(width), blocks.weights
    share = None if w is None else w / w.sum()
    for part, rows in arrays.parts(blocks.rows):
        shift += rows.sum(axis=0, dtype=np.float64) / count if share is None else share[part] @ rows
    for part, rows in arrays.parts(blocks.rows):
        squares = np.square(rows - shift)
        variance += squares.sum(axis=0) / count if share is None else share[part] @ squares
    factor = np.empty(width)
    for start, stop in blocks.spans:
        norm = np.sqrt(variance[start:stop].sum())
        factor[start:stop] = 1.0 / max(float(norm), 1e-12)
    return factor / np.sqrt(len(blocks.spans)), shift


def _scaled(rows: npt.NDArray[np.float32], shift: Array, factor: Array) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = ((rows - shift) * factor).astype(np.float32)
    return out
