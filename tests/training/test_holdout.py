"""Tuning with proof: what is held out stays held out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import Recorder
from hypothesis import given
from hypothesis import strategies as st

from finetune.backbones.stages import Backbone
from finetune.heads import cross_validation, kernels, ridge
from finetune.pictures import decoding
from finetune.records.choices import Strategy
from finetune.records.decision import Plan
from finetune.training import holdout, recipe, setup

SIDE = 64


def make_plan(backbone: Backbone, epochs: int = 1, kind: Strategy = "deep") -> Plan:
    facts = recipe.Facts(images=20, similarity="different", stages=backbone.stages, side_px=SIDE)
    return recipe.resolve(kind, facts, {"epochs": epochs, "batch_size": 8})


def material(backbone: Backbone, count: int = 24, seed: int = 0) -> holdout.Material:
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    base = rng.integers(0, 120, (count, SIDE, SIDE, 3)) + (labels * 60)[:, None, None, None]
    plain = base.astype(np.uint8)
    large_side = setup.canvas_px(SIDE)
    large = np.repeat(np.repeat(plain, 2, axis=1), 2, axis=2)[:, :large_side, :large_side]
    device = torch.device("cpu")
    return holdout.Material(
        backbone=backbone,
        device=device,
        large=np.ascontiguousarray(large),
        plain=plain,
        top=holdout.top_features(backbone, device, plain),
        labels=labels,
        groups=[f"file{i // 2 if i < 8 else i}" for i in range(count)],
        classes=2,
        seed=0,
        listener=Recorder(),
    )


def tied(labels: list[int], groups: list[str]) -> holdout.Material:
    """Material that has labels and copies only."""
    nothing = np.zeros((len(labels), 0, 0, 3), np.uint8)
    return holdout.Material(
        backbone=None,  # type: ignore[arg-type]  # the halves do not look at it
        device=torch.device("cpu"),
        large=nothing,
        plain=nothing,
        top=None,
        labels=np.array(labels),
        groups=groups,
        classes=max(labels) + 1,
        seed=0,
        listener=Recorder(),
    )


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("abcdefghijkl")), min_size=1, max_size=40
    )
)
def test_halves_part_the_images_and_keep_copies_together(pairs: list[tuple[int, str]]) -> None:
    """Disjoint, each image to judge once, each learns from what the other judges, no copy torn."""
    groups = [g for _, g in pairs]

    one, two = holdout.halves(tied([label for label, _ in pairs], groups))

    for rows, held in (one, two):
        assert set(rows).isdisjoint(held)
        assert {groups[i] for i in rows}.isdisjoint(groups[i] for i in held)
    assert sorted([*one[1], *two[1]]) == list(range(len(pairs)))
    np.testing.assert_array_equal(one[0], two[1])
    np.testing.assert_array_equal(one[1], two[0])


@given(counts=st.lists(st.integers(2, 30), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_halves_are_stratified(counts: list[int], seed: int) -> None:
    """Each class, in whatever order its images come, is halved to within one image."""
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))

    (_, one), (_, two) = holdout.halves(
        tied(labels.tolist(), [f"{i:03d}" for i in range(len(labels))])
    )

    for label in range(len(counts)):
        assert abs(int((labels[one] == label).sum()) - int((labels[two] == label).sum())) <= 1
    assert abs(len(one) - len(two)) <= 1


def test_on_halves_every_image_is_judged_by_the_half_it_is_not_in(tiny: Backbone) -> None:
    """The trial has the halves' parts in order and one row of scores for each held-out image."""
    data, plan = material(tiny), make_plan(tiny)

    trial = holdout.on_two_folds(data, plan)

    assert sorted(trial.held) == list(range(24))
    assert trial.logits.shape == (24, 2)
    assert trial.tuned is None
    for mine, other in zip(trial.parts, holdout.halves(data), strict=True):
        np.testing.assert_array_equal(mine[0], other[0])
        np.testing.assert_array_equal(mine[1], other[1])
    rows, held = trial.parts[1]
    np.testing.assert_array_equal(
        trial.logits[-len(held) :], holdout.on_part(data, plan, rows, held)
    )


def test_a_training_on_everything_may_end_on_its_way(tiny: Backbone) -> None:
    """Ended after two of four epochs it has taken the first two of the same schedule."""
    data, plan = material(tiny), make_plan(tiny, epochs=4)

    short, whole = (holdout.on_everything(data, plan, until) for until in (2, None))

    assert [r.train_loss for r in short.history] == [r.train_loss for r in whole.history[:2]]
    assert [r.lr for r in short.history] == [r.lr for r in whole.history[:2]]
    assert len(whole.history) == 4


@pytest.mark.parametrize(("enough", "parts"), [(True, 1), (False, 2)])
def test_the_second_half_is_not_trained_where_the_first_settles_it(
    tiny: Backbone, enough: bool, parts: int
) -> None:
    """Asked once, of the first half's scores; what is judged then is half of the images."""
    data, asked = material(tiny), []

    def settles(trial: holdout.Trial) -> bool:
        asked.append(len(trial.held))
        return enough

    trial = holdout.on_two_folds(data, make_plan(tiny), settles)

    assert asked == [12]
    assert len(trial.parts) == parts
    assert len(trial.logits) == len(trial.held) == 12 * parts
    assert trial.how.startswith(f"{12 * parts} images")


def test_a_part_does_not_look_at_what_it_judges(tiny: Backbone) -> None:
    """Other labels and other pictures to learn from on the held-out side change no score."""
    data, plan = material(tiny), make_plan(tiny)
    rows, held = holdout.halves(data)[0]
    labels, large, top = data.labels.copy(), data.large.copy(), np.array(data.top)
    labels[held], large[held], top[held] = 1 - labels[held], 0, 0
    changed = replace(data, labels=labels, large=large, top=top)

    before = holdout.on_part(data, plan, rows, held)

    assert before.shape == (len(held), 2)
    np.testing.assert_array_equal(before, holdout.on_part(changed, plan, rows, held))


def test_a_part_learns_from_its_own_half(tiny: Backbone) -> None:
    """Other labels on the side that is learnt from do change the scores."""
    data, plan = material(tiny), make_plan(tiny)
    rows, held = holdout.halves(data)[0]
    labels = data.labels.copy()
    labels[rows] = 1 - labels[rows]

    before = holdout.on_part(data, plan, rows, held)
    after = holdout.on_part(replace(data, labels=labels), plan, rows, held)

    assert (before != after).any(axis=1).all()


def test_tuning_starts_from_a_probe_on_the_same_rows(tiny: Backbone) -> None:
    """The first head is a calibrated probe on the rows learnt from, copies left out together."""
    data = material(tiny, count=40)
    data = replace(data, groups=[f"file{i // 4}{i % 2}" for i in range(40)])
    rows = np.flatnonzero(np.arange(40) % 5 != 0)
    assert data.top is not None
    groups = [data.groups[i] for i in rows]

    head = holdout.start_head(data, rows)

    span = (0, data.top.shape[1])
    kernel = kernels.stage_kernels(data.top[rows], {"top": span})["top"]
    found = cross_validation.leave_out("top", ("top",), kernel, data.labels[rows], span[1], groups)
    blocks = ridge.Blocks(data.top[rows], (span,))
    same = ridge.fit(blocks, data.labels[rows], 2, found.score.penalty, found.temperature)
    np.testing.assert_allclose(head.weight, same.weight)
    np.testing.assert_allclose(head.bias, same.bias)
    assert head.temperature == found.temperature


def test_a_half_without_a_class_still_knows_it(tiny: Backbone) -> None:
    """Where the only image of a class is held out, the scores have a column for it all the same."""
    data = material(tiny)
    labels = data.labels.copy()
    labels[-1] = 2
    data = replace(data, labels=labels, classes=3)

    logits = holdout.on_part(data, make_plan(tiny), np.arange(20), np.arange(20, 24))

    assert logits.shape == (4, 3)
    assert np.isfinite(logits).all()


def test_split_scores_are_those_of_the_model_kept(tiny: Backbone) -> None:
    """The scores on the validation images come from the very model that is returned."""
    data = material(tiny)
    rows, val = np.arange(16), np.arange(16, 24)

    trial = holdout.on_split(data, make_plan(tiny, epochs=2), rows, val)

    assert trial.tuned is not None
    assert np.array_equal(trial.held, val)
    assert trial.logits.shape == (8, 2)
    assert np.array_equal(trial.logits, holdout._logits(data, trial.tuned, val))


@pytest.mark.parametrize(("kind", "told"), [("partial", True), ("deep", False)])
def test_what_runs_the_frozen_stages_is_told(
    tiny: Backbone, image_folder, kind: Strategy, told: bool
) -> None:
    """Where they run in another engine than torch, its name and the reason reach the user."""
    paths = sorted(image_folder({"a": 2, "b": 2}).rglob("*.png"))
    listener = Recorder()

    holdout.prepare(
        paths,
        make_plan(tiny, kind=kind),
        tiny,
        torch.device("cpu"),
        labels=np.array([0, 0, 1, 1]),
        groups=[p.name for p in paths],
        classes=2,
        seed=0,
        listener=listener,
    )

    heard = [note for note in listener.notes if note.startswith("the frozen stages")]
    assert len(heard) == told
    assert all("openvino (features agree with torch's" in note for note in heard)


def test_prepare_decodes_both_sizes(tiny: Backbone, image_folder) -> None:
    """Training pictures are larger than the network's input; the plain ones are what it sees."""
    root = image_folder({"a": 3, "b": 3})
    paths = sorted(root.rglob("*.png"))
    plan = make_plan(tiny)

    data = holdout.prepare(
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

    assert data.large.shape == (6, setup.canvas_px(SIDE), setup.canvas_px(SIDE), 3)
    assert np.array_equal(data.plain[0], decoding.decode(paths[0], SIDE))
    assert data.top is not None
    assert data.top.shape[0] == 6
