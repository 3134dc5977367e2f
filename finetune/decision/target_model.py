"""A fitted model of labels or numbers: a backbone with a head, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.target_probes import TargetProbes, truth_of
from finetune.decision.fitted import Model
from finetune.heads import aims, platt
from finetune.metrics import clusters, labels, numbers
from finetune.records.choices import Strategy
from finetune.records.decision import Plan
from finetune.records.target import TargetFacts, TargetFloor, TargetMetrics
from finetune.records.training import EpochRecord
from finetune.storage.arrays import Array, Labels

WITHIN = 0.9  # the share of held-out answers that are as near to the truth as is told


@dataclass(frozen=True, kw_only=True)
class TargetModel(Model):
    """What is returned; `head` gives logits of labels, or numbers in their own unit.

    `facts` are for `run.json`; the others as in `FittedModel`.
    """

    facts: TargetFacts
    estimate: TargetMetrics
    estimate_source: str
    history: tuple[EpochRecord, ...] = ()
    floor: TargetFloor | None = None
    plan: Plan | None = None
    stopped: BaseException | None = None


def probed(analysis: Analysis, probes: TargetProbes, name: Strategy) -> TargetModel:
    """Fit the head on every image that is not test; the estimate is of images left out."""
    found = probes.of(name)
    facts, estimate = judged(analysis, probes, found.outputs, probes.ranked)
    return TargetModel(
        strategy=name,
        runtime=analysis.body.engine,
        tensors=lambda: analysis.body.tensors,
        graph=analysis.body.graph,
        head=aims.scaled_head(probes.head(analysis, found), probes.aim.units),
        taps=found.score.taps,
        side_px=analysis.facts.preprocess.side_px,
        facts=facts,
        estimate=estimate,
        estimate_source="images by leave-one-out cross-validation, which also chose l2",
    )


def judged(
    analysis: Analysis, probes: TargetProbes, outputs: Array, rows: Labels
) -> tuple[TargetFacts, TargetMetrics]:
    """What held-out outputs float64[M, K] of some rows tell, calibrated: facts and the estimate."""
    aim = probes.aim
    known = aims.scaled(outputs, aim.units)
    truth = truth_of(tuple(analysis.samples[i] for i in rows))
    groups = clusters.renumbered(analysis.groups, rows)
    facts = TargetFacts(kind=aim.kind, loss=aim.loss)
    if aim.kind == "labels":
        found = platt.thresholds(platt.probabilities(known), truth)
        facts = TargetFacts(kind="labels", loss=aim.loss, thresholds=tuple(found.tolist()))
    else:
        far = np.quantile(np.abs(known - truth), WITHIN, axis=0)
        facts = TargetFacts(kind="number", loss=aim.loss, within=tuple(far.tolist()))
    return facts, measured(analysis, facts, known, truth, groups)


def measured(
    analysis: Analysis,
    facts: TargetFacts,
    known: Array,
    truth: Array,
    groups: clusters.Clusters | None,
) -> TargetMetrics:
    """What outputs in units float64[M, K] are worth.

    Args:
        analysis: Whose images were learned from.
        facts: Thresholds of labels.
        known: Logits of labels, or numbers.
        truth: 0 or 1, or the numbers.
        groups: Images that go together, int64[M].
    """
    target = analysis.dataset.target
    assert target is not None
    if facts.kind == "labels":
        likely = platt.probabilities(known)
        return labels.measure(likely, truth, target.names, facts.thresholds, groups)
    mean = truth_of(analysis.samples).mean(axis=0)
    return numbers.measure(known, truth, target.names, mean, groups)
