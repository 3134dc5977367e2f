"""Tuning with proof: what is held out stays held out."""

from __future__ import annotations

import numpy as np
import torch
from helpers import Recorder

from finetune import batches, strategy, train, tune
from finetune.backbones import Backbone
from finetune.records import Plan

SIDE = 64


def make_plan(backbone: Backbone, epochs: int = 1) -> Plan:
    facts = strategy.Facts(images=20, similarity="different", stages=backbone.stages, side_px=SIDE)
    return strategy.resolve("deep", facts, {"epochs": epochs, "batch_size": 8})


def material(backbone: Backbone, count: int = 24, seed: int = 0) -> tune.Material:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    base = rng.integers(0, 120, (count, SIDE, SIDE, 3)) + (labels * 60)[:, None, None, None]
    plain = base.astype(np.uint8)
    large_side = train.canvas_px(SIDE)
    large = np.repeat(np.repeat(plain, 2, axis=1), 2, axis=2)[:, :large_side, :large_side]
    device = torch.device("cpu")
    return tune.Material(
        backbone=backbone,
        device=device,
        large=np.ascontiguousarray(large),
        plain=plain,
        top=tune.top_features(backbone, device, plain),
        labels=labels,
        groups=[f"file{i // 2 if i < 8 else i}" for i in range(count)],
        classes=2,
        seed=0,
        listener=Recorder(),
    )


def test_halves_hold_every_image_out_once_and_never_split_copies(tiny: Backbone) -> None:
    """Each image is judged once, by a model that saw neither it nor a copy of it."""
    data = material(tiny)

    trial = tune.on_halves(data, make_plan(tiny))

    assert sorted(trial.held) == list(range(24))
    assert trial.scores.shape == (24, 2)
    for rows, held in trial.parts:
        assert set(rows).isdisjoint(held)
        learnt = {data.groups[i] for i in rows}
        assert learnt.isdisjoint(data.groups[i] for i in held)


def test_halves_do_not_look_at_the_labels_they_predict(tiny: Backbone) -> None:
    """Turning the labels of one half around changes the scores of the other half only."""
    data = material(tiny)
    plan = make_plan(tiny)

    one = tune.on_halves(data, plan)

    held = one.parts[0][1]
    turned = data.labels.copy()
    turned[held] = 1 - turned[held]
    # folds are made by class, so the same partition is forced
    rows = one.parts[0][0]
    again = tune._scores(data, tune._fit(data, plan, rows, None), held)
    changed = tune.Material(**{**vars(data), "labels": turned})
    third = tune._scores(changed, tune._fit(changed, plan, rows, None), held)
    assert np.array_equal(again, third)
    assert np.array_equal(one.scores[: len(held)], again)


def test_split_scores_are_those_of_the_model_kept(tiny: Backbone) -> None:
    """The scores on the validation images come from the very model that is returned."""
    data = material(tiny)
    rows, val = np.arange(16), np.arange(16, 24)

    trial = tune.on_split(data, make_plan(tiny, epochs=2), rows, val)

    assert trial.tuned is not None
    assert np.array_equal(trial.held, val)
    assert np.array_equal(trial.scores, tune._scores(data, trial.tuned, val))


def test_prepare_decodes_both_sizes(tiny: Backbone, image_folder) -> None:
    """Training pictures are larger than the network's input; the plain ones are what it sees."""
    root = image_folder({"a": 3, "b": 3})
    paths = sorted(root.rglob("*.png"))
    plan = make_plan(tiny)

    data = tune.prepare(
        paths,
        plan,
        tiny,
        torch.device("cpu"),
        labels=np.array([0, 0, 0, 1, 1, 1]),
        groups=[p.name for p in paths],
        classes=2,
        seed=0,
        listener=Recorder(),
    )

    assert data.large.shape == (6, train.canvas_px(SIDE), train.canvas_px(SIDE), 3)
    assert np.array_equal(data.plain[0], batches.decode(paths[0], SIDE))
    assert data.top is not None
    assert data.top.shape[0] == 6
