"""Cross-validated linear classifiers on the features of each stage."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from finetune.analysis import size
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.backbones.inference import TOP
from finetune.heads import cross_validation, kernels
from finetune.metrics import clusters
from finetune.records.analysis import StageScore
from finetune.records.choices import Strategy

CLEARLY = 2.0  # standard errors of a difference


@dataclass(frozen=True)
class Probes:
    """Cross-validated linear classifiers: on the top features, and on others where wanted.

    `curve` is the learning curve of the best: images and error.
    """

    top: cross_validation.LeftOut
    others: tuple[cross_validation.LeftOut, ...]
    curve: tuple[tuple[int, float], ...]

    @property
    def best(self) -> cross_validation.LeftOut:
        """The one with the least log loss, if it beats the top features by two standard errors.

        Else the top features: the simplest that is not clearly worse (Breiman et al. 1984, with one
        standard error). The best of ten is ahead by luck more often than one of two
        (docs/log.md, 2026-11-25).
        """
        best = min((self.top, *self.others), key=lambda c: c.score.log_loss)
        less = self.top.losses - best.losses
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
        """The best one's, no worse than guessing: of few images it can be, by chance."""
        classes = len(np.unique(self.best.labels))
        return min(1.0 - self.best.score.accuracy, 1.0 - 1.0 / classes)

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


def fit_probes(analysis: Analysis, clock: Clock, *, all_stages: bool) -> Probes:
    """Cross-validate linear classifiers on the top features, each stage, and stages together."""
    first = analysis.body.facts.probed_top
    candidates = stage_sets(analysis.facts.stages, first) if all_stages else {TOP: (first,)}
    with clock.step("probes", "cross-validating linear classifiers"):
        rows = cross_validation.ranking_sample(analysis.labels)
        groups = [analysis.samples[i].unit for i in rows]
        layout = analysis.table.layout
        used = {tap: layout[tap] for taps in candidates.values() for tap in taps}
        known = kernels.stage_kernels(analysis.table.rows[rows], used)
        found = []
        for i, (name, taps) in enumerate(candidates.items()):
            kernel = kernels.combined(known, taps)
            width = sum(layout[tap][1] - layout[tap][0] for tap in taps)
            found.append(
                cross_validation.leave_out(name, taps, kernel, analysis.labels[rows], width, groups)
            )
            analysis.listener.progress(i + 1, len(candidates))
        probes = Probes(found[0], tuple(found[1:]), ())
        best = probes.best
        if len(best.labels) < size.CURVE_PER_CLASS * len(analysis.dataset.classes):
            return probes
        curve = cross_validation.learning_curve(
            kernels.combined(known, best.score.taps), best.labels, groups
        )
    return replace(probes, curve=curve)
