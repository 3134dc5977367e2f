"""The tuned model to return: that which was judged, or one that learns from its judges, too."""

from __future__ import annotations

from dataclasses import replace

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.records.decision import Plan
from finetune.records.errors import TrainingError
from finetune.training import holdout, loop


def outcome(
    analysis: Analysis,
    images: holdout.Material,
    plan: Plan,
    trial: holdout.Trial,
    clock: Clock,
) -> loop.Tuned:
    """Tune on all images where the trial has left no model, or where the plan says so.

    A second training goes as the judged one did: at its rate, and for as many epochs as were best
    there. Its history stays that of the judged one, whose validation figures are the proof; that is
    returned where the second is interrupted or fails.
    """
    judged = trial.tuned
    if judged is None:
        with clock.step("tune", _told(analysis, plan, plan.epochs)):
            return holdout.on_everything(images, plan)
    best = max((record.epoch for record in judged.history if record.best), default=0)
    if not plan.refit or judged.stopped is not None or best == 0:
        return judged
    try:
        with clock.step("refit", _told(analysis, plan, best)):
            again = holdout.on_everything(images, judged.plan, best)
    except KeyboardInterrupt as fault:
        analysis.listener.note("the model that was judged is kept")
        return replace(judged, stopped=fault)
    except TrainingError as fault:
        analysis.listener.note(f"the model that was judged is kept: {fault.message}")
        return judged
    return replace(again, history=judged.history)


def _told(analysis: Analysis, plan: Plan, epochs: int) -> str:
    images = len(analysis.samples)
    return f"{plan.strategy} on all {images} images: {epochs} epochs at {plan.side_px} px"
