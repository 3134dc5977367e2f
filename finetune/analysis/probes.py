"""Cross-validated linear classifiers on the features of each stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finetune.analysis import size
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.backbones.inference import TOP, Layout
from finetune.heads import cross_validation, kernels
from finetune.heads.logit_adjustment import Wanted
from finetune.metrics import clusters, paired
from finetune.records.analysis import StageScore
from finetune.records.backbone import PreparedFacts
from finetune.records.choices import Metric, Strategy
from finetune.storage.arrays import Array, Labels

CLEARLY = 2.0  # standard errors of a difference


@dataclass(frozen=True)
class Probes:
    """Cross-validated linear classifiers: on the top features, and on others where wanted.

    `curve` is the learning curve of the best: images and error. `metric` is what models are
    compared by.
    """

    top: cross_validation.LeftOut
    others: tuple[cross_validation.LeftOut, ...]
    curve: tuple[tuple[int, float], ...]
    metric: Metric = "accuracy"

    @property
    def best(self) -> cross_validation.LeftOut:
        """The one with the least log loss, if it beats the top features by two standard errors.

        Else the top features: the simplest that is not clearly worse (Breiman et al. 1984, with one
        standard error). The best of ten is ahead by luck more often than one of two
        (docs/log.md, 2026-11-25).
        """
        best = min((self.top, *self.others), key=lambda c: c.score.log_loss)
        less = self.top.losses - best.losses
        if best.weights is not None:
            less = paired.counted(less, best.weights)
        noise = float(less.std(ddof=1)) / len(less) ** 0.5
        if best.groups is not None:
            noise = clusters.standard_error(less, best.groups)
        return best if float(less.mean()) > CLEARLY * noise else self.top

    @property
    def name(self) -> Strategy:
        """The strategy that the best one is."""
        return "linear-probe" if self.best is self.top else "stage-probe"

    def of(self, strategy: Strategy) -> cross_validation.LeftOut:
        """The one that a probe strategy fits."""
        return self.top if strategy == "linear-probe" else self.best

    @property
    def error(self) -> float:
        """The best one's, no worse than guessing: of few images it can be, by chance.

        One less what models are compared by; for the log loss, one less the accuracy.
        """
        classes = len(np.unique(self.best.labels))
        right = self.best.score.accuracy
        if self.metric not in ("accuracy", "log-loss"):
            by = paired.Yardstick(self.metric, self.best.weights)
            right = paired.value(self.best.logits, self.best.labels, by)
        return min(1.0 - right, 1.0 - 1.0 / classes)

    @property
    def table(self) -> tuple[StageScore, ...]:
        """The stage table."""
        return tuple(c.score for c in (*self.others, self.top))


def stage_sets(stages: tuple[str, ...], first: str) -> dict[str, tuple[str, ...]]:
    """What linear classifiers are tried on, by name: the top features first, then other stages."""
    return {
        TOP: (first,),
        **{f"stage {s}" if s != "stem" else s: (s,) for s in stages},
        f"stages {'+'.join(stages[-2:])}": stages[-2:],
        f"stages {'+'.join(stages[-2:])}+top": (*stages[-2:], first),
        "all stages": (*stages, first),
    }


def sets_of(about: PreparedFacts, *, all_stages: bool) -> dict[str, tuple[str, ...]]:
    """`stage_sets` of a network, or its top features alone."""
    sets = stage_sets(about.backbone.stages, about.probed_top)
    return sets if all_stages else {TOP: sets[TOP]}


@dataclass(frozen=True, kw_only=True)
class Ranked:
    """Labelled features on which linear classifiers are ranked, and the kernel of each stage.

    `wanted` are the classes' shares where the model will be used (None: those of the labels),
    `metric` is what models are compared by, `judged` which rows they are judged on (None: all);
    `counts` float64[N] is how much each counts in learning.
    """

    known: dict[str, Array]
    layout: Layout
    labels: Labels
    groups: Sequence[str]
    wanted: Wanted | None = None
    metric: Metric = "accuracy"
    judged: Labels | None = None
    counts: Array | None = None

    def probes(
        self,
        candidates: Mapping[str, tuple[str, ...]],
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> Probes:
        """Leave each image out for every choice of stages, the top features first; no curve."""
        found = []
        for i, (name, taps) in enumerate(candidates.items()):
            kernel = kernels.combined(self.known, taps)
            width = sum(self.layout[tap][1] - self.layout[tap][0] for tap in taps)
            about = (name, taps, kernel, self.labels, width, self.groups)
            one = cross_validation.leave_out(
                *about, wanted=self.wanted, judged=self.judged, counts=self.counts
            )
            found.append(one)
            progress(i + 1, len(candidates))
        return Probes(found[0], tuple(found[1:]), (), self.metric)


def ranked(
    rows: npt.NDArray[np.float32],
    layout: Layout,
    labels: Labels,
    groups: Sequence[str],
    candidates: Mapping[str, tuple[str, ...]],
    counts: Array | None = None,
) -> Ranked:
    """What the classifiers on some stages have in common.

    Args:
        rows: Features float32[N, F].
        layout: Which columns belong to which stage.
        labels: int64[N] in 0..C-1.
        groups: Images with equal ones are left out together.
        candidates: From `stage_sets`.
        counts: How much each image counts in learning, float64[N]; None where all count the same.
    """
    used = {tap: layout[tap] for taps in candidates.values() for tap in taps}
    known = kernels.stage_kernels(rows, used, counts)
    return Ranked(known=known, layout=layout, labels=labels, groups=groups, counts=counts)


def fit_probes(analysis: Analysis, clock: Clock, *, all_stages: bool) -> Probes:
    """Cross-validate linear classifiers on the top features, each stage, and stages together."""
    sets = sets_of(analysis.body.facts, all_stages=all_stages)
    with clock.step("probes", "cross-validating linear classifiers"):
        rows, known = analysis.ranked, analysis.learnt[analysis.ranked]
        groups = [analysis.samples[i].unit for i in rows]
        layout, labels = analysis.table.layout, analysis.labels[rows]
        counts = None if analysis.weights is None else analysis.weights[rows]
        material = replace(
            ranked(analysis.table.rows[rows], layout, labels, groups, sets, counts),
            wanted=analysis.wanted,
            metric=analysis.options.decision.judged_by,
            judged=np.flatnonzero(~known) if known.any() else None,
        )
        probes = material.probes(sets, analysis.listener.progress)
        best = probes.best
        # of images that the network knows, fewer would hardly make more errors
        few = len(best.labels) < size.CURVE_PER_CLASS * len(analysis.dataset.classes)
        if few or known.any():
            return probes
        curve = cross_validation.learning_curve(
            kernels.combined(material.known, best.score.taps), best.labels, groups, counts
        )
    return replace(probes, curve=curve)
