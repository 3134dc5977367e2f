from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from finetune.heads import calibration, cross_validation, kernels, ridge
from finetune.heads.cross_validation import FOLDS, PENALTIES, RANKING_IMAGES, LeftOut
from finetune.heads.ridge import Blocks


def task(
    n: int, width: int, classes: int = 3, gap: float = 1.0, seed: int = 0
) -> tuple[Blocks, np.ndarray]:
    """Overlapping clouds in two blocks of features of very different scale."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    centres = gap * rng.normal(size=(classes, width))
    rows = centres[labels] + rng.normal(size=(n, width))
    half = width // 2
    rows[:, :half] = 40 * rows[:, :half] + 7
    return Blocks(rows.astype(np.float32), ((0, half), (half, width))), labels


def scaled(blocks: Blocks) -> np.ndarray:
    """The rows as the classifier sees them, written out: centred, each block to one norm."""
    rows = blocks.rows.astype(np.float64)
    rows = rows - rows.mean(axis=0)
    norms = [np.square(rows[:, a:b]).sum(axis=1).mean() for a, b in blocks.spans]
    parts = [
        rows[:, a:b] / np.sqrt(norm * len(norms))
        for (a, b), norm in zip(blocks.spans, norms, strict=True)
    ]
    return np.concatenate(parts, axis=1)


def kernel_of(blocks: Blocks) -> np.ndarray:
    """All blocks side by side."""
    known = kernels.stage_kernels(
        blocks.rows, {str(i): span for i, span in enumerate(blocks.spans)}
    )
    return kernels.combined(known, tuple(known))


def left_out(blocks: Blocks, labels: np.ndarray, groups: Sequence[str] = ()) -> LeftOut:
    width = blocks.rows.shape[1]
    return cross_validation.leave_out("x", ("x",), kernel_of(blocks), labels, width, groups)


def single(rows: np.ndarray) -> Blocks:
    """One block of all columns."""
    return Blocks(rows.astype(np.float32), ((0, rows.shape[1]),))


def separate(n: int) -> list[str]:
    """A group for each image: no copies."""
    return [f"{i:05d}" for i in range(n)]


# --- one head -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "width"), [(150, 20), (40, 90)])
@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_fit_agrees_with_scikit_learn(n: int, width: int, penalty: float) -> None:
    """Scores of old and new images are an independent solver's, with few features and with many."""
    both, labels = task(2 * n, width, gap=0.3)
    blocks, labels = Blocks(both.rows[:n], both.spans), labels[:n]
    z = scaled(Blocks(both.rows[:n], both.spans))
    factor = z.std(axis=0) / blocks.rows.std(axis=0, dtype=np.float64)
    new = (both.rows[n:] - blocks.rows.mean(axis=0, dtype=np.float64)) * factor
    reference = Ridge(alpha=penalty).fit(z, np.eye(3)[labels])

    head = ridge.fit(blocks, labels, 3, penalty, 1.7)

    np.testing.assert_allclose(ridge.score(head, blocks.rows), reference.predict(z), atol=2e-4)
    np.testing.assert_allclose(ridge.score(head, both.rows[n:]), reference.predict(new), atol=2e-3)
    assert head.temperature == 1.7
    assert (head.weight.shape, head.bias.shape) == ((3, width), (3,))


@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_images_and_features_lead_to_the_same_head(penalty: float) -> None:
    """With columns of zeros the system is solved over images, without over features: one head."""
    blocks, labels = task(60, 20, gap=0.3)
    nothing = np.zeros((60, 80), np.float32)
    wide = Blocks(np.concatenate([blocks.rows, nothing], axis=1), ((0, 10), (10, 100)))

    few = ridge.fit(blocks, labels, 3, penalty, 1.0)
    many = ridge.fit(wide, labels, 3, penalty, 1.0)

    np.testing.assert_allclose(many.weight[:, :20], few.weight, atol=1e-3 * np.ptp(few.weight))
    np.testing.assert_allclose(many.bias, few.bias, atol=1e-3)
    np.testing.assert_array_equal(many.weight[:, 20:], 0)


@pytest.mark.parametrize(("n", "width"), [(90, 20), (40, 90)])
@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_a_head_is_what_its_kernel_says(n: int, width: int, penalty: float) -> None:
    """Penalties chosen on kernels mean the same in `fit`: scores on the training rows agree."""
    blocks, labels = task(n, width, gap=0.5)
    kernel, hot = kernel_of(blocks), np.eye(3)[labels]
    alpha = np.linalg.solve(kernel + penalty * np.eye(n), hot - hot.mean(axis=0))

    head = ridge.fit(blocks, labels, 3, penalty, 1.0)

    expected = kernel @ alpha + hot.mean(axis=0)
    np.testing.assert_allclose(ridge.score(head, blocks.rows), expected, atol=1e-3)


def test_kernels_are_products_of_scaled_rows() -> None:
    """Each stage is centred and of norm one on average; together they are the mean of theirs."""
    blocks, _ = task(50, 24)
    spans = {"a": blocks.spans[0], "b": blocks.spans[1]}

    known = kernels.stage_kernels(blocks.rows, spans)

    for name, span in spans.items():
        z = scaled(single(blocks.rows[:, slice(*span)]))
        np.testing.assert_allclose(known[name], z @ z.T, atol=1e-5)
        assert np.trace(known[name]) / 50 == pytest.approx(1)
        np.testing.assert_allclose(known[name].sum(axis=0), 0, atol=1e-3)
    z = scaled(blocks)
    np.testing.assert_allclose(kernels.combined(known, ("a", "b")), z @ z.T, atol=1e-5)
    np.testing.assert_array_equal(kernels.combined(known, ("b",)), known["b"])


def test_a_loud_or_wide_stage_does_not_drown_another() -> None:
    """Beside a stage of noise, a thousand times as loud and wide, the informative one is heard."""
    blocks, labels = task(90, 10, gap=2.0)
    noise = 1000 * np.random.default_rng(1).normal(size=(90, 500))
    rows = np.concatenate([blocks.rows[:, 5:], noise.astype(np.float32)], axis=1)

    together = left_out(Blocks(rows, ((0, 5), (5, 505))), labels)
    drowned = left_out(single(rows), labels)

    assert together.score.accuracy > 0.9
    assert drowned.score.accuracy < 0.6


@pytest.mark.parametrize("unit", [1e-3, 1000.0])
def test_the_scores_do_not_depend_on_the_unit_of_the_features(unit: float) -> None:
    """Features measured in another unit give the same kernel and the same scores."""
    blocks, labels = task(60, 20)
    other = Blocks(np.float32(unit) * blocks.rows, blocks.spans)

    one = ridge.score(ridge.fit(blocks, labels, 3, 0.01, 1.0), blocks.rows)
    two = ridge.score(ridge.fit(other, labels, 3, 0.01, 1.0), other.rows)

    np.testing.assert_allclose(one, two, atol=1e-3)
    np.testing.assert_allclose(kernel_of(blocks), kernel_of(other), atol=1e-4)


def test_renaming_the_classes_renames_the_heads_rows() -> None:
    """Permuting the labels permutes weights and biases and changes nothing else."""
    blocks, labels = task(90, 12)
    renamed = np.array([2, 0, 1])

    head = ridge.fit(blocks, labels, 3, 0.01, 1.0)
    other = ridge.fit(blocks, renamed[labels], 3, 0.01, 1.0)

    np.testing.assert_allclose(other.weight[renamed], head.weight, atol=1e-9)
    np.testing.assert_allclose(other.bias[renamed], head.bias, atol=1e-9)


def test_a_class_without_images_is_never_the_answer() -> None:
    """A head for more classes than the labels name gives the missing one nothing."""
    blocks, labels = task(60, 12, gap=2.0)

    head = ridge.fit(blocks, labels, 4, 0.01, 1.0)

    assert head.weight.shape == (4, 12)
    np.testing.assert_array_equal(head.weight[3], 0)
    assert 3 not in ridge.score(head, blocks.rows).argmax(axis=1)


@pytest.mark.parametrize("width", [5, 50])
def test_features_that_never_vary_predict_the_shares_of_the_classes(width: int) -> None:
    """Without any information the scores are the frequencies, on few and many features."""
    labels = np.array([0] * 12 + [1] * 6 + [2] * 2)
    blocks = single(np.full((20, width), 0.3))

    head = ridge.fit(blocks, labels, 3, 0.01, 1.0)

    found = ridge.score(head, blocks.rows)
    np.testing.assert_allclose(found, np.tile([0.6, 0.3, 0.1], (20, 1)), atol=1e-6)


def test_a_dead_stage_does_not_disturb_a_live_one() -> None:
    """A block of constant features beside an informative one has no say, now and in new images."""
    blocks, labels = task(60, 10, gap=2.0)
    rows = np.concatenate([blocks.rows, np.full((60, 4), 1.1, np.float32)], axis=1)
    spans = (*blocks.spans, (10, 14))

    head = ridge.fit(Blocks(rows, spans), labels, 3, 0.01, 1.0)

    alone = ridge.fit(blocks, labels, 3, 0.01 * 3 / 2, 1.0)  # its share of the norm is two thirds
    found, expected = (
        ridge.score(h, r) for h, r in ((head, rows + 0.01), (alone, blocks.rows + 0.01))
    )
    np.testing.assert_allclose(found, expected, atol=1e-3)


# --- leaving one out ------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "width"), [(30, 8), (24, 60)])
@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
def test_leaving_out_equals_fitting_without(
    monkeypatch: pytest.MonkeyPatch, n: int, width: int, penalty: float
) -> None:
    """Each image's scores are those of a solver that never saw it, the scaling kept."""
    monkeypatch.setattr(cross_validation, "PENALTIES", (penalty,))
    blocks, labels = task(n, width, gap=0.5)
    labels[-4:] = 2  # classes need not be of one size
    z, hot = scaled(blocks), np.eye(3)[labels]

    found = left_out(blocks, labels)

    for i in range(n):
        rest = np.arange(n) != i
        without = Ridge(alpha=penalty).fit(z[rest], hot[rest])
        np.testing.assert_allclose(found.logits[i], without.predict(z[i : i + 1])[0], atol=1e-3)
    assert found.score.penalty == penalty


@pytest.mark.parametrize("penalty", [PENALTIES[0], 0.1, PENALTIES[-1]])
@pytest.mark.parametrize("width", [8, 60])
def test_a_group_is_left_out_as_a_whole(
    monkeypatch: pytest.MonkeyPatch, width: int, penalty: float
) -> None:
    """Scores of a group's images are those of a solver that saw none of the group."""
    monkeypatch.setattr(cross_validation, "PENALTIES", (penalty,))
    blocks, labels = task(30, width, gap=0.5)
    groups = [f"patient {min(i % 11, 7)}" for i in range(30)]
    z, hot = scaled(blocks), np.eye(3)[labels]

    found = left_out(blocks, labels, groups)

    for group in sorted(set(groups)):
        inside = np.array([g == group for g in groups])
        without = Ridge(alpha=penalty).fit(z[~inside], hot[~inside])
        np.testing.assert_allclose(found.logits[inside], without.predict(z[inside]), atol=1e-3)


def test_groups_of_one_are_images_left_out_alone() -> None:
    """Groups that nobody shares change nothing."""
    blocks, labels = task(40, 12)

    alone, grouped = left_out(blocks, labels), left_out(blocks, labels, separate(40))

    np.testing.assert_array_equal(alone.logits, grouped.logits)


def test_an_image_is_scored_without_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another label of one image changes the scores of all but that image."""
    monkeypatch.setattr(cross_validation, "PENALTIES", (0.1,))
    blocks, labels = task(30, 10)
    changed = labels.copy()
    changed[7] = (labels[7] + 1) % 3

    before, after = left_out(blocks, labels).logits, left_out(blocks, changed).logits

    np.testing.assert_allclose(before[7], after[7], atol=1e-6)
    others = np.arange(30) != 7
    assert (np.abs(before - after)[others].max(axis=1) > 1e-4).all()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("width", [12, 600])
def test_shuffled_labels_give_chance(seed: int, width: int) -> None:
    """Nothing leaks: with meaningless labels the accuracy is that of guessing."""
    n, classes = 400, 4
    blocks, labels = task(n, width, classes, gap=2.0)
    shuffled = np.random.default_rng(seed).permutation(labels)

    found = left_out(blocks, shuffled).score

    chance = 1 / classes
    assert abs(found.accuracy - chance) < 3 * np.sqrt(chance * (1 - chance) / n)
    assert found.log_loss > np.log(classes) - 0.05


def test_copies_do_not_answer_for_each_other() -> None:
    """On labels that mean nothing copies look like knowledge; left out together, they do not."""
    blocks, labels = task(100, 300, 2, gap=0.0)
    labels = np.random.default_rng(0).permutation(labels)
    twice = Blocks(np.tile(blocks.rows, (2, 1)), blocks.spans)

    cheated = left_out(twice, np.tile(labels, 2))
    honest = left_out(twice, np.tile(labels, 2), separate(100) * 2)

    assert cheated.score.accuracy > 0.95
    assert honest.score.accuracy < 0.65


def test_leaving_out_reports_what_its_scores_say() -> None:
    """Accuracy, error, log loss and the list of right answers follow from the scores."""
    blocks, labels = task(120, 10, gap=0.4)

    found = cross_validation.leave_out("both", ("3", "4"), kernel_of(blocks), labels, 10)

    correct = found.logits.argmax(axis=1) == labels
    rate = correct.mean()
    assert 0.4 < rate < 1
    np.testing.assert_array_equal(found.correct, correct)
    np.testing.assert_array_equal(found.labels, labels)
    assert found.score.accuracy == pytest.approx(rate)
    assert found.score.standard_error == pytest.approx(np.sqrt(rate * (1 - rate) / 120))
    calibrated = calibration.log_loss(found.logits / found.temperature, labels)
    assert found.score.log_loss == pytest.approx(calibrated)
    assert found.temperature == calibration.fit_temperature(found.logits, labels)
    assert (found.score.name, found.score.taps) == ("both", ("3", "4"))
    assert found.score.dimensions == 10
    assert found.score.penalty in PENALTIES
    chances = calibration.probabilities(found.logits, found.temperature)[np.arange(120), labels]
    np.testing.assert_allclose(found.losses, -np.log(chances))
    assert found.score.log_loss == pytest.approx(found.losses.mean())


def test_the_penalty_with_the_least_log_loss_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """No other penalty of the list gives a smaller log loss on images left out."""
    blocks, labels = task(120, 30, gap=0.4)
    found = left_out(blocks, labels).score

    losses = {}
    for penalty in PENALTIES:
        monkeypatch.setattr(cross_validation, "PENALTIES", (penalty,))
        losses[penalty] = left_out(blocks, labels).score.log_loss

    assert found.penalty == min(losses, key=lambda p: losses[p])
    assert found.log_loss == min(losses.values())
    assert found.penalty not in (PENALTIES[0], PENALTIES[-1])


def test_all_penalties_cost_one_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cubic part is done once for each choice of stages, however many penalties there are."""
    blocks, labels = task(40, 10)
    kernel, calls = kernel_of(blocks), []
    eigh = np.linalg.eigh
    monkeypatch.setattr(np.linalg, "eigh", lambda k: calls.append(k.shape) or eigh(k))

    cross_validation.leave_out("x", ("x",), kernel, labels, 10)

    assert calls == [(40, 40)]
    assert len(PENALTIES) > 5


def test_separable_classes_are_separated() -> None:
    """Clouds far from each other are told apart when each image is left out."""
    blocks, labels = task(60, 10, gap=4.0)

    assert left_out(blocks, labels).score.accuracy == 1.0


def test_constant_features_can_be_left_out() -> None:
    """No variance is no fault: the result is the commonest class."""
    labels = np.array([0] * 12 + [1] * 6)

    found = left_out(single(np.ones((18, 3))), labels)

    assert found.score.accuracy == pytest.approx(12 / 18)
    assert np.isfinite(found.logits).all()


def test_one_column_is_enough() -> None:
    """A single feature that tells the classes apart is used."""
    labels = np.arange(30) % 2
    noise = np.random.default_rng(0).normal(size=30)

    found = left_out(single((5.0 * labels + noise)[:, None]), labels)

    assert found.score.accuracy > 0.9


@pytest.mark.parametrize("each", [1, 2])
def test_classes_may_have_one_or_two_images(each: int) -> None:
    """With very few images of each of many classes nothing breaks, and two of each can do."""
    classes = 12
    blocks, labels = task(each * classes, 30, classes, gap=3.0)

    found = left_out(blocks, labels)

    assert found.logits.shape == (each * classes, classes)
    assert np.isfinite(found.logits).all()
    assert np.isfinite(found.score.log_loss)
    # the only image of a class cannot be known when it is left out
    assert found.score.accuracy == 0 if each == 1 else found.score.accuracy > 0.5


# --- how many images ------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, RANKING_IMAGES])
def test_few_images_are_all_ranked_on(n: int) -> None:
    """Up to the limit no image is left out."""
    np.testing.assert_array_equal(cross_validation.ranking_sample(np.arange(n) % 3), np.arange(n))


def test_many_images_are_ranked_on_a_stratified_part() -> None:
    """Above the limit every class gives its share, a rare one enough to be told at all."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [5000, 900, 93, 7]))

    rows = cross_validation.ranking_sample(labels)

    assert len(rows) <= RANKING_IMAGES + 4 + FOLDS
    assert (np.diff(rows) > 0).all()
    kept = np.bincount(labels[rows], minlength=4)
    assert kept.tolist() == [667, 120, 12, cross_validation.FEWEST]
    np.testing.assert_array_equal(rows, cross_validation.ranking_sample(labels))


@given(classes=st.integers(2, 40), images=st.integers(1, 8000))
def test_ranking_stays_cheap(classes: int, images: int) -> None:
    """Eigendecompositions, cubic in the rows, are never of much more than the limit allows."""
    labels = np.arange(images) % classes

    assert len(cross_validation.ranking_sample(labels)) <= RANKING_IMAGES + classes
    assert RANKING_IMAGES <= 1000


@pytest.mark.parametrize(("n", "gap"), [(60, 0.45), (240, 0.3)])
def test_the_learning_curve_falls_where_there_is_more_to_learn(n: int, gap: float) -> None:
    """On clouds that overlap more images make fewer errors, on each of six sets of them."""
    errors = []
    for seed in range(6):
        blocks, labels = task(n, 40, 3, gap, seed)
        curve = cross_validation.learning_curve(kernel_of(blocks), labels)
        assert [images for images, _ in curve] == [n // 4, n // 2, n]
        errors.append([error for _, error in curve])

    assert (np.diff(np.mean(errors, axis=0)) < -0.01).all()
    assert all(first > last for first, _, last in errors)


def test_the_learning_curve_ends_at_the_probes_error() -> None:
    """With all images it is the very error of the probe, and twice it is the same curve."""
    blocks, labels = task(90, 20, gap=0.4)
    kernel = kernel_of(blocks)

    curve = cross_validation.learning_curve(kernel, labels)

    assert curve[-1] == (90, pytest.approx(1 - left_out(blocks, labels).score.accuracy))
    assert curve == cross_validation.learning_curve(kernel, labels)


def test_the_learning_curve_does_not_fall_on_noise() -> None:
    """Where labels mean nothing the error stays that of guessing."""
    blocks, labels = task(240, 40, 4, gap=0.0)

    errors = [error for _, error in cross_validation.learning_curve(kernel_of(blocks), labels)]

    assert errors == pytest.approx([0.75] * 3, abs=0.12)


def test_each_share_of_the_curve_is_drawn_from_each_class(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of 40, 12 and 4 is 10, 3 and the least, 2; three draws differ and are averaged."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [40, 12, 4]))
    rng = np.random.default_rng(1)
    rows = (0.4 * rng.normal(size=(3, 30)))[labels] + rng.normal(size=(56, 30))
    drawn: list[tuple[LeftOut, np.ndarray]] = []
    leave_out = cross_validation.leave_out

    def spy(
        name: str, taps: tuple[str, ...], kernel: np.ndarray, *rest: object, **how: object
    ) -> LeftOut:
        found = leave_out(name, taps, kernel, *rest, **how)
        np.testing.assert_allclose(kernel.sum(axis=0), 0, atol=1e-3)  # centred on what was drawn
        assert np.trace(kernel) / len(kernel) == pytest.approx(1)
        drawn.append((found, kernel))
        return found

    monkeypatch.setattr(cross_validation, "leave_out", spy)

    curve = cross_validation.learning_curve(kernel_of(single(rows)), labels)

    counts = [np.bincount(found.labels).tolist() for found, _ in drawn]
    assert counts == [[10, 3, 2]] * 3 + [[20, 6, 2]] * 3 + [[40, 12, 4]]
    for i, j in ((0, 1), (1, 2), (3, 4), (4, 5)):
        assert not np.allclose(drawn[i][1], drawn[j][1])
    errors = [1 - found.score.accuracy for found, _ in drawn]
    means = [np.mean(errors[:3]), np.mean(errors[3:6]), errors[6]]
    assert [images for images, _ in curve] == [15, 28, 56]
    assert [error for _, error in curve] == pytest.approx(means)


# --- folds ----------------------------------------------------------------------------------------


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_folds_are_stratified(counts: list[int], seed: int) -> None:
    """Each class is spread over the folds to within one image."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))

    fold = cross_validation.folds(labels, separate(len(labels)))

    for label in range(len(counts)):
        spread = np.bincount(fold[labels == label], minlength=FOLDS)
        assert spread.max() - spread.min() <= 1
    whole = np.bincount(fold, minlength=FOLDS)
    assert whole.max() - whole.min() <= 1


@given(
    pairs=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from("abcdefghijkl")), min_size=1, max_size=60
    )
)
def test_copies_share_a_fold(pairs: list[tuple[int, str]]) -> None:
    """Images of one group are in one fold, whatever their labels."""
    labels, groups = np.array([p[0] for p in pairs]), [p[1] for p in pairs]

    fold = cross_validation.folds(labels, groups)

    homes = {g: {int(f) for f, h in zip(fold, groups, strict=True) if h == g} for g in groups}
    assert all(len(home) == 1 for home in homes.values())
    assert set(np.unique(fold)) == set(range(min(FOLDS, len(homes))))


def test_folds_depend_on_the_images_not_on_their_order() -> None:
    """Listing the images in another order moves none to another fold; twice is the same."""
    labels, groups = np.arange(50) % 3, separate(50)
    order = np.random.default_rng(0).permutation(50)

    fold = cross_validation.folds(labels, groups)
    shuffled = cross_validation.folds(labels[order], [groups[i] for i in order])

    np.testing.assert_array_equal(fold, cross_validation.folds(labels, groups))
    np.testing.assert_array_equal(fold[order], shuffled)


@pytest.mark.parametrize("count", [2, 3, FOLDS])
def test_as_many_folds_as_asked_for(count: int) -> None:
    """Every fold is used where there are enough images."""
    fold = cross_validation.folds(np.arange(20) % 4, separate(20), count)

    assert set(fold) == set(range(count))


# --- temperature and probabilities ----------------------------------------------------------------


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_recovered(true: float) -> None:
    """Labels drawn at a temperature give it back from many scores."""
    rng = np.random.default_rng(0)
    logits = 3 * rng.normal(size=(20_000, 4))
    chances = calibration.probabilities(logits, true)
    labels = (rng.random((20_000, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 3)

    assert calibration.fit_temperature(logits, labels) == pytest.approx(true, rel=0.05)


@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 50))
def test_a_temperature_does_not_worsen_the_log_loss(seed: int, size: float) -> None:
    """On the scores it was fitted on a temperature costs at most one image's nat in the mean."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 300)
    logits = size * (rng.normal(size=(300, 3)) + np.eye(3)[labels])

    after = calibration.log_loss(logits / calibration.fit_temperature(logits, labels), labels)

    assert after <= calibration.log_loss(logits, labels) + 1 / 300


def test_probabilities_of_few_separable_images_stay_honest() -> None:
    """Few images that are all right do not lead to certainty that new ones would disprove."""
    rng = np.random.default_rng(0)
    fitted, plain = [], []
    labels, others = np.arange(20) % 2, np.arange(500) % 2
    for _ in range(10):
        centres = 0.35 * rng.normal(size=(2, 64))
        rows = centres[labels] + rng.normal(size=(20, 64))
        new = (centres[others] + rng.normal(size=(500, 64))).astype(np.float32)
        found = left_out(single(rows), labels)
        head = ridge.fit(single(rows), labels, 2, found.score.penalty, found.temperature)
        logits = ridge.score(head, new)
        fitted.append(calibration.log_loss(logits / found.temperature, others))
        plain.append(calibration.log_loss(logits, others))

    assert np.mean(fitted) < 0.6 * np.mean(plain)
    assert max(fitted) < np.log(2)


def test_the_temperature_follows_the_scale_of_the_scores() -> None:
    """Scores a hundred times smaller get a temperature a hundred times smaller."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 300)
    logits = rng.normal(size=(300, 3)) + np.eye(3)[labels]

    small = calibration.fit_temperature(logits / 100, labels)

    assert small == pytest.approx(calibration.fit_temperature(logits, labels) / 100, rel=1e-2)


def test_the_probe_of_many_classes_is_calibrated() -> None:
    """With fifty classes, whose scores are small, no other temperature is much better."""
    blocks, labels = task(1000, 300, 50, gap=0.3)
    found = left_out(blocks, labels)

    others = [calibration.log_loss(found.logits / t, labels) for t in np.geomspace(1e-3, 10, 60)]

    assert found.score.log_loss < min(others) + 0.02


def test_the_log_loss_is_the_mean_of_minus_log_probability() -> None:
    """Equal to writing it out, for scores that the exponential can hold."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)

    chances = calibration.probabilities(logits, 1.0)[np.arange(30), labels]

    assert calibration.log_loss(logits, labels) == pytest.approx(-np.log(chances).mean())


@given(
    rows=st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=8),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_are_probabilities(rows: list[list[float]], temperature: float) -> None:
    """Rows sum to one and lie in [0, 1], without overflow, and keep the order of the scores."""
    logits = np.array(rows)

    found = calibration.probabilities(logits, temperature)

    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal(
        found[np.arange(len(rows)), logits.argmax(axis=1)], found.max(axis=1)
    )


def test_the_log_loss_of_huge_scores_is_finite() -> None:
    """Scores of ten thousand neither overflow nor vanish."""
    logits = np.array([[1e4, -1e4], [1e4, -1e4]])

    assert calibration.log_loss(logits, np.array([0, 0])) == pytest.approx(0)
    assert calibration.log_loss(logits, np.array([1, 1])) == pytest.approx(2e4)
