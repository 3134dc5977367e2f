"""Probes of each stage for labels and numbers, every image left out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import CLEARLY, stage_sets
from finetune.backbones.inference import TOP
from finetune.heads import aims, cross_validation, kernels, outputs, ridge
from finetune.heads.aims import Aim
from finetune.metrics import paired
from finetune.records.choices import OtherLoss, Strategy
from finetune.records.dataset import Sample, Target
from finetune.records.target import TargetStage
from finetune.storage.arrays import Array, Labels


@dataclass(frozen=True, kw_only=True)
class TargetProbes:
    """Left-out probes on the top features, and on others where wanted.

    `truth` float64[N, K] is that of all rows of the analysis, as the `aim` has it; the probes were
    ranked on the rows `ranked`.
    """

    top: outputs.OutputsLeftOut
    others: tuple[outputs.OutputsLeftOut, ...]
    aim: Aim
    truth: Array
    ranked: Labels

    @property
    def best(self) -> outputs.OutputsLeftOut:
        """The least loss, if it beats the top features by two standard errors; else these."""
        best = min((self.top, *self.others), key=lambda c: c.score.loss)
        one, two = (self.aim.losses(c.outputs, c.truth) for c in (self.top, best))
        less, noise = paired.paired(one - two, best.groups)
        return best if less > CLEARLY * noise else self.top

    @property
    def name(self) -> Strategy:
        """The strategy that the best one is."""
        return "linear-probe" if self.best is self.top else "stage-probe"

    def of(self, strategy: Strategy) -> outputs.OutputsLeftOut:
        """The one that a probe strategy fits."""
        return self.top if strategy == "linear-probe" else self.best

    @property
    def table(self) -> tuple[TargetStage, ...]:
        """The stage table."""
        return tuple(c.score for c in (*self.others, self.top))

    def head(
        self, analysis: Analysis, found: outputs.OutputsLeftOut, rows: Labels | None = None
    ) -> ridge.Head:
        """A head as leaving one out chose it, fitted on some rows (None: all)."""
        truth = self.truth if rows is None else self.truth[rows]
        return outputs.fit(analysis.blocks(found.score.taps, rows), truth, found)


def truth_of(samples: tuple[Sample, ...]) -> Array:
    """What is wanted of images, in its own unit, float64[N, K]."""
    return np.array([s.values for s in samples], np.float64)


def aim_of(target: Target, values: Array, loss: OtherLoss | None) -> Aim:
    """What outputs are for.

    Args:
        target: Labels or numbers.
        values: Of the images that are not test, float64[N, K].
        loss: What the user named; None for the usual one.
    """
    if target.kind == "labels":
        return aims.LabelsAim()
    _, mean, deviation = outputs.standardised(values, len(values))
    return aims.NumbersAim(mean, deviation, loss or "mse")


def fit_probes(
    analysis: Analysis, clock: Clock, loss: OtherLoss | None, *, all_stages: bool
) -> TargetProbes:
    """Leave each image out on the top features, each stage, and stages together."""
    target = analysis.dataset.target
    assert target is not None
    values = truth_of(analysis.samples)
    aim = aim_of(target, values, loss)
    truth = values if aim.kind == "labels" else outputs.standardised(values, len(values))[0]
    first = analysis.body.facts.probed_top
    candidates = stage_sets(analysis.facts.stages, first) if all_stages else {TOP: (first,)}
    with clock.step("target probes", f"leaving each image out, to tell {target.kind}"):
        rows = cross_validation.ranking_sample(analysis.labels)
        groups = [analysis.samples[i].unit for i in rows]
        layout = analysis.table.layout
        used = {tap: layout[tap] for taps in candidates.values() for tap in taps}
        known = kernels.stage_kernels(analysis.table.rows[rows], used)
        found = []
        for i, (name, taps) in enumerate(candidates.items()):
            width = sum(layout[tap][1] - layout[tap][0] for tap in taps)
            kernel = kernels.combined(known, taps)
            stage = (name, taps, width)
            found.append(outputs.leave_out(stage, kernel, truth[rows], aim, groups))
            analysis.listener.progress(i + 1, len(candidates))
    top, *others = found
    return TargetProbes(top=top, others=tuple(others), aim=aim, truth=truth, ranked=rows)
