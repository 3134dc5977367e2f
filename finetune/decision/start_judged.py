"""Two networks to start from, judged by the best probe of each on images new to both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from finetune.analysis import importance, probes, target_probes
from finetune.decision import target_lead
from finetune.heads.logit_adjustment import Wanted
from finetune.metrics.paired import paired
from finetune.records.backbone import PreparedFacts
from finetune.records.choices import LESS_IS_BETTER, Metric, spoken_metric
from finetune.records.dataset import Sample, Target
from finetune.records.options import DecisionOptions
from finetune.storage.arrays import Array, Labels

IMAGENET = "ImageNet's weights"
TIED = ": within a standard error the run that you named stays"


@dataclass(frozen=True, kw_only=True)
class Both:
    """Images with the features of both networks, the run's first.

    Features are float32[N, F]; `judged` int64[M] are the rows that are new to the run, `wanted` is
    as for probes.
    """

    features: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]
    about: tuple[PreparedFacts, PreparedFacts]
    samples: Sequence[Sample]
    judged: Labels
    wanted: Wanted | None = None

    @property
    def groups(self) -> list[str]:
        """Images with equal ones are left out together."""
        return [s.unit for s in self.samples]

    @property
    def counts(self) -> Array | None:
        """How much each counts in learning."""
        return importance.of(self.samples)


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What one network's best probe reached: of classes two figures, of the others a score."""

    features: str
    accuracy: float | None = None
    log_loss: float | None = None
    score: float | None = None
    loss: float | None = None


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Both on the same new images.

    `more` is the metric of the run's network less that of ImageNet's weights, with its standard
    error `noise`; `better` says which is better by more than that.
    """

    images: int
    metric: Metric
    run: Figures
    imagenet: Figures
    more: float
    noise: float
    better: Literal["run", "imagenet", "tied"]
    reason: str

    @property
    def behind(self) -> float:
        """By how much the run's network is worse; less than nothing where it is better."""
        return self.more if self.metric in LESS_IS_BETTER else -self.more


def of_classes(both: Both, asked: DecisionOptions) -> Judged:
    """By the log loss of a linear classifier."""
    labels = np.array([s.label for s in both.samples], np.int64)
    found = []
    for rows, about in zip(both.features, both.about, strict=True):
        sets = probes.sets_of(about, all_stages=asked.strategy != "linear-probe")
        ranks = probes.ranked(rows, about.layout, labels, both.groups, sets, both.counts)
        ranks = replace(ranks, wanted=both.wanted, judged=both.judged, metric=asked.judged_by)
        found.append(ranks.probes(sets).best)
    mine, rival = found
    less, noise = map(float, paired(rival.losses - mine.losses, mine.groups))
    ahead: Literal["run", "imagenet"] = "run" if less > 0 else "imagenet"
    images, (one, two) = len(mine.labels), (mine.score, rival.score)
    reason = (
        f"on {images} images that are new to it the probe has a log loss of {one.log_loss:.3f} and "
        f"{one.accuracy:.1%} accuracy, with {IMAGENET} {two.log_loss:.3f} and {two.accuracy:.1%} "
        f"(difference {-less:+.3f} ± {noise:.3f})"
    )
    tied = abs(less) <= noise
    return Judged(
        images=images,
        metric="log-loss",
        run=Figures(features=one.name, accuracy=one.accuracy, log_loss=one.log_loss),
        imagenet=Figures(features=two.name, accuracy=two.accuracy, log_loss=two.log_loss),
        more=-less,
        noise=noise,
        better="tied" if tied else ahead,
        reason=reason + TIED if tied else reason,
    )


def of_target(both: Both, asked: DecisionOptions, target: Target, values: Array) -> Judged:
    """By the metric of labels or numbers, of ridge regression; by the loss where that tells more.

    Args:
        both: The images.
        asked: Names the loss and the metric.
        target: What is learned.
        values: Of all images that are not test, float64[N, K]; they say what a deviation is.

    Raises:
        UsageError: the loss or the metric is none of this target.
    """
    aim, _ = target_probes.aimed(target, values, target_probes.loss_of(asked, target))
    factor, shift = aim.units
    truth = (target_probes.truth_of(tuple(both.samples)) - shift) / factor
    found = []
    for rows, about in zip(both.features, both.about, strict=True):
        some = target_probes.Featured(
            rows=rows,
            layout=about.layout,
            truth=truth,
            groups=both.groups,
            judged=both.judged,
            counts=both.counts,
        )
        sets = probes.sets_of(about, all_stages=asked.strategy != "linear-probe")
        tried = target_probes.left_out(some, sets, aim)
        found.append(target_probes.best_of(tried, aim))
    mine, rival = found
    models, known = (mine.outputs, rival.outputs), (mine.truth, mine.groups)
    lead = target_lead.lead(aim, asked.metric, models, *known)
    back = target_lead.lead(aim, asked.metric, models[::-1], *known)
    better: Literal["run", "imagenet", "tied"] = (
        "run" if lead.clear else "imagenet" if back.clear else "tied"
    )
    own = lead.metric in ("rmse", "mae") and len(target.names) == 1
    unit = float(factor[0]) if own else 1.0  # one number has a unit of its own
    sign = -unit if lead.metric in LESS_IS_BETTER else unit
    scores, more, noise = [sign * s for s in lead.scores], sign * lead.gain, unit * lead.noise
    digits = ".4g" if own else ".3f"
    deviations = " deviations" if lead.metric in ("rmse", "mae") and not own else ""
    reason = (
        f"on {len(mine.truth)} images that are new to it the probe has {_a(lead.metric)} of "
        f"{scores[0]:{digits}}, with {IMAGENET} {scores[1]:{digits}}{deviations} (difference "
        f"{more:+{digits}} ± {noise:{digits}}; loss {-lead.less:+.3f} ± {lead.less_noise:.3f})"
    )
    return Judged(
        images=len(mine.truth),
        metric=lead.metric,
        run=Figures(features=mine.score.name, score=scores[0], loss=mine.score.loss),
        imagenet=Figures(features=rival.score.name, score=scores[1], loss=rival.score.loss),
        more=more,
        noise=noise,
        better=better,
        reason=reason + TIED if better == "tied" else reason,
    )


def _a(metric: Metric) -> str:
    return f"{'a' if metric == 'log-loss' else 'an'} {spoken_metric(metric)}"
