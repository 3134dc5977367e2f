"""Short trials of tuning on half of the images against the best probe on the other half."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.backbones.inference import TOP
from finetune.decision.planning import plan_for
from finetune.heads import cross_validation, ridge
from finetune.metrics import paired
from finetune.records.analysis import DatasetProfile
from finetune.records.choices import Strategy
from finetune.records.decision import Plan, TrialResult
from finetune.storage import arrays
from finetune.training import holdout, recipe

# Where one image in four is decided differently, the gain has a standard error of 1.6 points then.
JUDGING_IMAGES = 1000


@dataclass(frozen=True)
class Trials:
    """Short trials of tuning: the images at their resolution, held-out scores, and the outcomes."""

    made: holdout.Material
    trial: holdout.Trial
    results: tuple[TrialResult, ...]


def material(
    analysis: Analysis, plan: Plan, clock: Clock, rows: npt.NDArray[np.int64] | None = None
) -> holdout.Material:
    """Some of the training images (None: all) at the resolution of a plan."""
    some = np.arange(len(analysis.samples)) if rows is None else rows
    same_side = plan.side_px == analysis.facts.preprocess.side_px
    paths = analysis.paths
    with clock.step("decode", f"decoding {len(some)} images at {plan.side_px} px"):
        return holdout.prepare(
            [paths[i] for i in some],
            plan,
            analysis.body.network,
            torch.device(analysis.body.device),
            labels=analysis.labels[some],
            groups=[analysis.samples[i].unit for i in some],
            classes=len(analysis.dataset.classes),
            seed=analysis.options.training.seed,
            listener=analysis.listener,
            top=analysis.table.columns((TOP,), some)[:] if same_side else None,
            progress=analysis.progress,
            scales=analysis.scales,
            box=analysis.box,
            wanted=analysis.wanted,
            counting=analysis.counting,
            learnt=analysis.learnt[some],
            counts=None if analysis.weights is None else analysis.weights[some],
        )


def judged_on_split(analysis: Analysis, strategy: Strategy) -> bool:
    """Whether there are enough validation images to tell a better model from a luckier one.

    `scratch` has no probe to be told from: they only choose its epoch.
    """
    enough = 1 if strategy == "scratch" else recipe.TELLING_IMAGES
    return int(np.count_nonzero(~analysis.in_train)) >= enough


def lead(
    analysis: Analysis, probes: Probes, trial: holdout.Trial
) -> tuple[float, float, float, float]:
    """The trial's lead over the best probe in accuracy, its noise, and both of log loss."""
    mine, other, labels = _held_out(analysis, probes, trial)
    return paired.accuracy_gain(mine, other, labels, analysis.yardstick(trial.held))


def _held_out(
    analysis: Analysis, probes: Probes, trial: holdout.Trial
) -> tuple[arrays.Array, arrays.Array, npt.NDArray[np.int64]]:
    """Calibrated probabilities of the trial's model and of the best probe, and the labels."""
    labels = analysis.labels[trial.held]
    rival = rival_logits(analysis, probes.best, trial)
    _, mine = analysis.calibrated(trial.logits, trial.held, weighed=trial.weighed)
    _, other = analysis.calibrated(rival, trial.held)
    return mine, other, labels


def rival_logits(
    analysis: Analysis, rival: cross_validation.LeftOut, trial: holdout.Trial
) -> arrays.Array:
    """Scores float64[M,C] of the probe, fitted on what the trial's models learnt from.

    Where the trial's model is the one to keep, the probe learns from the held-out images as well,
    all but the fold that is scored: so it would be kept in its place, and where there are few
    images of each class that counts (docs/log.md, 2026-11-25). Its stage and penalty were chosen
    with the held-out images among the folds, which favours the probe a little: the safe side.
    """
    return scores_without(
        analysis, trial, rival.score.taps, lambda rows: analysis.head(rival, rows)
    )


def scores_without(
    analysis: Analysis,
    trial: holdout.Trial,
    taps: Sequence[str],
    fitted: Callable[[npt.NDArray[np.int64]], ridge.Head],
) -> arrays.Array:
    """What a probe says of held-out images, float64[M,C], as `rival_logits` has it.

    Args:
        analysis: The data.
        trial: Who learnt from what.
        taps: The stages that the probe reads.
        fitted: Its head on some rows int64[N].
    """
    logits = np.empty_like(trial.logits)
    start = 0
    for rows, held in trial.parts:
        fold = analysis.fold[held] if trial.tuned is not None else np.zeros(len(held), np.int64)
        for f in np.unique(fold):
            some = np.flatnonzero(fold == f)
            head = fitted(np.concatenate([rows, held[fold != f]]))
            logits[start + some] = ridge.score(head, analysis.blocks(taps, held[some]).rows)
        start += len(held)
    return logits


def run_trials(
    analysis: Analysis,
    probes: Probes,
    measured: DatasetProfile,
    clock: Clock,
    tuning: Strategy = "deep",
    enough: Callable[[Sequence[TrialResult]], bool] | None = None,
    most: int = 2,
) -> Trials:
    """Tune for a short while on one half of the images and judge on the other.

    Args:
        analysis: The data; of very many images the half that judges is a stratified part.
        probes: What is to be beaten.
        measured: For the plan.
        clock: Times the steps.
        tuning: The way of tuning to try.
        enough: Asked after the first half whether that settles it; without it `most` halves judge.
        most: How many halves may judge.
    """
    full = plan_for(analysis, measured, probes, tuning)
    wanted = halves(analysis, full)[:most]
    rows = np.unique(np.concatenate([part for pair in wanted for part in pair]))
    made = material(analysis, short(analysis, full, len(wanted[0][0])), clock, rows)
    parts, logits, results = [], [], []
    for learn, held in ((np.searchsorted(rows, p) for p in pair) for pair in wanted):
        began = time.perf_counter()
        plan = short(analysis, full, len(learn))
        with clock.step("trial", f"trying {tuning}: {plan.epochs} epochs at {plan.side_px} px"):
            found = holdout.on_part(made, plan, learn, held)
            part = (rows[learn], rows[held])
            one = holdout.Trial((part,), found, None, "", full.class_weights)
            gain, noise, _, _ = lead(analysis, probes, one)
        results.append(
            TrialResult(
                strategy=tuning,
                learnt_from=len(learn),
                judged_on=len(held),
                side_px=plan.side_px,
                epochs=plan.epochs,
                gain=gain,
                noise=noise,
                metric=analysis.options.decision.judged_by,
                seconds=time.perf_counter() - began,
            )
        )
        parts.append(part)
        logits.append(found)
        if enough is not None and enough(results):
            break
    judged = sum(len(held) for _, held in parts)
    how = f"images, each classified after a short trial on {len(parts[0][0])} others"
    scores = np.concatenate(logits)
    trial = holdout.Trial(tuple(parts), scores, None, f"{judged} {how}", full.class_weights)
    return Trials(made, trial, tuple(results))


def short(analysis: Analysis, plan: Plan, images: int) -> Plan:
    """The plan of a trial that learns from so many images, at a size that the backbone takes."""
    one_size = analysis.body.facts.one_size
    return recipe.short(plan, images, analysis.images, one_size=one_size)


def sizes(plan: Plan, images: int) -> tuple[int, int]:
    """How many of so many images a trial learns from, and how many judge it.

    Half of them learn, as in the proof that it stands for, but no more than its steps can see
    often enough; the other half judges, of very many a part.
    """
    half = images // 2
    seen = recipe.trial_steps(plan, images) * plan.batch_size
    return min(half, seen // recipe.TRIAL_EPOCHS), min(half, JUDGING_IMAGES)


def halves(
    analysis: Analysis, plan: Plan
) -> tuple[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]], ...]:
    """Rows to learn from and rows that judge, stratified, copies together.

    Once more the other way round, but where a part judges: its standard error is below the standard
    deviation of what such trials tell, and a second one would cost as much and tell little.
    """
    labels, learnt = analysis.labels, analysis.learnt
    groups = [s.unit for s in analysis.samples]
    half = holdout.halved(labels, groups, learnt)
    whole = len(labels) // 2
    learning, judging = sizes(plan, len(labels))
    found = []
    for h in (0, 1):
        learn, held = np.flatnonzero(half != h), np.flatnonzero((half == h) & ~learnt)
        learn = learn if learning == whole else _part(labels, learn, learning)
        found.append((learn, held if judging == whole else _part(labels, held, judging)))
    return tuple(found if judging == whole else found[:1])


def _part(
    labels: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], wanted: int
) -> npt.NDArray[np.int64]:
    """About so many of some rows, the same share of each class."""
    rng, share = np.random.default_rng(0), min(1.0, wanted / len(rows))
    return rows[cross_validation.draw(rng, labels[rows], share, cross_validation.FEWEST)]
