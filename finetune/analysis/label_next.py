"""Which images are best labelled next: where the model is likely wrong, and not all alike.

Each image counts by the calibrated probability that its answer is wrong, and k-means by these
weights gives as many groups as images are wanted (Zhdanov 2019), of each the one
nearest to the middle for its doubt: with the least squared distance over that probability.
While the model knows little all images count alike, and variety decides, which is what helps then;
the better it is, the more its doubts decide (Gupte et al. 2024, arXiv 2401.14555, on features of
large networks). Nothing is to be tuned. Measured in `benchmarks/label_next.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.storage.arrays import Array, Floats, Labels

# Images whose features are held, whatever there is: 26 MB of 1,280 features.
MOST = 5000
ROUNDS = 10  # of k-means; more moved no centers that mattered


class Candidates:
    """Images among which to choose, taken a few at a time: of very many some are drawn.

    Those with the largest u^(1/w) are kept, u uniform and w the weight, which is a draw by weights
    without replacement in one pass (Efraimidis and Spirakis 2006).
    """

    def __init__(self, most: int = MOST) -> None:
        self.most = most
        self._rng = np.random.default_rng(0)
        self._drawn = False
        self._parts: list[tuple[Labels, Floats, Array, Array]] = []

    def add(self, numbers: Labels, features: Floats, wrong: Array) -> None:
        """Take some more.

        Args:
            numbers: What the caller knows them by, int64[n].
            features: What the classifier reads, float32[n, D].
            wrong: The calibrated probability that its answer is wrong, float64[n].
        """
        wrong = np.maximum(wrong, 1e-9)
        keys = np.log(self._rng.random(len(wrong))) / wrong
        self._parts.append((numbers, directions(features), wrong, keys))
        if sum(len(part[0]) for part in self._parts) > 2 * self.most:
            self._prune()

    def groups(self, count: int) -> list[Group]:
        """So many groups of them, or as many as there are images; as `grouped`."""
        if not self._parts:
            return []
        self._prune()
        numbers, features, weights, _ = self._parts[0]
        # those that were drawn by their weights count alike: else weights would count twice
        masses = np.ones(len(weights)) if self._drawn else weights
        found = grouped(features, masses, weights, count)
        return [Group(tuple(numbers[list(g.members)].tolist()), g.weight) for g in found]

    def _prune(self) -> None:
        """Keep `most` of them in one part."""
        numbers, features, weights, keys = (
            np.concatenate([part[i] for part in self._parts]) for i in range(4)
        )
        if len(numbers) > self.most:
            self._drawn = True
            kept = np.sort(np.argpartition(-keys, self.most)[: self.most])
            numbers, features, weights, keys = (x[kept] for x in (numbers, features, weights, keys))
        self._parts = [(numbers, features, weights, keys)]


@dataclass(frozen=True)
class Group:
    """Images that are alike, the one that stands for them first, and the sum of their weights."""

    members: tuple[int, ...]
    weight: float


def grouped(features: Floats, weights: Array, doubt: Array, count: int) -> list[Group]:
    """Images in groups of like ones, the group that weighs most first.

    Args:
        features: Directions float32[N, D] of length one.
        weights: How much each counts, float64[N], above zero.
        doubt: How likely the model is wrong, float64[N], above zero: who stands for a group.
        count: Groups; fewer where there are fewer images.
    """
    count = min(count, len(features))
    centers = _means(features, weights, _first(features, weights, count))
    distance = _distances(features, centers)
    nearest = distance.argmin(axis=1)
    found = []
    for group in range(count):
        rows = np.flatnonzero(nearest == group)
        if len(rows):
            # by distance alone images came first that the model is sure of, and on nine of eleven
            # sets that was worse (docs/log.md, 2026-11-26)
            order = rows[np.argsort(distance[rows, group] / doubt[rows], kind="stable")]
            found.append(Group(tuple(order.tolist()), float(weights[rows].sum())))
    return sorted(found, key=lambda g: -g.weight)


def _first(features: Floats, weights: Array, count: int) -> Floats:
    """Centers to begin with, float32[count, D]: far from each other by chance (k-means++)."""
    rng = np.random.default_rng(0)
    chosen = [int(rng.choice(len(features), p=weights / weights.sum()))]
    left = _distances(features, features[chosen])[:, 0]
    while len(chosen) < count:
        chance = left * weights
        chance[chosen] = 0
        if chance.sum() <= 0:  # all that is left are copies
            break
        chosen.append(int(rng.choice(len(features), p=chance / chance.sum())))
        left = np.minimum(left, _distances(features, features[chosen[-1:]])[:, 0])
    return features[chosen]


def _means(features: Floats, weights: Array, centers: Floats) -> Floats:
    """The centers after some rounds."""
    heavy = (features * weights[:, None]).astype(np.float32)
    for _ in range(ROUNDS):
        nearest = _distances(features, centers).argmin(axis=1)
        hot = np.zeros((len(centers), len(features)), np.float32)
        hot[nearest, np.arange(len(features))] = 1
        mass = hot @ weights
        moved = (hot @ heavy) / np.maximum(mass, 1e-12)[:, None]
        centers = np.where((mass > 0)[:, None], moved, centers).astype(np.float32)
    return centers


def _distances(features: Floats, centers: Floats) -> Array:
    """Squared distances of directions float32[N, D] and centers float32[K, D], float64[N, K]."""
    squares = np.square(centers).sum(axis=1)
    out: Array = np.maximum(1 + squares - 2 * (features @ centers.T), 0).astype(np.float64)
    return out


def directions(features: Floats) -> npt.NDArray[np.float32]:
    """Rows brought to length one."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    out: npt.NDArray[np.float32] = (features / np.maximum(length, 1e-12)).astype(np.float32)
    return out
