"""Probes for labels and numbers: ridge regression, every image left out exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.heads import aims, cross_validation, ridge
from finetune.heads.aims import Aim
from finetune.metrics import clusters
from finetune.records.target import TargetStage
from finetune.storage.arrays import Array, Labels

# A number may be told by the features almost without noise, where one in two classes is not: on a
# disc's width probes took the weakest penalty of those for classes (docs/log.md, 2026-11-26).
WEAKER = tuple(float(10.0**e) for e in np.arange(-3.5, -5.01, -0.5))


@dataclass(frozen=True, kw_only=True)
class OutputsLeftOut:
    """One set of features: what a probe says of each image that it was fitted without.

    `outputs` and `truth` are float64[N, K], as an `Aim` has them; `by` is the calibration that the
    raw outputs have had. `groups` int64[N] are as in `LeftOut`.
    """

    score: TargetStage
    outputs: Array
    truth: Array
    by: tuple[Array, Array]
    groups: clusters.Clusters | None = None


def leave_out(
    stage: tuple[str, tuple[str, ...], int],
    kernel: Array,
    truth: Array,
    aim: Aim,
    groups: Sequence[str] = (),
    judged: Labels | None = None,
    counts: Array | None = None,
) -> OutputsLeftOut:
    """Left-out outputs at the penalty with the least calibrated loss.

    Args:
        stage: What the stage table calls these features, the stages they come from, and how many
            they are.
        kernel: From `kernels.combined`.
        truth: float64[N, K].
        aim: What outputs are for.
        groups: Images with equal ones are left out together.
        judged: Rows int64[M] that the result is of (None: all); the others are only learnt from.
        counts: How much each image counts in learning, float64[N]; in judging all count the same.
    """
    name, taps, dimensions = stage
    tried = []
    penalties = (*cross_validation.PENALTIES, *(WEAKER if aim.kind == "number" else ()))
    paths = cross_validation.path(kernel, truth, ridge.together(groups), penalties, counts)
    if judged is not None:
        truth, groups = truth[judged], [groups[i] for i in judged] if groups else ()
        paths = ((penalty, raw[judged]) for penalty, raw in paths)
    for penalty, raw in paths:
        by = aim.calibration(raw, truth)
        outputs = aims.scaled(raw, by)
        tried.append((float(aim.losses(outputs, truth).mean()), penalty, by, outputs))
    loss, penalty, by, outputs = min(tried, key=lambda t: t[0])
    score = TargetStage(
        name=name,
        taps=taps,
        dimensions=dimensions,
        score=aim.score(outputs, truth),
        loss=loss,
        penalty=penalty,
    )
    together = clusters.number(groups) if groups else None
    return OutputsLeftOut(score=score, outputs=outputs, truth=truth, by=by, groups=together)


def fit(blocks: ridge.Blocks, truth: Array, found: OutputsLeftOut) -> ridge.Head:
    """A head on some images, at the penalty and with the calibration that leaving out chose."""
    return aims.scaled_head(ridge.fit_to(blocks, truth, found.score.penalty), found.by)


def standardised(values: Array, images: int) -> tuple[Array, Array, Array]:
    """Values float64[N, K] in deviations from the mean of the first `images`, and both, float64[K].

    A number that is the same in all of them has a deviation of one.
    """
    mean, deviation = values[:images].mean(axis=0), values[:images].std(axis=0)
    deviation = np.where(deviation > 0, deviation, 1.0)
    return (values - mean) / deviation, mean, deviation
