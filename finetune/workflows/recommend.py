"""The story of `recommend`: the same looking and deciding, nothing trained."""

from __future__ import annotations

from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.decision import choose
from finetune.heads import cross_validation
from finetune.metrics import classification
from finetune.records.answers import Advice, Expectation
from finetune.records.choices import Strategy
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
