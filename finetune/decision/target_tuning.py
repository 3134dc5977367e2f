"""Tuning for labels and numbers, and the floor under it: never worse than the best probe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.target_probes import TargetProbes
from finetune.backbones.inference import TOP
from finetune.decision import baseline, refit, target_lead, target_model, trials
from finetune.decision.target_model import TargetModel
from finetune.heads import aims
from finetune.metrics import clusters, paired
from finetune.records.choices import Metric
from finetune.records.decision import Plan
from finetune.records.target import TargetFloor
from finetune.storage.arrays import Array
from finetune.training import holdout, loop, recipe

SURE = 2.0  # standard errors: by so much behind in the first fold, tuning is given up


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """Both models on the same held-out images, calibrated there: outputs and truth float64[M, K].

    `groups` int64[M] are images that go together.
    """

    tuned: Array
    probed: Array
    truth: Array
    groups: clusters.Clusters | None

    def floor(self, probes: TargetProbes, metric: Metric | None, how: str) -> TargetFloor:
        """Keep the tuned model only if it beats the probe by more than noise."""
        known = (self.tuned, self.probed)
        found = target_lead.lead(probes.aim, metric, known, self.truth, self.groups)
        said = [target_lead.told(found.metric, score) for score in found.scores]
        reason = (
            f"The {'tuned model' if found.clear else 'probe'} is kept: on {how}, the tuned model "
            f"has {said[0]}, the best probe ({probes.best.score.name}) {said[1]}, a difference of "
            f"{found.gain:+.3f} ± {found.noise:.3f} (loss {-found.less:+.3f} ± "
            f"{found.less_noise:.3f})"
        )
        return TargetFloor(
            kept="tuned" if found.clear else "probe",
            n=len(self.truth),
            tuned_score=found.scores[0],
            probe_score=found.scores[1],
            difference=found.gain,
            noise=found.noise,
            reason=reason,
        )


def tuned(analysis: Analysis, probes: TargetProbes, plan: Plan, clock: Clock) -> TargetModel:
    """Tune as planned; where the result does not beat the best probe, that is returned instead.

    Args:
        analysis: The data.
        probes: What has to be beaten, unless training starts from scratch.
        plan: How to tune.
        clock: Times the steps.
    """
    images, trial, floor = _proved(analysis, probes, plan, clock)
    if floor is not None and floor.kept == "probe":
        kept = replace(target_model.probed(analysis, probes, probes.name), floor=floor)
        if trial.tuned is None:
            return kept
        return replace(kept, history=trial.tuned.history, stopped=trial.tuned.stopped)
    outcome = refit.outcome(analysis, images, plan, trial, clock)
    return _model(analysis, probes, plan, trial, outcome, floor)


def to_the_letter(
    analysis: Analysis, probes: TargetProbes, plan: Plan, clock: Clock
) -> TargetModel:
    """The tuned model, whatever it is worth, for `compare`; its floor tells whether it is kept."""
    images, trial, floor = _proved(analysis, probes, plan, clock)
    outcome = refit.outcome(analysis, images, plan, trial, clock)
    return _model(analysis, probes, plan, trial, outcome, floor)


def _proved(
    analysis: Analysis, probes: TargetProbes, plan: Plan, clock: Clock
) -> tuple[holdout.Material, holdout.Trial, TargetFloor | None]:
    """Tuned where it can be judged, and set against the probe, which `scratch` has none of."""
    images = replace(trials.material(analysis, plan, clock), aim=probes.aim, truth=probes.truth)
    split = trials.judged_on_split(analysis, plan.strategy)
    trial = baseline.prove(
        analysis, images, plan, clock, None if split else partial(_settled, analysis, probes)
    )
    if plan.strategy == "scratch":
        return images, trial, None
    floor = _compared(analysis, probes, trial).floor(
        probes, analysis.options.decision.metric, trial.how
    )
    analysis.listener.detail(floor.reason)
    return images, trial, floor


def _settled(analysis: Analysis, probes: TargetProbes, trial: holdout.Trial) -> bool:
    """Whether one half tells the tuned model from the probe, so that the other need not."""
    if len(trial.held) < recipe.TELLING_IMAGES // 2:
        return False
    found = _compared(analysis, probes, trial)
    one, two = (probes.aim.losses(o, found.truth) for o in (found.probed, found.tuned))
    less, noise = paired.paired(one - two, found.groups)
    return abs(less) > SURE * noise


def _compared(analysis: Analysis, probes: TargetProbes, trial: holdout.Trial) -> _Compared:
    """Both on what the trial held out, each with the calibration that is best there."""
    best, truth = probes.best, probes.truth[trial.held]
    rival = trials.scores_without(
        analysis, trial, best.score.taps, lambda rows: probes.head(analysis, best, rows)
    )
    mine, other = (aims.scaled(o, probes.aim.calibration(o, truth)) for o in (trial.logits, rival))
    groups = clusters.renumbered(analysis.groups, trial.held)
    return _Compared(tuned=mine, probed=other, truth=truth, groups=groups)


def _model(
    analysis: Analysis,
    probes: TargetProbes,
    plan: Plan,
    trial: holdout.Trial,
    outcome: loop.Tuned,
    floor: TargetFloor | None,
) -> TargetModel:
    """Calibrate on the held-out outputs; they are also the estimate before the test."""
    aim = probes.aim
    by = aim.calibration(trial.logits, probes.truth[trial.held])
    facts, estimate = target_model.judged(
        analysis, probes, aims.scaled(trial.logits, by), trial.held
    )
    runtime, graph = baseline.running(analysis, plan, outcome)
    return TargetModel(
        strategy=plan.strategy,
        runtime=runtime,
        tensors=outcome.backbone.arrays,
        graph=graph,
        head=aims.scaled_head(aims.scaled_head(outcome.head, by), aim.units),
        taps=(TOP,),
        side_px=plan.side_px,
        facts=facts,
        estimate=estimate,
        estimate_source=trial.how.partition(" ")[2],
        history=outcome.history,
        floor=floor,
        plan=outcome.plan,
        stopped=outcome.stopped,
    )
