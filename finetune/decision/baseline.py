"""The probe is the baseline: a tuned model is returned only where it beats it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.backbones import engine, inference
from finetune.backbones.inference import TOP
from finetune.decision import blend, fitted, prior, refit, trials, tuned_near
from finetune.decision.fitted import FittedModel
from finetune.heads import logit_adjustment
from finetune.metrics import paired
from finetune.records.choices import spoken_metric
from finetune.records.decision import Plan
from finetune.records.metrics import Baseline
from finetune.training import holdout, loop, recipe


def judge(
    tuned: npt.NDArray[np.float64],
    probed: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    probe_name: str,
    how: str,
    *,
    allowed: float | None = None,
    by: paired.Yardstick = paired.PLAIN,
) -> Baseline:
    """Keep the tuned model only if it beats the probe on the same images by more than noise.

    Where it is believed to lead for other reasons, short trials on few images need only not
    contradict: it is kept unless they are behind by more than is allowed.

    More than noise: one standard error of the paired difference, of the accuracy; or, where the
    accuracy is no lower, of the log loss, which uses more than right and wrong and so tells more on
    few images.

    Args:
        tuned: Calibrated probabilities float64[N, C] of the tuned model.
        probed: The same of the probe, fitted without these images.
        labels: int64[N].
        probe_name: What to call the probe.
        how: How the images were held out.
        allowed: How far behind short trials may be, in accuracy, as `prior.weigh` has it; None
            where this is the real model.
        by: What they are compared by, of these images.
    """
    correct, losses = paired.judged((tuned, probed), labels)
    gain, gain_error, less, less_error = paired.accuracy_gain(tuned, probed, labels, by)
    better = gain > gain_error or (gain >= 0 and less > less_error)
    kept = better if allowed is None else gain >= -allowed
    winner = "tuned model" if kept else "probe"
    mine, other = (_told(p, labels, by) for p in (tuned, probed))
    points = f"{100 * gain:+.1f} ± {100 * gain_error:.1f} points"
    loss = f"{-less:+.3f} ± {less_error:.3f}"
    told = f"{loss}{by.by}" if by.metric == "log-loss" else f"{points}{by.by} (log loss {loss})"
    reason = (
        f"The {winner} is kept: on {how}, the tuned model has {mine}, the best probe "
        f"({probe_name}) {other}, a difference of {told}"
    )
    return Baseline(
        kept="tuned" if kept else "probe",
        n=len(labels),
        tuned_accuracy=float(correct[0].mean()),
        probe_accuracy=float(correct[1].mean()),
        tuned_log_loss=float(losses[0].mean()),
        probe_log_loss=float(losses[1].mean()),
        reason=reason,
    )


def _told(
    probabilities: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], by: paired.Yardstick
) -> str:
    """What models are compared by, of one of them: `81.5 %`, or `a log loss of 0.310`."""
    found = paired.value(probabilities, labels, by)
    if by.metric == "log-loss":
        return f"a log loss of {found:.3f}"
    name = "" if by.metric == "accuracy" else f" {spoken_metric(by.metric)}"
    return f"{100 * found:.1f} %{name}"


def tuned(  # noqa: PLR0913 - what is known already is as much part of it as what is to do
    analysis: Analysis,
    probes: Probes,
    plan: Plan,
    clock: Clock,
    *,
    made: holdout.Material | None = None,
    proof: holdout.Trial | None = None,
    allowed: float = 0.0,
    blends: blend.Blends = "never",
) -> FittedModel:
    """Tune as planned; where the result does not beat the best probe, that is returned instead.

    Where held-out images say that it pays, both are returned as a blend.

    Args:
        analysis: The data.
        probes: What has to be beaten.
        plan: How to tune.
        clock: Times the steps.
        made: The images at the plan's resolution, where they are at hand already.
        proof: Short trials by which it was chosen; they stand for a proof where images are few.
        allowed: How far behind the probe these may be, in accuracy.
        blends: Whether both may be returned, or have to be.
    """
    images = made or trials.material(analysis, plan, clock)
    split = trials.judged_on_split(analysis, plan.strategy)
    trial = None if split else proof
    settled = None if split else partial(_settled, analysis, probes)
    trial = trial or prove(analysis, images, plan, clock, settled)
    # `scratch` is for comparison only: there is no probe under it
    floor = None
    if plan.strategy != "scratch":
        floor = against_probe(analysis, probes, trial, allowed if trial is proof else None)
        if blends != "never":
            found = blend.verdict(analysis, probes, trial, blends)
            floor = blend.judge(floor, found, trial.how, blends)
        analysis.listener.detail(floor.reason)
        if floor.kept == "probe":
            kept = fitted.probed(analysis, probes.best, probes.name)
            if trial.tuned is not None:
                kept = replace(kept, history=trial.tuned.history, stopped=trial.tuned.stopped)
            return replace(kept, floor=floor)
    outcome = refit.outcome(analysis, images, plan, trial, clock)
    model = _model(analysis, plan, trial, outcome, floor)
    if floor is not None and floor.kept == "blend":
        return blend.together(analysis, probes, model, trial, blends)
    near = tuned_near.of_trial(analysis, images, trial, outcome, model.runtime)
    return replace(model, near=near)


def to_the_letter(
    analysis: Analysis, probes: Probes, plan: Plan, clock: Clock
) -> tuple[FittedModel, FittedModel]:
    """The tuned model, whatever it is worth, and its blend with the best probe: for `compare`."""
    images = trials.material(analysis, plan, clock)
    split = trials.judged_on_split(analysis, plan.strategy)
    settled = None if split else partial(_settled, analysis, probes)
    trial = prove(analysis, images, plan, clock, settled)
    outcome = refit.outcome(analysis, images, plan, trial, clock)
    model = _model(analysis, plan, trial, outcome, None)
    return model, blend.together(analysis, probes, model, trial, "always")


def against_probe(
    analysis: Analysis, probes: Probes, trial: holdout.Trial, allowed: float | None = None
) -> Baseline:
    """The tuned model against the best probe, on the images that the trial held out."""
    mine, other, labels = trials._held_out(analysis, probes, trial)
    name = probes.best.score.name
    if trial.tuned is not None:
        name += ", which would learn from them, too"
    by = analysis.yardstick(trial.held)
    return judge(mine, other, labels, name, trial.how, allowed=allowed, by=by)


def prove(
    analysis: Analysis,
    images: holdout.Material,
    plan: Plan,
    clock: Clock,
    settled: Callable[[holdout.Trial], bool] | None,
) -> holdout.Trial:
    """Tune where the outcome can be judged: on the split, or on halves where that is too small.

    Args:
        analysis: The data.
        images: The same, decoded.
        plan: How to tune.
        clock: Times the steps.
        settled: On halves, whether the first of them will do; None on the split.
    """
    if settled is not None:
        analysis.listener.detail(
            f"fewer than {recipe.TELLING_IMAGES} validation images cannot tell a better model "
            "from a luckier one: two-fold cross-validation is used, without early "
            "stopping"
        )
    halves = "" if settled is None else " in two-fold cross-validation"
    with clock.step("trial", f"{plan.strategy}: {plan.epochs} epochs at {plan.side_px} px{halves}"):
        if settled is not None:
            return holdout.on_two_folds(images, plan, settled)
        inside = analysis.in_train
        return holdout.on_split(images, plan, np.flatnonzero(inside), np.flatnonzero(~inside))


def _settled(analysis: Analysis, probes: Probes, trial: holdout.Trial) -> bool:
    """Whether one half tells the tuned model from the probe, so that the other need not."""
    gain, noise, _, _ = trials.lead(analysis, probes, trial)
    settled = len(trial.held) >= recipe.TELLING_IMAGES // 2 and abs(gain) > prior.SURE * noise
    if settled:
        analysis.listener.detail(
            f"the first fold settles it: {100 * gain:+.1f} ± {100 * noise:.1f} points against the "
            "probe"
        )
    return settled


def _model(
    analysis: Analysis,
    plan: Plan,
    trial: holdout.Trial,
    outcome: loop.Tuned,
    floor: Baseline | None,
) -> FittedModel:
    """Calibrate on the held-out scores; they are also the estimate before the test."""
    temperature, likely = analysis.calibrated(trial.logits, trial.held, weighed=trial.weighed)
    held = fitted.held_out(analysis, likely, trial.held)
    head = replace(outcome.head, temperature=temperature)
    shift = analysis.shift(weighed=trial.weighed)
    runtime, graph = running(analysis, plan, outcome)
    return FittedModel(
        strategy=plan.strategy,
        runtime=runtime,
        tensors=outcome.backbone.arrays,
        graph=graph,
        head=logit_adjustment.moved(head, shift),
        shift=shift,
        taps=(TOP,),
        side_px=plan.side_px,
        held=held,
        estimate=fitted.measured(analysis, held),
        estimate_source=trial.how.partition(" ")[2],  # their number is told with the estimate
        near=tuned_near.UNASKED,
        history=outcome.history,
        floor=floor,
        plan=outcome.plan,
        stopped=outcome.stopped,
    )


def running(
    analysis: Analysis, plan: Plan, outcome: loop.Tuned
) -> tuple[inference.Engine, Callable[[], Any]]:
    """A tuned network ready to answer, and what gives it converted.

    The run keeps the converted network, so it is there for the test, too. A training that was
    stopped is not tested, and its network not kept.
    """
    images = None if outcome.stopped is None else 0
    backbone, device = outcome.backbone, torch.device(analysis.body.device)
    runtime = engine.make(backbone, device, plan.side_px, images)
    return runtime, lambda: runtime.graph or engine.convert(backbone, plan.side_px)
