"""Carry out a strategy: a model with its estimate, not below the probe, and the one test."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune import data, engine, evaluate, features, probe, train, tune
from finetune.backbones import TOP, Backbone
from finetune.inference import Engine
from finetune.records import EpochRecord, Finding, Floor, Metrics, Plan, Strategy
from finetune.survey import Clock, Probes, Survey


@dataclass(frozen=True)
class Model:
    """What is returned: a backbone with a head, and what is known of it before the test."""

    strategy: Strategy
    backbone: Backbone
    runtime: Engine
    head: probe.Head
    taps: tuple[str, ...]
    side_px: int
    estimate: Metrics
    estimate_source: str
    history: tuple[EpochRecord, ...] = ()
    floor: Floor | None = None


@dataclass(frozen=True)
class Test:
    """Probabilities float64[M,C] and labels int64[M] of the test images that decoded."""

    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    findings: tuple[Finding, ...]


def probed(survey: Survey, chosen: probe.LeftOut, name: Strategy) -> Model:
    """Fit the head on every image that is not test; its estimate is the cross-validated one."""
    head = survey.head(chosen)
    probabilities = probe.probabilities(chosen.scores, chosen.temperature)
    return Model(
        strategy=name,
        backbone=survey.backbone,
        runtime=survey.runtime,
        head=head,
        taps=chosen.score.taps,
        side_px=survey.facts.preprocess.side_px,
        estimate=evaluate.measure(probabilities, chosen.labels, survey.dataset.classes),
        estimate_source="images by leave-one-out cross-validation, which also chose the penalty",
    )


def material(
    survey: Survey, plan: Plan, clock: Clock, rows: npt.NDArray[np.int64] | None = None
) -> tune.Material:
    """Some of the training images (None: all) at the resolution of a plan."""
    some = np.arange(len(survey.samples)) if rows is None else rows
    same_side = plan.side_px == survey.facts.preprocess.side_px
    paths = survey.paths
    with clock.step("decode", f"decoding {len(some)} images at {plan.side_px} px"):
        return tune.prepare(
            [paths[i] for i in some],
            plan,
            survey.backbone,
            survey.device,
            labels=survey.labels[some],
            groups=[survey.samples[i].digest for i in some],
            classes=len(survey.dataset.classes),
            seed=survey.request.seed,
            listener=survey.listener,
            top=survey.table.columns((TOP,))[some] if same_side else None,
        )


def tuned(  # noqa: PLR0913 - what is known already is as much part of it as what is to do
    survey: Survey,
    probes: Probes,
    plan: Plan,
    clock: Clock,
    *,
    made: tune.Material | None = None,
    proof: tune.Trial | None = None,
    handicap: float = 0.0,
    guarded: bool = True,
) -> Model:
    """Tune as planned; where the result does not beat the best probe, that is returned instead.

    Args:
        survey: The data.
        probes: What has to be beaten.
        plan: How to tune.
        clock: Times the steps.
        made: The images at the plan's resolution, where they are at hand already.
        proof: Short trials by which it was chosen; they stand for a proof where images are few.
        handicap: What these fall short of the real thing, in accuracy.
        guarded: Whether the probe may be returned instead; `compare` wants the tuned model.
    """
    images = made or material(survey, plan, clock)
    inside = survey.in_train
    enough = tune.TELLING_IMAGES if plan.strategy != "scratch" else 1
    split = survey.dataset.val is not None or int(np.count_nonzero(~inside)) >= enough
    trial = None if split else proof
    trial = trial or _prove(survey, images, plan, clock, split=split)
    # `scratch` is for comparison only: there is no probe under it
    floor = None
    if plan.strategy != "scratch" and guarded:
        floor = floor_of(survey, probes, trial, handicap if trial is proof else None)
    if floor is not None:
        survey.listener.note(floor.reason)
        if floor.kept == "probe":
            history = trial.tuned.history if trial.tuned else ()
            return replace(probed(survey, probes.best, probes.name), floor=floor, history=history)
    outcome = trial.tuned
    if outcome is None:
        epochs = f"{plan.epochs} epochs at {plan.side_px} px"
        with clock.step("tune", f"{plan.strategy} on all {len(survey.samples)} images: {epochs}"):
            outcome = tune.on_everything(images, plan)
    return _model(survey, plan, trial, outcome, floor)


def floor_of(
    survey: Survey, probes: Probes, trial: tune.Trial, handicap: float | None = None
) -> Floor:
    """The tuned model against the best probe, on the images that the trial held out."""
    mine, other, labels = _held_out(survey, probes, trial)
    name = probes.best.score.name
    return evaluate.floor(mine, other, labels, name, trial.how, handicap=handicap)


def lead(survey: Survey, probes: Probes, trial: tune.Trial) -> tuple[float, float, float, float]:
    """The trial's lead over the best probe in accuracy, its noise, and both of log loss."""
    mine, other, labels = _held_out(survey, probes, trial)
    return evaluate.lead(mine, other, labels)


def _held_out(
    survey: Survey, probes: Probes, trial: tune.Trial
) -> tuple[probe.Array, probe.Array, npt.NDArray[np.int64]]:
    """Calibrated probabilities of the trial's model and of the best probe, and the labels."""
    labels = survey.labels[trial.held]
    rival = _rival_scores(survey, probes.best, trial)
    mine, other = (
        probe.probabilities(s, probe.fit_temperature(s, labels)) for s in (trial.scores, rival)
    )
    return mine, other, labels


def _rival_scores(survey: Survey, rival: probe.LeftOut, trial: tune.Trial) -> probe.Array:
    """Scores float64[M,C] of the probe, fitted on what the trial's models learnt from.

    Its stage and penalty were chosen with the held-out images among the folds, which favours the
    probe a little: the safe side.
    """
    scores = []
    for rows, held in trial.parts:
        blocks = survey.blocks(rival.score.taps, held)
        scores.append(probe.score(survey.head(rival, rows), blocks.rows))
    return np.concatenate(scores)


def examine(survey: Survey, model: Model, clock: Clock) -> Test:
    """Classify the test images; empty where there are none or none decoded."""
    root = Path(survey.request.root)
    with clock.step("test", f"testing on {len(survey.splits.test)} images"):
        samples = [
            s if s.digest else replace(s, digest=data.digest_file(root / s.path))
            for s in survey.splits.test
        ]
        table = features.extract(
            [root / s.path for s in samples], model.runtime, model.side_px, survey.listener.progress
        )
        bad = [samples[i] for i, _ in table.faults]
        findings = data.unreadable(bad, [fault.message for _, fault in table.faults])
        findings += data.leaks(survey.splits.fitting, samples)
        labels = np.array([samples[i].label for i in table.kept], np.int64)
        scores = probe.score(stored(model.head), table.columns(model.taps))
    return Test(probe.probabilities(scores, model.head.temperature), labels, findings)


def metrics(survey: Survey, test: Test) -> Metrics:
    """What the test says."""
    return evaluate.measure(test.probabilities, test.labels, survey.dataset.classes)


def stored(head: probe.Head) -> probe.Head:
    """The head as the run keeps it, in float32, so that the test measures what is kept."""
    weight, bias = head.weight.astype(np.float32), head.bias.astype(np.float32)
    return probe.Head(weight.astype(np.float64), bias.astype(np.float64), head.temperature)


def _prove(
    survey: Survey, images: tune.Material, plan: Plan, clock: Clock, *, split: bool
) -> tune.Trial:
    """Tune where the outcome can be judged: on the split, or on halves where that is too small."""
    if not split:
        survey.listener.note(
            f"fewer than {tune.TELLING_IMAGES} validation images cannot tell a better model from a "
            "luckier one: each half is judged by a model tuned on the other, without early stopping"
        )
    halves = "" if split else " on halves"
    with clock.step("trial", f"{plan.strategy}: {plan.epochs} epochs at {plan.side_px} px{halves}"):
        if not split:
            return tune.on_halves(images, plan)
        inside = survey.in_train
        return tune.on_split(images, plan, np.flatnonzero(inside), np.flatnonzero(~inside))


def _model(
    survey: Survey, plan: Plan, trial: tune.Trial, outcome: train.Tuned, floor: Floor | None
) -> Model:
    """Calibrate on the held-out scores; they are also the estimate before the test."""
    labels = survey.labels[trial.held]
    temperature = probe.fit_temperature(trial.scores, labels)
    probabilities = probe.probabilities(trial.scores, temperature)
    images = len(survey.splits.test)
    return Model(
        strategy=plan.strategy,
        backbone=outcome.backbone,
        runtime=engine.make(outcome.backbone, survey.device, plan.side_px, images),
        head=replace(outcome.head, temperature=temperature),
        taps=(TOP,),
        side_px=plan.side_px,
        estimate=evaluate.measure(probabilities, labels, survey.dataset.classes),
        estimate_source=trial.how,
        history=outcome.history,
        floor=floor,
    )
