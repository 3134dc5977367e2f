"""One model of labels or numbers against another on the same images: by the metric and the loss."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.heads.aims import Aim
from finetune.metrics import clusters, paired, resampled
from finetune.records.choices import LESS_IS_BETTER, Metric, spoken_metric
from finetune.storage.arrays import Array


@dataclass(frozen=True, kw_only=True)
class Lead:
    """By how much one model is better than another: `gain` of the metric, `less` loss.

    Both with their standard errors; `scores` are those of the one and of the other, more is better.
    """

    metric: Metric
    scores: tuple[float, float]
    gain: float
    noise: float
    less: float
    less_noise: float

    @property
    def clear(self) -> bool:
        """Whether it is better by more than a standard error of the metric.

        Or, where that is no worse, of the loss of an image, which tells more on few images.
        """
        return self.gain > self.noise or (self.gain >= 0 and self.less > self.less_noise)


def lead(
    aim: Aim,
    metric: Metric | None,
    models: tuple[Array, Array],
    truth: Array,
    groups: clusters.Clusters | None,
) -> Lead:
    """How far the first of two models is ahead.

    Args:
        aim: What outputs are for.
        metric: What the user wants to compare by; None for the usual.
        models: Calibrated outputs float64[M, K] of both, on the same images.
        truth: float64[M, K].
        groups: Images that go together, int64[M].

    Raises:
        UsageError: the metric is none of the aim.
    """
    name, worth = aim.metric(metric)
    gain, noise = resampled.difference(worth, *models, truth, groups)
    losses = [aim.losses(outputs, truth) for outputs in models]
    less, less_noise = paired.paired(losses[1] - losses[0], groups)
    one, other = (worth(outputs, truth) for outputs in models)
    return Lead(
        metric=name,
        scores=(one, other),
        gain=gain,
        noise=noise,
        less=less,
        less_noise=less_noise,
    )


def told(name: Metric, score: float) -> str:
    """`mAP 0.812`; of an error, which is less than nothing here, in deviations of the number."""
    if name not in LESS_IS_BETTER:
        return f"{spoken_metric(name)} {score:.3f}"
    return f"{spoken_metric(name)} {-score:.3f}" + ("" if name == "log-loss" else " deviations")
