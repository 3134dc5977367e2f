"""Tuning with proof: every figure comes from images the tuned model did not learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from finetune.backbones import engine, features, ranks
from finetune.backbones.inference import TOP, Engine
from finetune.backbones.stages import Backbone
from finetune.heads import cross_validation, kernels, outputs, ridge
from finetune.heads.aims import Aim
from finetune.heads.logit_adjustment import Wanted
from finetune.pictures import decoding
from finetune.records.backbone import HALF, Box
from finetune.records.codec import to_json
from finetune.records.dataset import Scale
from finetune.records.decision import Plan
from finetune.records.events import Listener
from finetune.runs.fit_slot import Slot
from finetune.runs.resume import Progress
from finetune.storage import arrays
from finetune.storage.arrays import Some
from finetune.training import loop, setup, state

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Material:
    """Every image that is not test, decoded, with what is needed to tune on some of them.

    `large` uint8[N,S',S',3] is what random crops are cut from, `plain` uint8[N,S,S,3] what the
    network sees; `top` are top features float32[N,F] of `plain`, None for `scratch`. Images with
    equal `groups` are copies. `progress` is where fits are kept; None where they are not. `wanted`
    are the classes' shares where the model will be used, `counting` those by which its epochs are
    compared; None for those of the images. Where there is an `aim`, `truth` float64[N,K] is what
    outputs are to be, and `labels` are strata. `learnt` bool[N] says what has
    taught the network before it came here, and so cannot judge it; None where nothing has. `counts`
    float64[N] is how much each image counts in learning; None where all count the same.
    """

    backbone: Backbone
    device: torch.device
    large: npt.NDArray[np.uint8]
    plain: npt.NDArray[np.uint8]
    top: npt.NDArray[np.float32] | None
    labels: Rows
    groups: Sequence[str]
    classes: int
    seed: int
    listener: Listener
    progress: Progress | None = None
    wanted: Wanted | None = None
    counting: Wanted | None = None
    aim: Aim | None = None
    truth: arrays.Array | None = None
    learnt: npt.NDArray[np.bool_] | None = None
    counts: arrays.Array | None = None

    def counted(self, rows: Rows) -> arrays.Array | None:
        """How much some images count in learning, float64[M]."""
        return None if self.counts is None else self.counts[rows]

    def aimed_at(self, rows: Rows) -> npt.NDArray[Any]:
        """What some images are to be taken for: their labels int64[M], or float32[M,K]."""
        return self.labels[rows] if self.truth is None else self.truth[rows].astype(np.float32)


@dataclass(frozen=True)
class Trial:
    """Scores float64[M,C] of held-out images before temperature, and who learnt from what.

    `parts` pairs the rows learnt from with the rows held out; `tuned` is the model to keep, None
    where it has still to be made on all images. `weighed` says that the models learnt with class
    weights.
    """

    parts: tuple[tuple[Rows, Rows], ...]
    logits: arrays.Array
    tuned: loop.Tuned | None
    how: str
    weighed: bool = False

    @property
    def held(self) -> Rows:
        """The held-out rows in the order of `scores`."""
        return np.concatenate([held for _, held in self.parts])


def prepare(  # noqa: PLR0913 - it fills a record of as many fields
    paths: Sequence[Path],
    plan: Plan,
    backbone: Backbone,
    device: torch.device,
    *,
    labels: Rows,
    groups: Sequence[str],
    classes: int,
    seed: int,
    listener: Listener,
    top: npt.NDArray[np.float32] | None = None,
    progress: Progress | None = None,
    scales: Sequence[Scale] | None = None,
    box: Box = HALF,
    wanted: Wanted | None = None,
    counting: Wanted | None = None,
    learnt: npt.NDArray[np.bool_] | None = None,
    counts: arrays.Array | None = None,
) -> Material:
    """Decode the images at the plan's resolution; take the top features there unless given."""
    run, last, why = setup.frozen(plan, backbone, device, plan.side_px)
    if why is not None:
        runtime = "torch" if run is None else "openvino"
        listener.detail(f"the frozen stages, up to {last}, run in {runtime} ({why.text})")
    large, plain = _decoded(paths, plan.side_px, scales, box)
    if plan.strategy == "scratch":
        top = None
    elif top is None:
        top = top_features(backbone, device, plain)
    sources = (backbone, device, large, plain, top, labels, groups, classes, seed, listener)
    return Material(*sources, progress, wanted, counting, learnt=learnt, counts=counts)


def _decoded(
    paths: Sequence[Path], side_px: int, scales: Sequence[Scale] | None, box: Box
) -> list[decoding.Pixels]:
    """Pictures to cut crops from, and as the network sees them; each rank decodes its share."""
    sides, threads = (setup.canvas_px(side_px), side_px), torch.get_num_threads()
    own = ranks.share(len(paths))
    found = decoding.load(paths[own], sides, threads, scales, box)
    if ranks.size() == 1:
        return found
    whole = [arrays.pictures(len(paths), side) for side in sides]
    for pictures, some in zip(whole, found, strict=True):
        pictures[own] = some
        ranks.exchange(pictures)
    return whole


def on_split(material: Material, plan: Plan, rows: Rows, val: Rows) -> Trial:
    """Tune on `rows`; the images of `val` choose the epoch and are held out.

    A training that was stopped is judged by the scores at hand: there is no time for others.
    """
    tuned = _fit(material, plan, rows, val)
    how = f"{len(val)} validation images, which also chose the best epoch"
    logits = _logits(material, tuned, val) if tuned.logits is None else tuned.logits
    return Trial(((rows, val),), logits, tuned, how, plan.class_weights)


def on_two_folds(
    material: Material, plan: Plan, enough: Callable[[Trial], bool] = lambda _: False
) -> Trial:
    """Tune twice, each time on half of the images, and classify the other half.

    So every image is held out once, and few images tell as much as they can. Learning from half of
    them favours the probe, which needs fewer: the safe side.

    Args:
        material: The images.
        plan: How to tune.
        enough: Asked after the first half whether that settles it.
    """
    parts, logits = halves(material), []
    for number, (rows, held) in enumerate(parts, start=1):
        material.listener.detail(f"fold {number} of 2: {len(rows)} to learn, {len(held)} to judge")
        logits.append(on_part(material, plan, rows, held))
        judged = np.concatenate(logits)
        how = f"{len(judged)} images, each classified by a model tuned on the other fold"
        trial = Trial(parts[:number], judged, None, how, plan.class_weights)
        if number == 1 and enough(trial):
            break
    return trial


def halves(material: Material) -> tuple[tuple[Rows, Rows], ...]:
    """The images in two stratified halves, copies together: each to learn from, then to judge."""
    learnt = material.learnt
    if learnt is None:
        learnt = np.zeros(len(material.labels), np.bool_)
    half = halved(material.labels, material.groups, learnt)
    judged = [np.flatnonzero((half == h) & ~learnt) for h in (0, 1)]
    return tuple((np.flatnonzero(half != h), judged[h]) for h in (0, 1))


def halved(labels: Rows, groups: Sequence[str], learnt: npt.NDArray[np.bool_]) -> Rows:
    """Which half each image is in, int64[N]: stratified by class, and by what may not judge."""
    return cross_validation.folds(2 * labels + learnt, groups, 2)


def on_part(material: Material, plan: Plan, rows: Rows, held: Rows) -> arrays.Array:
    """Tune on `rows` for all epochs; scores float64[M,C] of `held` before temperature."""
    return _logits(material, _fit(material, plan, rows, None), held)


def on_everything(material: Material, plan: Plan, until: int | None = None) -> loop.Tuned:
    """Tune on all images: the recipe has been proved, or is wanted.

    Args:
        material: The images.
        plan: How to tune.
        until: The epoch after which to end, the schedule being that of all; None for the last.
    """
    return _fit(material, plan, np.arange(len(material.labels)), None, until)


def top_features(
    backbone: Backbone,
    device: torch.device,
    pixels: npt.NDArray[np.uint8],
    ready: Engine | None = None,
) -> npt.NDArray[np.float32]:
    """Top features float32[N,F] of decoded pictures uint8[N,S,S,3], of each rank its share.

    `ready` is the network's engine, where there is one.
    """
    runtime = ready or engine.make(backbone, device, pixels.shape[1], len(pixels))
    own, batch = ranks.share(len(pixels)), features.BATCH
    rows = [np.empty((0, max(stop for _, stop in runtime.layout.values())), np.float32)]
    starts = range(own.start, own.stop, batch)
    rows += [runtime.forward(pixels[i : min(i + batch, own.stop)]) for i in starts]
    return ranks.joint(np.concatenate(rows)[:, slice(*runtime.layout[TOP])])


def _logits(material: Material, tuned: loop.Tuned, rows: Rows) -> arrays.Array:
    top = top_features(tuned.backbone, material.device, material.plain[rows])
    return ridge.score(tuned.head, top)


def _fit(
    material: Material, plan: Plan, rows: Rows, val: Rows | None, until: int | None = None
) -> loop.Tuned:
    """Tune a copy of the backbone on some rows, from a probe's head on the same rows."""
    labels = material.labels[rows]
    start = None
    if material.top is not None:
        start = start_head(material, rows)
    return loop.fit(
        plan,
        material.backbone,
        start,
        state.Split(
            Some(material.large, rows), material.aimed_at(rows), counts=material.counted(rows)
        ),
        None if val is None else _validation(material, plan, labels, val),
        classes=material.classes if material.truth is None else material.truth.shape[1],
        device=material.device,
        seed=material.seed,
        listener=material.listener,
        slot=_slot(material, plan, rows, val),
        until=until,
        aim=material.aim,
    )


def _validation(material: Material, plan: Plan, learnt: Rows, val: Rows) -> state.Split:
    """Validation images, and how their scores are judged after learning from images of labels."""
    labels, wanted, counting = material.labels[val], material.wanted, material.counting
    return state.Split(
        Some(material.plain, val),
        material.aimed_at(val),
        shift=None if wanted is None else wanted.shift(learnt, weighed=plan.class_weights),
        weights=None if counting is None else counting.weights(labels),
    )


def _slot(material: Material, plan: Plan, rows: Rows, val: Rows | None) -> Slot | None:
    """Where this fit is kept: one training's fits differ in the plan, the images and their part."""
    if material.progress is None:
        return None
    names = "\n".join(material.groups[i] for i in rows)
    held = "" if val is None else "\n".join(material.groups[i] for i in val)
    final = val is not None or len(rows) == len(material.labels)
    heavy = material.counted(rows)
    weights = [] if heavy is None else [",".join(map(repr, heavy.tolist()))]
    parts = (t.encode() for t in (to_json(plan), names, held, *weights))
    return material.progress.slot(*parts, final=final)


def start_head(material: Material, learnt: Rows) -> ridge.Head:
    """The head that tuning starts from: a probe on the top features as the network has them."""
    assert material.top is not None
    top, labels = material.top[learnt], material.labels[learnt]
    rows = cross_validation.ranking_sample(labels)
    span = (0, top.shape[1])
    counts, some = material.counted(learnt), material.counted(learnt[rows])
    kernel = kernels.stage_kernels(top[rows], {TOP: span}, some)[TOP]
    groups = [material.groups[i] for i in learnt[rows]]
    blocks = ridge.Blocks(top, (span,), counts)
    if material.aim is not None and material.truth is not None:
        truth, stage = material.truth[learnt], (TOP, (TOP,), top.shape[1])
        left = outputs.leave_out(stage, kernel, truth[rows], material.aim, groups, counts=some)
        return outputs.fit(blocks, truth, left)
    about = (TOP, (TOP,), kernel, labels[rows], top.shape[1], groups)
    found = cross_validation.leave_out(*about, counts=some)
    return ridge.fit(blocks, labels, material.classes, found.score.penalty, found.temperature)
