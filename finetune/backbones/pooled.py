"""What each place of a map gives to a score that is linear in its pooled features; torch-free.

A score is w · pooled(f) + bias, where f is float[F,H,W] and `pooled` one of four ways. Each is here
written as a mean over places, so that a score is the mean of a map plus the bias: the class
activation map of Zhou et al. 2016, for more than the mean that they pool by.

    mean     w_k f_k(x,y)
    root     w_k f_k(x,y) / √p_k                   p_k is the mean, and √p_k the feature
    spread   w_k (f_k(x,y) - p_k)² / σ_k           σ_k is the feature
    grid     w_qk f_k(x,y) · H·W / (places of q)   inside each quarter q, nothing between them

The root and the spread share what a channel gives among the places that made it so large: their
denominators count as constants, as those of norms do in Ali et al. 2022 ("XAI for Transformers").
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from finetune.records.explanation import Method
from finetune.storage.arrays import Array

Pooling = Literal["mean", "root", "spread", "grid"]
POOLINGS: tuple[Pooling, ...] = ("mean", "root", "spread", "grid")
Map = npt.NDArray[np.floating]
MOST_PLACES = 28  # on a side of a map: what early layers say of smaller places is texture
_TINY = 1e-12


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """Some of the features that a head reads: their columns, their pooling, the map before it."""

    columns: slice
    how: Pooling
    maps: Map


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What speaks for a class in one picture, and where.

    `logits` float64[C] are before temperature, `label` is the class, `places` float64[H,W] what
    each place gives: with the method `cam` their mean plus `bias` is the logit.
    """

    logits: Array
    label: int
    bias: float
    places: Array
    method: Method


def pooled(how: Pooling, maps: Map) -> Array:
    """The features of maps float[F,H,W]: float64[F], of a grid four times as many.

    The same as torch computes in `stages`.
    """
    x = maps.astype(np.float64)
    mean: Array = x.mean((1, 2))
    if how == "mean":
        return mean
    if how == "root":
        root: Array = np.sqrt(mean.clip(min=0))
        return root
    if how == "spread":
        spread: Array = x.std((1, 2))
        return spread
    return np.concatenate([x[:, rows, columns].mean((1, 2)) for rows, columns in _quarters(maps)])


def evidence(how: Pooling, maps: Map, weight: Array) -> Array:
    """What each place gives, float64[H,W]; the mean is weight · pooled(how, maps).

    Args:
        how: The pooling.
        maps: float[F,H,W].
        weight: Of the pooled features, float64[F] or float64[4F].
    """
    x = maps.astype(np.float64)
    if how == "mean":
        return _weighted(weight, x)
    if how == "grid":
        out = np.zeros(x.shape[1:])
        for part, (rows, columns) in zip(np.split(weight, 4), _quarters(maps), strict=True):
            quarter = x[:, rows, columns]
            scale = out.size / quarter[0].size
            out[rows, columns] += scale * _weighted(part, quarter)
        return out
    feature = pooled(how, maps)
    each = np.divide(weight, feature, out=np.zeros_like(feature), where=feature > _TINY)
    if how == "root":
        return _weighted(each, x)
    return _weighted(each, np.square(x - x.mean((1, 2), keepdims=True)))


def summed(leaves: Iterable[Leaf], weight: Array) -> Array:
    """What each place gives through all features, float64[H,W] of the finest map's size.

    Args:
        leaves: All that the head reads.
        weight: Of one class, float64[D].
    """
    found = [evidence(leaf.how, leaf.maps, weight[leaf.columns]) for leaf in leaves]
    return added(found)


def added(maps: Iterable[Array]) -> Array:
    """The sum of maps float64[H,W] of several sizes, as fine as the finest but for a bound."""
    each = list(maps)
    height, width = (min(MOST_PLACES, max(m.shape[axis] for m in each)) for axis in (0, 1))
    out: Array = sum((resampled(m, height, width) for m in each), np.zeros((height, width)))
    return out


def resampled(values: Array, height: int, width: int) -> Array:
    """A map float64[H,W] at another size, by area: the mean stays the same."""
    return _overlaps(values.shape[0], height) @ values @ _overlaps(values.shape[1], width).T


def _weighted(weight: Array, x: Array) -> Array:
    out: Array = np.tensordot(weight, x, 1)
    return out


def _quarters(maps: Map) -> list[tuple[slice, slice]]:
    """Rows and columns of each; the middle of an odd number belongs to none."""
    rows, columns = (
        (slice(0, length // 2), slice(length - length // 2, length)) for length in maps.shape[1:]
    )
    return list(itertools.product(rows, columns))


def _overlaps(length: int, wanted: int) -> Array:
    """Which share of each wanted cell lies in each cell there is, float64[wanted, length]."""
    edges, cells = np.arange(wanted + 1) * length / wanted, np.arange(length)
    low = np.maximum(edges[:-1, None], cells)
    high = np.minimum(edges[1:, None], cells + 1)
    out: Array = (high - low).clip(min=0) * wanted / length
    return out
