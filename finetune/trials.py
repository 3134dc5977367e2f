"""Tune on the data at hand: short trials, the proof against the probe, and what it will cost."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from finetune import engine, evaluate, probe, realise, strategy, train, tune
from finetune.inference import TOP
from finetune.realise import Model
from finetune.records import DatasetProfile, Floor, Plan, Strategy, TrialResult
from finetune.survey import Clock, Probes, Survey, plan_for

TRIALS = 1.26  # on average: the second is run where the first leaves it open (docs/log.md)
PROOF = 0.75  # of the steps: between one half of the images and both (docs/log.md, half a proof)
FORWARD_SHARE = 0.3  # of a training step: forward, without backward and update (docs/log.md)


@dataclass(frozen=True)
class Attempt:
    """Short trials of tuning: the images at their resolution, held-out scores, and the outcomes."""

    made: tune.Material
    trial: tune.Trial
    results: tuple[TrialResult, ...]


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
            survey.body.network,
            torch.device(survey.body.device),
            labels=survey.labels[some],
            groups=[survey.samples[i].unit for i in some],
            classes=len(survey.dataset.classes),
            seed=survey.request.seed,
            listener=survey.listener,
            top=survey.table.columns((TOP,), some)[:] if same_side else None,
            progress=survey.progress,
            scales=survey.scales,
        )


def tuned(  # noqa: PLR0913 - what is known already is as much part of it as what is to do
    survey: Survey,
    probes: Probes,
    plan: Plan,
    clock: Clock,
    *,
    made: tune.Material | None = None,
    proof: tune.Trial | None = None,
    allowed: float = 0.0,
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
        allowed: How far behind the probe these may be, in accuracy.
        guarded: Whether the probe may be returned instead; `compare` wants the tuned model.
    """
    images = made or material(survey, plan, clock)
    split = judged_on_split(survey, plan.strategy)
    trial = None if split else proof
    trial = trial or _prove(survey, probes, images, plan, clock, split=split)
    # `scratch` is for comparison only: there is no probe under it
    floor = None
    if plan.strategy != "scratch" and guarded:
        floor = floor_of(survey, probes, trial, allowed if trial is proof else None)
    if floor is not None:
        survey.listener.note(floor.reason)
        if floor.kept == "probe":
            kept = realise.probed(survey, probes.best, probes.name)
            if trial.tuned is not None:
                kept = replace(kept, history=trial.tuned.history, stopped=trial.tuned.stopped)
            return replace(kept, floor=floor)
    outcome = trial.tuned
    if outcome is None:
        epochs = f"{plan.epochs} epochs at {plan.side_px} px"
        with clock.step("tune", f"{plan.strategy} on all {len(survey.samples)} images: {epochs}"):
            outcome = tune.on_everything(images, plan)
    return _model(survey, plan, trial, outcome, floor)


def judged_on_split(survey: Survey, strategy: Strategy) -> bool:
    """Whether there are enough validation images to tell a better model from a luckier one.

    `scratch` has no probe to be told from: they only choose its epoch.
    """
    enough = 1 if strategy == "scratch" else tune.TELLING_IMAGES
    return int(np.count_nonzero(~survey.in_train)) >= enough


def floor_of(
    survey: Survey, probes: Probes, trial: tune.Trial, allowed: float | None = None
) -> Floor:
    """The tuned model against the best probe, on the images that the trial held out."""
    mine, other, labels = _held_out(survey, probes, trial)
    name = probes.best.score.name
    if trial.tuned is not None:
        name += ", which would learn from them, too"
    return evaluate.floor(mine, other, labels, name, trial.how, allowed=allowed)


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

    Where the trial's model is the one to keep, the probe learns from the held-out images as well,
    all but the fold that is scored: so it would be kept in its place, and where there are few
    images of each class that counts (docs/log.md, 2026-11-25). Its stage and penalty were chosen
    with the held-out images among the folds, which favours the probe a little: the safe side.
    """
    scores = np.empty((len(trial.held), len(survey.dataset.classes)))
    start = 0
    for rows, held in trial.parts:
        fold = survey.fold[held] if trial.tuned is not None else np.zeros(len(held), np.int64)
        for f in np.unique(fold):
            some = np.flatnonzero(fold == f)
            others = held[fold != f]
            head = survey.head(rival, np.concatenate([rows, others]))
            blocks = survey.blocks(rival.score.taps, held[some])
            scores[start + some] = probe.score(head, blocks.rows)
        start += len(held)
    return scores


def attempt(
    survey: Survey,
    probes: Probes,
    measured: DatasetProfile,
    clock: Clock,
    tuning: Strategy = "deep",
    belief: strategy.Belief | None = None,
    most: int = 2,
) -> Attempt:
    """Tune for a short while on one half of the images and judge on the other.

    Args:
        survey: The data; where there are many images, a stratified part of them is used.
        probes: What is to be beaten.
        measured: For the plan.
        clock: Times the steps.
        tuning: The way of tuning to try.
        belief: Where given, the other way round is tried only if that leaves the choice open;
            without it `most` halves judge.
        most: How many halves may judge.
    """
    full = plan_for(survey, measured, probes, tuning)
    rows = probe.ranking_sample(survey.labels)
    made = material(survey, short(survey, full, len(rows)), clock, rows)
    images, error = survey.images, probes.error
    parts, scores, results = [], [], []
    for learn, held in tune.halves(made)[:most]:
        began = time.perf_counter()
        plan = short(survey, full, len(learn))
        with clock.step("trial", f"trying {tuning}: {plan.epochs} epochs at {plan.side_px} px"):
            found = tune.on_part(made, plan, learn, held)
            part = (rows[learn], rows[held])
            gain, noise, _, _ = lead(survey, probes, tune.Trial((part,), found, None, ""))
        sizes = (len(learn), len(held), plan.side_px, plan.epochs)
        took = time.perf_counter() - began
        results.append(TrialResult(tuning, *sizes, gain, noise, took))
        parts.append(part)
        scores.append(found)
        if belief is not None and strategy.settled(strategy.weigh(belief, images, error, results)):
            break
    judged = sum(len(held) for _, held in parts)
    how = f"images, each classified after a short trial on {len(parts[0][0])} others"
    trial = tune.Trial(tuple(parts), np.concatenate(scores), None, f"{judged} {how}")
    return Attempt(made, trial, tuple(results))


def short(survey: Survey, plan: Plan, images: int) -> Plan:
    """The plan of a trial that learns from so many images, at a size that the backbone takes."""
    return strategy.short(plan, images, one_size=survey.body.facts.one_size)


def seconds(survey: Survey, plan: Plan) -> tuple[float, str]:
    """Seconds of decoding, of every step, and of judging; and how they were found."""
    images = survey.images
    split = judged_on_split(survey, plan.strategy)
    learning = len(survey.splits.train) if split else images
    device, classes = torch.device(survey.body.device), len(survey.dataset.classes)
    steps = math.ceil(learning / plan.batch_size)
    batch = math.ceil(learning / steps)  # the loop cuts an epoch evenly
    timed = replace(plan, batch_size=batch)
    step = train.seconds_per_step(timed, survey.body.network, classes, device)
    full = plan.epochs * steps
    again = 0.0 if split else PROOF * full  # on few images, once more on halves, to be judged
    if survey.request.strategy == "auto" and survey.request.policy == "measured":
        half = min(images, probe.RANKING_IMAGES) // 2
        tried = short(survey, plan, half)
        again = TRIALS * tried.epochs * math.ceil(half / plan.batch_size)
        again *= (tried.side_px / plan.side_px) ** 2
    judging = images / plan.batch_size * FORWARD_SHARE
    total = step * (full + again + judging) + images * survey.seconds_per_image
    text = f"{full} steps of {batch} images at {plan.side_px} px, {step:.2f} s each "
    return total, text + f"(two timed), and {again:.0f} more to prove it"


def _prove(
    survey: Survey, probes: Probes, images: tune.Material, plan: Plan, clock: Clock, *, split: bool
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
            return tune.on_halves(images, plan, lambda trial: _settled(survey, probes, trial))
        inside = survey.in_train
        return tune.on_split(images, plan, np.flatnonzero(inside), np.flatnonzero(~inside))


def _settled(survey: Survey, probes: Probes, trial: tune.Trial) -> bool:
    """Whether one half tells the tuned model from the probe, so that the other need not."""
    gain, noise, _, _ = lead(survey, probes, trial)
    settled = len(trial.held) >= tune.TELLING_IMAGES // 2 and abs(gain) > strategy.SURE * noise
    if settled:
        survey.listener.note(
            f"one half settles it: {100 * gain:+.1f} ± {100 * noise:.1f} points against the probe"
        )
    return settled


def _model(
    survey: Survey, plan: Plan, trial: tune.Trial, outcome: train.Tuned, floor: Floor | None
) -> Model:
    """Calibrate on the held-out scores; they are also the estimate before the test."""
    labels = survey.labels[trial.held]
    temperature = probe.fit_temperature(trial.scores, labels)
    probabilities = probe.probabilities(trial.scores, temperature)
    # The run keeps the converted network, so it is there for the test, too. A training that was
    # stopped is not tested, and its network not kept.
    images = None if outcome.stopped is None else 0
    backbone, device = outcome.backbone, torch.device(survey.body.device)
    runtime = engine.make(backbone, device, plan.side_px, images)
    return Model(
        strategy=plan.strategy,
        runtime=runtime,
        tensors=backbone.arrays,
        graph=lambda: runtime.graph or engine.convert(backbone, plan.side_px),
        head=replace(outcome.head, temperature=temperature),
        taps=(TOP,),
        side_px=plan.side_px,
        estimate=evaluate.measure(probabilities, labels, survey.dataset.classes),
        estimate_source=trial.how.partition(" ")[2],  # their number is told with the estimate
        history=outcome.history,
        floor=floor,
        plan=outcome.plan,
        stopped=outcome.stopped,
    )
