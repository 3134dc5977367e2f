"""How sure the difference of a metric is that is no mean over images: by the bootstrap."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from finetune.metrics.clusters import Clusters

Array = npt.NDArray[np.float64]
DRAWS = 200  # the standard deviation of so many is known to 5 %
INTERVAL_DRAWS = 1000  # for a percentile interval (Efron and Tibshirani 1993, chapter 13)


def draws(
    images: int, groups: Clusters | None, count: int = DRAWS
) -> Iterator[npt.NDArray[np.int64]]:
    """Rows drawn with replacement, groups whole (Efron and Tibshirani 1993); always the same.

    Args:
        images: N.
        groups: int64[N]; None where each image is one by itself.
        count: How many draws.
    """
    rng = np.random.default_rng(0)
    if groups is None:
        for _ in range(count):
            yield rng.integers(images, size=images)
        return
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    for _ in range(count):
        yield np.concatenate([members[g] for g in rng.integers(len(members), size=len(members))])


def difference(
    metric: Callable[[Array, Array], float],
    one: Array,
    other: Array,
    truth: Array,
    groups: Clusters | None = None,
) -> tuple[float, float]:
    """By how much a metric is more of one model than of another, and its standard error.

    Args:
        metric: Of outputs and truth float64[M, K]; more is better.
        one: Outputs float64[N, K].
        other: The other model's, of the same images.
        truth: float64[N, K].
        groups: Images that go together.
    """
    gain = metric(one, truth) - metric(other, truth)
    return gain, noise(*scores(metric, (one, other), truth, groups))


def scores(
    metric: Callable[[Array, Array], float],
    models: Sequence[Array],
    truth: Array,
    groups: Clusters | None = None,
) -> Array:
    """The metric of models on the same draws of the same images, float64[models, DRAWS].

    Args:
        metric: Of outputs and truth float64[M, K].
        models: The outputs of each, float64[N, K].
        truth: float64[N, K].
        groups: Images that go together.
    """
    drawn = [
        [metric(outputs[rows], truth[rows]) for outputs in models]
        for rows in draws(len(truth), groups)
    ]
    return np.array(drawn, np.float64).T


def noise(one: Array, other: Array) -> float:
    """The standard error of the difference of two models, of their rows of `scores`."""
    return float(np.std(one - other, ddof=1))


def interval(drawn: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % percentile interval of a metric's draws; None without any."""
    if not drawn:
        return None
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
