"""Probes of each stage for labels and numbers, every image left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.analysis import probes
from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import CLEARLY
from finetune.backbones.inference import Layout
from finetune.heads import aims, kernels, outputs, ridge
from finetune.heads.aims import Aim
from finetune.metrics import paired
from finetune.records.choices import OtherLoss, Strategy
from finetune.records.dataset import Sample, Target
from finetune.records.errors import UsageError
from finetune.records.options import DecisionOptions
from finetune.records.target import TargetStage
from finetune.storage.arrays import Array, Labels


@dataclass(frozen=True, kw_only=True)
class TargetProbes:
    """Left-out probes on the top features, and on others where wanted.

    `truth` float64[N, K] is that of all rows of the analysis, as the `aim` has it; `ranked` are the
    rows that the probes' outputs are of: some of many, and none that the network knows.
    """

    top: outputs.OutputsLeftOut
    others: tuple[outputs.OutputsLeftOut, ...]
    aim: Aim
    truth: Array
    ranked: Labels

    @property
    def best(self) -> outputs.OutputsLeftOut:
        """The least loss, if it beats the top features by two standard errors; else these."""
        return best_of((self.top, *self.others), self.aim)

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


def aimed(target: Target, values: Array, loss: OtherLoss | None) -> tuple[Aim, Array]:
    """What outputs are for, and what is wanted of each image as they have it, float64[N, K].

    Args:
        target: Labels or numbers.
        values: Of the images that are not test, float64[N, K].
        loss: What the user named; None for the usual one.
    """
    if target.kind == "labels":
        return aims.LabelsAim(), values
    truth, mean, deviation = outputs.standardised(values, len(values))
    return aims.NumbersAim(mean, deviation, loss or "mse"), truth


def loss_of(asked: DecisionOptions, target: Target) -> OtherLoss | None:
    """The loss that the user named for a target; None for the usual one.

    Raises:
        UsageError: it is none of this target.
    """
    known = {"labels": ("bce",), "number": ("mse", "mae", "huber")}[target.kind]
    if asked.loss is not None and asked.loss not in known:
        raise UsageError(
            f"--loss {asked.loss} is none of --target {target.kind}",
            hint=f"Use {' or '.join(known)}, or leave it out.",
        )
    found: OtherLoss | None = next(
        (x for x in ("bce", "mse", "mae", "huber") if x == asked.loss), None
    )
    return found


@dataclass(frozen=True, kw_only=True)
class Featured:
    """Images with their features, on which probes are ranked.

    Features float32[N, F] have the columns of each stage where `layout` says; `truth` float64[N, K]
    is as the aim has it; images with equal `groups` are left out together; `judged` int64[M] are
    the rows that results are of, None for all; `counts` float64[N] is how much each counts in
    learning.
    """

    rows: npt.NDArray[np.float32]
    layout: Layout
    truth: Array
    groups: Sequence[str]
    judged: Labels | None = None
    counts: Array | None = None


def left_out(
    some: Featured,
    candidates: Mapping[str, tuple[str, ...]],
    aim: Aim,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> list[outputs.OutputsLeftOut]:
    """Leave each image out for every choice of stages, in their order.

    Args:
        some: The images.
        candidates: From `stage_sets`.
        aim: What outputs are for.
        progress: Called with (done, total) choices.
    """
    used = {tap: some.layout[tap] for taps in candidates.values() for tap in taps}
    parts = kernels.stage_kernels(some.rows, used, some.counts)
    found = []
    for i, (name, taps) in enumerate(candidates.items()):
        stage = (name, taps, sum(some.layout[t][1] - some.layout[t][0] for t in taps))
        about = (kernels.combined(parts, taps), some.truth, aim, some.groups, some.judged)
        found.append(outputs.leave_out(stage, *about, some.counts))
        progress(i + 1, len(candidates))
    return found


def best_of(found: Sequence[outputs.OutputsLeftOut], aim: Aim) -> outputs.OutputsLeftOut:
    """The least loss, if it beats the first by two standard errors; else the first."""
    best = min(found, key=lambda c: c.score.loss)
    one, two = (aim.losses(c.outputs, c.truth) for c in (found[0], best))
    less, noise = paired.paired(one - two, best.groups)
    return best if less > CLEARLY * noise else found[0]


def fit_probes(
    analysis: Analysis, clock: Clock, loss: OtherLoss | None, *, all_stages: bool
) -> TargetProbes:
    """Leave each image out on the top features, each stage, and stages together."""
    target = analysis.dataset.target
    assert target is not None
    aim, truth = aimed(target, truth_of(analysis.samples), loss)
    sets = probes.sets_of(analysis.body.facts, all_stages=all_stages)
    with clock.step("target probes", f"leaving each image out, to tell {target.kind}"):
        rows, known = analysis.ranked, analysis.learnt[analysis.ranked]
        some = Featured(
            rows=analysis.table.rows[rows],
            layout=analysis.table.layout,
            truth=truth[rows],
            groups=[analysis.samples[i].unit for i in rows],
            judged=np.flatnonzero(~known) if known.any() else None,
            counts=None if analysis.weights is None else analysis.weights[rows],
        )
        top, *others = left_out(some, sets, aim, analysis.listener.progress)
    return TargetProbes(top=top, others=tuple(others), aim=aim, truth=truth, ranked=rows[~known])
