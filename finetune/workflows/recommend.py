"""The story of `recommend`: the same looking and deciding, nothing trained."""

from __future__ import annotations

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.analysis.target_probes import TargetProbes
from finetune.decision import choose, target_advice, target_choice, target_model
from finetune.heads import cross_validation
from finetune.metrics import classification
from finetune.records.analysis import DatasetProfile
from finetune.records.answers import Advice, Expectation
from finetune.records.choices import TRANSFERS, Strategy
from finetune.records.events import Listener
from finetune.records.options import Options
from finetune.workflows import begin

# A recommendation looks at no more: 4,000 tell the probe's accuracy to within one point.
RECOMMEND_IMAGES = 4000


def run_recommendation(options: Options, listener: Listener) -> Advice:
    """`finetune recommend DIR`: the same looking and deciding, nothing trained."""
    clock = Clock(listener)
    begin.check_options(options)
    analysis, probes, measured = begin.analyzed(
        options, listener, clock, all_stages=True, most=RECOMMEND_IMAGES
    )
    if analysis.dataset.target is not None:
        return _of_target(analysis, probes, measured, clock)
    advice = choose.decide(analysis, probes, measured, clock, trials=False).advice
    return Advice(
        recommendation=advice,
        profile=measured,
        stages=probes.table,
        expected=_expected(probes),
        looked_at=len(analysis.samples),
        counts=begin.counts(analysis.splits),
        findings=analysis.findings,
        seconds=clock.total(),
        backbone=analysis.facts.name,
        backbone_choice=analysis.choice,
    )


def _of_target(
    analysis: Analysis, strata: Probes, measured: DatasetProfile, clock: Clock
) -> Advice:
    """The same of labels or numbers."""
    probes = begin.target_probed(analysis, clock, all_stages=True)
    choice = target_choice.choose(analysis, strata, probes, measured, clock, TRANSFERS)
    names = dict.fromkeys(("linear-probe", probes.name))
    return Advice(
        recommendation=target_advice.recommend(analysis, probes, measured, choice),
        profile=measured,
        stages=(),
        expected=tuple(_expected_of(analysis, probes, name) for name in names),
        looked_at=len(analysis.samples),
        counts=begin.counts(analysis.splits),
        findings=analysis.findings,
        seconds=clock.total(),
        backbone=analysis.facts.name,
        backbone_choice=analysis.choice,
        target=probes.aim.kind,
        target_stages=probes.table,
    )


def _expected_of(analysis: Analysis, probes: TargetProbes, name: Strategy) -> Expectation:
    """What a probe of labels or numbers will do on new images: each left out once."""
    _, found = target_model.judged(analysis, probes, probes.of(name).outputs, probes.ranked)
    return Expectation(name, None, None, found.n, found)


def _expected(probes: Probes) -> tuple[Expectation, ...]:
    """What the two probes will do on new images; one line where they are the same."""
    found: dict[Strategy, cross_validation.LeftOut] = {
        "linear-probe": probes.top,
        probes.name: probes.best,
    }
    return tuple(
        Expectation(
            name,
            left.score.accuracy,
            classification.accuracy_interval(left.correct, left.groups),
            len(left.correct),
        )
        for name, left in found.items()
    )
