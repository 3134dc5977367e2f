"""One look at the data: rows that stand for the right images, honest probes, the table's axes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SAMPLE, Recorder, changed, options_for
from PIL import Image
from sklearn.datasets import load_sample_image

from finetune.analysis import analyze, axes, similarity, size
from finetune.analysis.analyze import DRIFT_SAMPLE, Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes, fit_probes
from finetune.backbones import load, registry
from finetune.backbones.inference import ROOT, TOP
from finetune.decision.planning import plan_for
from finetune.heads import cross_validation, kernels, ridge
from finetune.heads.cross_validation import LeftOut
from finetune.pictures import decoding
from finetune.records.analysis import DatasetProfile, StageScore
from finetune.records.errors import DataError
from finetune.storage import arrays

TINY = {"backbone": "test_resnet", "weights": "random"}


def look(root: Path, **options: object) -> Analysis:
    """Look at a folder with the smallest network, unless the options say else."""
    listener = Recorder()
    return analyze.analyze(options_for(root=str(root), **TINY | options), listener, Clock(listener))


def probed(seen: Analysis, *, all_stages: bool = True) -> Probes:
    return fit_probes(seen, Clock(seen.listener), all_stages=all_stages)


def measured(seen: Analysis, probes: Probes) -> DatasetProfile:
    return axes.measure(seen, probes, Clock(seen.listener))


@pytest.fixture(scope="module")
def leaves() -> tuple[Analysis, Probes, DatasetProfile]:
    """Drawn leaves, eight of each kind, seen by the default backbone with its real weights."""
    seen = look(SAMPLE, backbone=registry.DEFAULT, weights=None, max_per_class=8)
    probes = probed(seen)
    return seen, probes, measured(seen, probes)


# --- looking --------------------------------------------------------------------------------------


def test_rows_stand_for_their_samples(image_folder) -> None:
    """Row i of features, labels and folds is image i of `samples`, and no test image is there."""
    root = image_folder({"a": 12, "b": 9, "c": 10})

    seen = look(root)

    assert seen.samples == seen.splits.fitting
    assert {s.path for s in seen.samples}.isdisjoint(s.path for s in seen.splits.test)
    assert len(seen.samples) + len(seen.splits.test) == 31
    assert seen.labels.tolist() == [s.label for s in seen.samples]
    names = [seen.dataset.classes[label] for label in seen.labels]
    assert names == [path.parent.name for path in seen.paths]
    assert seen.table.rows.shape[0] == len(seen.fold) == len(seen.samples)
    side = seen.facts.preprocess.side_px
    for i in (0, 7, len(seen.samples) - 1):
        pixels = torch.from_numpy(decoding.decode(seen.paths[i], side)[None].copy())
        with torch.inference_mode():
            expected = seen.body.network(seen.body.network.normalise(pixels)).numpy()
        np.testing.assert_allclose(seen.table.columns((TOP,))[i : i + 1], expected, atol=1e-4)


def test_an_unreadable_image_leaves_no_row(image_folder) -> None:
    """It is named in a finding, is in no list, and the rows after it stand for the right images."""
    root = image_folder({"a": 10, "b": 10})
    whole = look(root)
    broken = whole.samples[2].path
    kept = root / whole.samples[3].path
    (root / broken).write_bytes(b"no picture")

    seen = look(root)

    finding = next(f for f in seen.findings if f.code == "FT120")
    assert finding.paths == (broken,)
    assert broken not in {s.path for s in (*seen.samples, *seen.splits.fitting)}
    assert len(seen.table.rows) == len(seen.samples) == len(seen.labels)
    i, j = seen.paths.index(kept), whole.paths.index(kept)
    np.testing.assert_allclose(seen.table.rows[i], whole.table.rows[j], atol=1e-5)


def test_an_unreadable_image_stops_it_where_wanted(image_folder) -> None:
    """With `on_bad_image` at `error` the file is a fault that is named."""
    root = image_folder({"a": 10, "b": 10})
    broken = look(root).samples[2].path
    (root / broken).write_bytes(b"no picture")

    with pytest.raises(DataError, match="1 image") as caught:
        look(root, on_bad_image="error")

    assert Path(broken).name in caught.value.message


def test_a_class_that_cannot_be_read_is_a_fault(image_folder) -> None:
    """Where no image of a class decodes there is nothing to learn it from: it is named."""
    root = image_folder({"ash": 8, "bay": 8})
    for path in (root / "bay").iterdir():
        path.write_bytes(b"no picture " + path.name.encode())

    with pytest.raises(DataError, match="bay"):
        look(root)


def test_copies_do_not_make_enough_images(image_folder) -> None:
    """Two different images a class are the least, and copies are not different."""
    root = image_folder({"a": 8, "b": 8})
    for path in sorted(root.rglob("*.png")):
        path.write_bytes((path.parent / "0000.png").read_bytes())

    with pytest.raises(DataError, match="different training images"):
        look(root)


def test_validation_is_what_training_does_not_see(image_folder) -> None:
    """`in_train` is true of the rows of the training split and of no validation image."""
    seen = look(image_folder({"a": 15, "b": 15}))

    train, val = ({s.path for s in part} for part in (seen.splits.train, seen.splits.val))
    held = [s.path for s, inside in zip(seen.samples, seen.in_train, strict=True) if not inside]
    learnt = [s.path for s, inside in zip(seen.samples, seen.in_train, strict=True) if inside]
    assert set(learnt) == train
    assert set(held) == val
    assert val


def test_copies_share_a_fold(image_folder) -> None:
    """The out-of-fold measurement never learns from a copy of what it judges."""
    root = image_folder({"a": 12, "b": 12})
    for i in range(4):
        (root / f"a/copy{i}.png").write_bytes((root / "a/0003.png").read_bytes())

    seen = look(root, test_fraction=0.0)

    digests = [s.digest for s in seen.samples]
    copied = [int(f) for f, d in zip(seen.fold, digests, strict=True) if digests.count(d) > 1]
    assert copied == [copied[0]] * 5
    assert len(set(seen.fold)) == cross_validation.FOLDS


def test_random_weights_are_those_of_the_seed(image_folder) -> None:
    """With one seed untrained features are the same twice, with another they are not."""
    root = image_folder({"a": 6, "b": 6})

    one, two, other = (look(root, seed=s).facts.digest for s in (0, 0, 1))

    assert one == two != other


def test_training_from_scratch_starts_from_random_weights(image_folder) -> None:
    """`scratch` never looks through pretrained weights, even where these are installed."""
    root = image_folder({"a": 6, "b": 6})

    seen = look(root, backbone=registry.DEFAULT, weights=None, strategy="scratch")

    assert seen.facts.weights == "random"


def test_of_many_images_a_stratified_sample_is_looked_at(image_folder) -> None:
    """Each class gives its share but ten at least, the seed draws, and all images are counted."""
    root = image_folder({"a": 60, "b": 30, "c": 12})
    request = options_for(root=str(root), test_fraction=0.0, **TINY)
    listener = Recorder()

    seen = analyze.analyze(request, listener, Clock(listener), 51)

    assert np.bincount(seen.labels).tolist() == [30, 15, 10]
    assert seen.class_counts.tolist() == [60, 30, 12]
    assert len(seen.table.rows) == len(seen.fold) == len(seen.samples) == 55
    assert len(seen.splits.fitting) == 102
    assert "sample of 55 of 102 images" in " ".join(listener.notes)
    order = [seen.splits.fitting.index(s) for s in seen.samples]
    assert order == sorted(order)
    again, other = (
        analyze.analyze(changed(request, seed=s), listener, Clock(listener), 51) for s in (0, 1)
    )
    assert again.samples == seen.samples
    assert {s.path for s in other.samples} != {s.path for s in seen.samples}


@pytest.mark.parametrize("most", [None, 20, 21])
def test_up_to_the_limit_every_image_is_looked_at(image_folder, most: int | None) -> None:
    """Without a limit, or with as many images as it allows, none is left out."""
    root = image_folder({"a": 10, "b": 10})
    request = options_for(root=str(root), test_fraction=0.0, **TINY)

    seen = analyze.analyze(request, Recorder(), Clock(Recorder()), most)

    assert len(seen.samples) == seen.class_counts.sum() == 20


def test_an_unreadable_image_is_not_counted(image_folder) -> None:
    """The counts of the classes are those of images that can be learnt from."""
    root = image_folder({"a": 10, "b": 10})
    (root / "a/0000.png").write_bytes(b"no picture")

    assert look(root, test_fraction=0.0).class_counts.tolist() == [9, 10]


# --- features and heads ---------------------------------------------------------------------------


def test_blocks_are_the_stages_side_by_side(image_folder) -> None:
    """One span for each stage, in the order asked for, with that stage's columns, of some rows."""
    seen = look(image_folder({"a": 8, "b": 8}))
    rows = np.array([3, 0, 5])

    blocks = seen.blocks(("2", "stem", TOP), rows)

    assert [a for a, _ in blocks.spans] == [0, *(b for _, b in blocks.spans[:-1])]
    for tap, (start, stop) in zip(("2", "stem", TOP), blocks.spans, strict=True):
        expected = seen.table.rows[:, slice(*seen.table.layout[tap])][rows]
        np.testing.assert_array_equal(blocks.rows[:][:, start:stop], expected)
    assert blocks.rows.shape[1] == blocks.spans[-1][1]
    one, two = seen.blocks(("2",)).rows[rows], seen.blocks(("2",), rows).rows[:]
    np.testing.assert_array_equal(one, two)


def test_a_head_is_fitted_as_it_was_chosen(image_folder) -> None:
    """Features, penalty and temperature are those of the probe, on the rows asked for alone."""
    seen = look(image_folder({"a": 10, "b": 10}))
    found = replace(probed(seen).top, temperature=0.25)
    found = replace(found, score=replace(found.score, taps=("1", "2"), penalty=0.5))
    rows = np.flatnonzero(seen.in_train)

    head = seen.head(found, rows)

    same = ridge.fit(seen.blocks(("1", "2"), rows), seen.labels[rows], 2, 0.5, 0.25)
    np.testing.assert_array_equal(head.weight, same.weight)
    assert head.temperature == 0.25
    whole = seen.head(found)
    assert not np.array_equal(whole.weight, head.weight)
    assert whole.weight.shape == head.weight.shape


# --- probes ---------------------------------------------------------------------------------------


def test_every_stage_and_some_together_are_probed(image_folder) -> None:
    """The table has the stages from the stem up, three combinations, and the top at its end."""
    seen = look(image_folder({"a": 10, "b": 10}))

    probes = probed(seen)

    assert seen.facts.stages == ("stem", "1", "2", "3", "4")
    first = seen.body.facts.probed_top
    assert {s.name: s.taps for s in probes.table} == {
        "stem": ("stem",),
        **{f"stage {i}": (str(i),) for i in range(1, 5)},
        "stages 3+4": ("3", "4"),
        "stages 3+4+top": ("3", "4", first),
        "all stages": ("stem", "1", "2", "3", "4", first),
        TOP: (first,),
    }
    assert probes.table[-1] is probes.top.score
    for score in probes.table:
        assert score.dimensions == seen.blocks(score.taps).rows.shape[1]
    assert seen.listener.last == (9, 9)


def test_the_top_alone_is_probed_where_that_is_enough(image_folder) -> None:
    """Without the other stages there is one row, it is the best, and it is the linear probe."""
    seen = look(image_folder({"a": 10, "b": 10}))

    probes = probed(seen, all_stages=False)

    assert probes.others == ()
    assert probes.best is probes.top
    assert (probes.name, probes.table) == ("linear-probe", (probes.top.score,))


def test_probes_are_what_fits_and_scores_them(image_folder) -> None:
    """The top's row equals leaving each image out of its own features, by hand."""
    seen = look(image_folder({"a": 10, "b": 10}))

    found = probed(seen).top

    taps = found.score.taps
    span = {taps[0]: seen.table.layout[taps[0]]}
    kernel = kernels.stage_kernels(seen.table.rows, span)[taps[0]]
    same = cross_validation.leave_out(TOP, taps, kernel, seen.labels, found.score.dimensions)
    np.testing.assert_array_equal(found.logits, same.logits)
    assert found.score == same.score


def test_copies_are_left_out_together(image_folder) -> None:
    """A copy never answers for its original: both have the scores of a fit that saw neither."""
    root = image_folder({"a": 10, "b": 10})
    for path in sorted(root.rglob("*.png")):
        (path.parent / f"copy-{path.name}").write_bytes(path.read_bytes())

    seen = look(root)
    probes = probed(seen)

    first = [[s.digest for s in seen.samples].index(s.digest) for s in seen.samples]
    assert len(set(first)) < len(first)
    for found in (probes.top, *probes.others):
        np.testing.assert_allclose(found.logits, found.logits[first], atol=1e-4)


def test_many_images_are_ranked_on_some(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the limit the probes are judged on a part of the images, all classes there."""
    monkeypatch.setattr(cross_validation, "RANKING_IMAGES", 20)
    seen = look(image_folder({"a": 30, "b": 10}))

    probes = probed(seen)

    assert len(seen.samples) > 25
    assert len(probes.top.labels) == pytest.approx(20, abs=1)
    shares = np.bincount(seen.labels) / len(seen.labels)
    np.testing.assert_allclose(np.bincount(probes.top.labels), 20 * shares, atol=1)


@pytest.mark.parametrize(("each", "drawn"), [(6, False), (9, True)])
def test_the_learning_curve_needs_enough_of_each_class(
    image_folder, each: int, drawn: bool
) -> None:
    """With fewer than six of each class on average to learn from there is no curve."""
    seen = look(image_folder({"a": each, "b": each}), test_fraction=0.2)
    assert (len(seen.labels) >= 2 * size.CURVE_PER_CLASS) == drawn

    probes = probed(seen)

    assert bool(probes.curve) == drawn
    if drawn:
        assert probes.curve[-1] == (len(seen.samples), 1 - probes.best.score.accuracy)


def left_out(name: str, losses: list[float]) -> LeftOut:
    """A probe whose images have these losses: all of the first of two classes."""
    rest = np.expm1(np.array(losses))  # -log(1 / (1 + rest)) is the loss
    logits = np.stack([np.zeros(len(losses)), np.log(rest)], axis=1)
    mean = float(np.mean(losses))
    score = StageScore(name, (name,), 1, float(np.mean(rest < 1)), mean, 0.1, 0.1)
    return LeftOut(score, logits, 1.0, np.zeros(len(losses), np.int64))


LOSSES = [1.2, 1.4, 1.6, 1.8]
# Lead over the top on four images → whether it counts: mean .1, two standard errors .1 or less.
LEADS = [
    ([0.1, 0.1, 0.1, 0.1], True),
    ([0.2, 0.1, 0.1, 0.0], True),  # 0.1 ± 2 · 0.041
    ([0.25, 0.1, 0.1, -0.05], False),  # 0.1 ± 2 · 0.061
    ([0.0, 0.0, 0.0, 0.0], False),
    ([-0.1, -0.1, -0.1, -0.1], False),
]


@pytest.mark.parametrize(("lead", "wins"), LEADS)
def test_the_top_is_left_for_a_clear_lead_only(lead: list[float], wins: bool) -> None:
    """Another stage is the best where its log loss is lower by two standard errors."""
    top = left_out(TOP, LOSSES)
    other = left_out("stage 4", [loss - less for loss, less in zip(LOSSES, lead, strict=True)])
    worse = left_out("stage 1", [3.0, 3.1, 3.2, 3.3])

    probes = Probes(top, (worse, other), ())

    assert probes.best is (other if wins else top)
    assert probes.name == ("stage-probe" if wins else "linear-probe")


# --- the two axes ---------------------------------------------------------------------------------


def test_size_is_that_of_all_images_with_the_probes_curve(image_folder) -> None:
    """Images, classes and rarest are those of all that is not test; the curve is the probe's."""
    seen = look(image_folder({"a": 15, "b": 12, "c": 25}, size=(40, 32)))
    probes = probed(seen)

    found = measured(seen, probes)

    counts = np.bincount(seen.labels)
    assert (found.size.images, found.size.classes) == (len(seen.samples), 3)
    assert found.size.rarest_class == counts.min()
    assert tuple((p.images, p.error) for p in found.size.curve) == probes.curve
    assert found.median_side_px == 32
    assert found.symbols
    assert "'a'" in found.symbols_reason


def test_the_side_is_the_median_of_the_images(image_folder) -> None:
    """Ten large pictures among twenty small ones count for no more than that."""
    root = image_folder({"a": 10}, size=(64, 48))
    image_folder({"b": 20}, size=(20, 24), root=root)
    seen = look(root, test_fraction=0.0)

    assert measured(seen, probed(seen, all_stages=False)).median_side_px == 20


@pytest.mark.parametrize("kind", ["random", "file"])
def test_without_imagenets_weights_its_distance_is_not_measured(
    image_folder, tmp_path: Path, kind: str
) -> None:
    """Random weights or a user's file say nothing of ImageNet: only the stage profile is left."""
    root = image_folder({"disc": 22, "square": 22})
    weights = "random"
    if kind == "file":
        weights = str(tmp_path / "mine.pth")
        torch.save(load.build("test_resnet", "random")[0].net.state_dict(), weights)
    seen = look(root, weights=weights)

    found = measured(seen, probed(seen)).similarity

    values = {p.name: p.value for p in found.parts}
    assert values.pop("stage profile") is not None
    assert set(values.values()) == {None}
    assert len(values) == 3
    assert (found.drift, found.diversity) == ({}, None)
    assert analyze.imagenet_probabilities(seen, np.arange(2)) is None
    assert axes.overlap(seen) == ()


def test_all_parts_are_measured_with_imagenets_weights(
    leaves: tuple[Analysis, Probes, DatasetProfile],
) -> None:
    """Drawn leaves look near, are no ImageNet classes, and every stage has its drift."""
    seen, _, found = leaves

    parts = {p.name: p for p in found.similarity.parts}
    assert all(p.value is not None for p in parts.values())
    assert list(found.similarity.drift) == list(seen.facts.stages)
    assert all(0 < d < 5 for d in found.similarity.drift.values())
    assert found.similarity.diversity is not None
    assert found.similarity.diversity > similarity.NARROW
    assert 0.2 < float(parts["BatchNorm drift"].value or 0) < 1
    assert float(parts["label agreement"].value or 0) < similarity.AGREEMENT[0]
    assert 0 < float(parts["ImageNet confidence"].value or 0) < 1
    told = analyze.imagenet_probabilities(seen, np.arange(len(seen.samples)))
    assert parts["label agreement"] == similarity.agreement(told, seen.labels, seen.fold)
    assert parts["ImageNet confidence"] == similarity.confidence(told)


def test_the_stage_profile_compares_stages_below_the_top(
    leaves: tuple[Analysis, Probes, DatasetProfile],
) -> None:
    """Every probe that does not read the top features stands against the one that does."""
    _, probes, found = leaves
    lower = {c.score.name: c.correct for c in probes.others if ROOT not in c.score.taps}

    part = next(p for p in found.similarity.parts if p.name == "stage profile")

    assert set(lower) == {"stem", *(f"stage {i}" for i in range(1, 6)), "stages 4+5"}
    assert part == similarity.depth(probes.top.correct, lower)


def noise_folder(root: Path, count: int) -> Path:
    """Two classes of pictures of nothing."""
    rng = np.random.default_rng(0)
    for name in ("x1", "x2"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


def test_pictures_of_noise_appear_as_far_as_noise(
    leaves: tuple[Analysis, Probes, DatasetProfile], tmp_path: Path
) -> None:
    """A folder of noise has an appearance of about zero, says different, and is narrow."""
    root = noise_folder(tmp_path / "noise", 6)
    seen = look(root, backbone=registry.DEFAULT, weights=None, test_fraction=0.0)

    found = measured(seen, probed(seen, all_stages=False)).similarity

    near, far = (s.parts[0] for s in (leaves[2].similarity, found))
    assert far.value == pytest.approx(0, abs=0.1)
    assert far.verdict == "different"
    assert near.value is not None
    assert near.value > 0.3
    assert found.diversity is not None
    assert found.diversity < similarity.NARROW
    assert "differ little" in found.reason.text
    assert found.verdict == "uncertain"  # twelve images prove nothing


def test_drift_is_measured_on_the_classes_in_turn(
    leaves: tuple[Analysis, Probes, DatasetProfile],
) -> None:
    """At most so many images, as many of each class to within one, each once."""
    seen = leaves[0]
    skewed = replace(seen, labels=np.repeat([0, 1, 2], [40, 6, 2]))

    even, odd = (
        analyze._in_turn(seen, analyze.DRIFT_SAMPLE),
        analyze._in_turn(skewed, analyze.DRIFT_SAMPLE),
    )

    assert len(even) == len(set(even)) == DRIFT_SAMPLE
    counts = np.bincount(seen.labels[even], minlength=6)
    assert counts.max() - counts.min() <= 1
    assert np.bincount(skewed.labels[odd]).tolist() == [24, 6, 2]
    assert len(set(odd)) == DRIFT_SAMPLE


def test_few_images_are_all_looked_at(image_folder) -> None:
    """Below the limit every image is in the sample."""
    seen = look(image_folder({"a": 6, "b": 6}))

    assert sorted(analyze._in_turn(seen, analyze.DRIFT_SAMPLE)) == list(range(len(seen.samples)))


# --- plans ----------------------------------------------------------------------------------------


def test_a_plan_follows_what_was_measured(image_folder) -> None:
    """Stages, side and symbols of this data and backbone; the user's column and options win."""
    seen = look(image_folder({"a": 15, "b": 15}, size=(200, 180)))
    probes = probed(seen)
    found = measured(seen, probes)
    far = replace(found, similarity=replace(found.similarity, column="different"))
    near = replace(found, similarity=replace(found.similarity, column="similar"))

    one, two = (plan_for(seen, m, probes, "deep") for m in (near, far))
    asked = changed(seen.options, similarity="similar", options={"epochs": 3})
    told = replace(seen, options=asked)
    third = plan_for(told, far, probes, "deep")

    tight = plan_for(seen, near, probes, "deep", 96)
    skewed = replace(seen, class_counts=np.array([1900, 100]))
    counted = plan_for(skewed, near, probes, "deep")

    assert one.lr < two.lr
    assert (tight.side_px, tight.lr) == (96, one.lr)
    assert "budget" in tight.why["side_px"]
    assert not one.class_weights
    assert counted.class_weights  # by all images, looked at or not
    assert "2000 images" in counted.why["batch_size"]
    assert third.lr == one.lr
    assert third.epochs == 3
    assert one.tuned_stages == seen.facts.stages[1:]
    assert one.side_px == seen.facts.preprocess.side_px
    assert one.augment.flip == 0  # 'a' and 'b' are letters
    assert one.taps == (TOP,)


def test_a_probes_plan_reads_what_the_probe_read(image_folder) -> None:
    """The linear probe reads the top, the stage probe whatever is best."""
    seen = look(image_folder({"a": 15, "b": 15}))
    probes = probed(seen)
    found = measured(seen, probes)
    stage = next(c for c in probes.others if c.score.name == "stages 3+4")
    clear = replace(stage, logits=10 * np.eye(2)[stage.labels], temperature=1.0)
    clear = replace(clear, score=replace(clear.score, log_loss=float(clear.losses.mean())))
    wins = replace(probes, others=(clear,))

    linear = plan_for(seen, found, wins, "linear-probe")
    staged = plan_for(seen, found, wins, "stage-probe")

    assert linear.taps == (seen.body.facts.probed_top,)
    assert staged.taps == ("3", "4")


def test_a_network_of_one_size_is_tuned_at_that_size(image_folder) -> None:
    """Small pictures are tuned small, except where the network takes one size only."""
    root = image_folder({"a": 8, "b": 8})
    fixed = look(root, backbone="vit_tiny_patch16_224")
    free = look(root, backbone="convnext_atto")

    sides = []
    for seen in (fixed, free):
        probes = probed(seen, all_stages=False)
        sides.append(plan_for(seen, measured(seen, probes), probes, "deep").side_px)

    assert sides == [224, 128]


# --- classes that ImageNet has --------------------------------------------------------------------


def test_imagenets_probabilities_are_the_whole_networks(
    leaves: tuple[Analysis, Probes, DatasetProfile],
) -> None:
    """Read from features at hand they are what a pass through network and classifier gives."""
    seen, _, _ = leaves

    found = analyze.imagenet_probabilities(seen, np.arange(len(seen.samples)))

    assert found is not None
    assert found.shape == (len(seen.samples), 1000)
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-4)
    pixels = torch.from_numpy(decoding.decode(seen.paths[5], 224)[None].copy())
    with torch.inference_mode():
        network = seen.body.network
        expected = network.logits(network.normalise(pixels)).softmax(dim=1)[0]
    np.testing.assert_allclose(found[5], expected.numpy(), atol=1e-4)


def test_imagenets_classifier_is_asked_once_and_a_few_rows_at_a_time(
    leaves: tuple[Analysis, Probes, DatasetProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Similarity and overlap share one answer, which is that of all rows together."""
    seen, probes, _ = leaves
    whole = analyze.imagenet_probabilities(seen, seen.asked)
    monkeypatch.setattr(arrays, "PART_BYTES", 7 * 4 * seen.table.rows.shape[1])
    calls: list[int] = []
    read = analyze.imagenet_probabilities

    def counted(seen: Analysis, numbers: np.ndarray) -> object:
        calls.append(len(numbers))
        return read(seen, numbers)

    monkeypatch.setattr(analyze, "imagenet_probabilities", counted)
    seen = replace(seen)

    measured(seen, probes)
    axes.overlap(seen)

    assert calls == [len(seen.samples)]
    assert whole is not None
    np.testing.assert_allclose(seen.imagenet, whole, rtol=1e-4, atol=1e-7)


def photo_folder(root: Path, count: int) -> Path:
    """Crops of two photographs: a daisy and a palace."""
    rng = np.random.default_rng(0)
    for name, photo in (("blume", "flower.jpg"), ("haus", "china.jpg")):
        image = Image.fromarray(load_sample_image(photo))
        (root / name).mkdir(parents=True)
        for i in range(count):
            left, top = int(rng.integers(60, 160)), int(rng.integers(0, 40))
            image.crop((left, top, left + 380, top + 380)).save(root / name / f"{i}.png")
    return root


def test_photographs_of_imagenet_classes_are_told(tmp_path: Path) -> None:
    """Folders of a daisy and a palace are recognised whatever they are called."""
    root = photo_folder(tmp_path / "photos", 8)
    seen = look(root, backbone=registry.DEFAULT, weights=None, test_fraction=0.0)

    (finding,) = axes.overlap(seen)

    assert (finding.code, finding.severity) == ("FT130", "note")
    assert finding.title.startswith("2 of 2 classes")
    assert "blume (daisy)" in finding.title
    assert "haus (palace)" in finding.title
    assert "too optimistic" in finding.hint


def test_drawn_leaves_are_no_imagenet_classes(
    leaves: tuple[Analysis, Probes, DatasetProfile],
) -> None:
    """Kinds of trees that ImageNet does not tell apart overlap with nothing."""
    assert axes.overlap(leaves[0]) == ()


def test_many_overlaps_are_counted_and_three_are_named(
    leaves: tuple[Analysis, Probes, DatasetProfile], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The finding has the number of classes, three pairs of names, and how many more there are."""
    seen, _, _ = leaves
    numbers = np.array([7, 985, 698, 1, 2, 3])
    rows = np.zeros((len(seen.labels), 1000), np.float32)
    rows[np.arange(len(rows)), numbers[seen.labels]] = 1
    rows[seen.labels == 5] = np.eye(1000)[3 + np.arange((seen.labels == 5).sum()) * 50]
    monkeypatch.setattr(analyze, "imagenet_probabilities", lambda *_: rows)

    (finding,) = axes.overlap(replace(seen))

    assert finding.title == (
        "5 of 6 classes look like classes that the backbone was trained on: "
        "beech (cock), birch (daisy), ginkgo (palace) and 2 more"
    )


# --- the clock ------------------------------------------------------------------------------------


class Steps(Recorder):
    """A listener that keeps the names of steps."""

    def __init__(self) -> None:
        super().__init__()
        self.steps: list[str] = []

    def step(self, name: str) -> None:
        self.steps.append(name)


def test_steps_of_one_name_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock tells each step as it begins and keeps its seconds, with the total."""
    times = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0, 21.0, 30.0])
    monkeypatch.setattr(analyze.time, "perf_counter", lambda: next(times))
    listener = Steps()
    clock = Clock(listener, began=next(times))

    for name, text in (("decode", "first"), ("decode", "again"), ("tune", "then")):
        with clock.step(name, text):
            pass

    assert listener.steps == ["first", "again", "then"]
    assert clock.total() == {"decode": 2.0 + 4.0, "tune": 1.0, "total": 30.0}


def test_looking_is_timed(image_folder) -> None:
    """The seconds of an image are those of the forward pass over the images that were run."""
    root = image_folder({"a": 10, "b": 10})
    listener = Steps()
    clock = Clock(listener)

    seen = analyze.analyze(options_for(root=str(root), **TINY), listener, clock)

    assert set(clock.seconds) == {"scan", "backbone", "features"}
    assert seen.table.fresh == len(seen.splits.fitting)
    expected = clock.seconds["features"] / len(seen.splits.fitting)
    assert 0.1 * expected < seen.seconds_per_image <= expected
    assert str(root) in listener.steps[0]
    assert f"{len(seen.splits.fitting)} images" in listener.steps[2]


def test_test_images_are_not_read(image_folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking, probing and measuring decode no image of the test split."""
    root = image_folder({"a": 12, "b": 12})
    read: list[Path] = []
    decode = decoding.decode

    def spy(path: Path, *rest: object) -> np.ndarray:
        read.append(Path(path))
        return decode(path, *rest)

    monkeypatch.setattr(decoding, "decode", spy)
    seen = look(root)
    measured(seen, probed(seen))

    assert set(read) == set(seen.paths)
    assert not {p.relative_to(root).as_posix() for p in read} & {s.path for s in seen.splits.test}
