from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from finetune import probe
from finetune.probe import FOLDS, RANKING_IMAGES, Blocks


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
    """The rows as the classifier sees them."""
    weight, shift = probe._scaling(blocks)
    return (blocks.rows - shift) * weight


def separate(n: int) -> list[str]:
    """A group for each image: no copies."""
    return [f"{i:05d}" for i in range(n)]


@pytest.mark.parametrize(("n", "width"), [(150, 20), (40, 90)])
@pytest.mark.parametrize("penalty", [1.0, 1e-2, 1e-3])
def test_fit_agrees_with_scikit_learn(n: int, width: int, penalty: float) -> None:
    """Probabilities equal an independent solver's, with more images than features and with less."""
    blocks, labels = task(n, width)
    z = scaled(blocks)
    reference = LogisticRegression(C=1 / (penalty * n), tol=1e-10, max_iter=20_000).fit(z, labels)

    head = probe.fit(blocks, labels, 3, penalty, 1.0)

    found = probe.probabilities(probe.score(head, blocks.rows), 1.0)
    np.testing.assert_allclose(found, reference.predict_proba(z), atol=1e-3)


@pytest.mark.parametrize("penalty", [1e-3, 1e-4, 1e-5])
def test_fit_is_exact_on_new_images(penalty: float) -> None:
    """New images get the probabilities of the true minimum at weak penalties too."""
    both, labels = task(120, 200, gap=0.3)
    blocks, new, labels = Blocks(both.rows[:60], both.spans), both.rows[60:], labels[:60]
    weight, shift = probe._scaling(blocks)
    reference = LogisticRegression(C=1 / (penalty * 60), tol=1e-13, max_iter=100_000)
    reference.fit((blocks.rows - shift) * weight, labels)

    head = probe.fit(blocks, labels, 3, penalty, 1.0)

    found = probe.probabilities(probe.score(head, new), 1.0)
    np.testing.assert_allclose(found, reference.predict_proba((new - shift) * weight), atol=0.02)


def test_a_penalty_carried_over_is_the_same_prior() -> None:
    """Each image twice, at the penalty carried over, gives the head of each image once."""
    blocks, labels = task(60, 12, gap=0.3)
    twice = Blocks(np.concatenate([blocks.rows, blocks.rows]), blocks.spans)
    factor = probe.carried_over(0.01, 60, 120) / 0.01

    # 120 images weigh their prior half: the mean loss of both has its minimum at one place
    once = probe.fit(blocks, labels, 3, 0.01 * factor, 1.0)
    again = probe.fit(twice, np.concatenate([labels, labels]), 3, 0.01 * factor, 1.0)

    assert factor == 0.5
    assert probe.carried_over(0.01, 60, 60) == 0.01
    np.testing.assert_allclose(again.weight, once.weight, atol=1e-4)


def test_fit_in_the_span_of_the_images_is_the_direct_solution() -> None:
    """With fewer images than features the rotated problem gives new images the same answers."""
    both, labels = task(60, 90, gap=0.3)
    blocks, labels, new = Blocks(both.rows[:40], both.spans), labels[:40], both.rows[40:]
    weight, shift = probe._scaling(blocks)
    w, b = probe._solve(scaled(blocks), labels, 3, 0.1, None, probe.EXACT)

    found = probe.score(probe.fit(blocks, labels, 3, 0.1, 1.0), new)

    direct = (new - shift) * weight @ w + b
    np.testing.assert_allclose(
        probe.probabilities(found, 1.0), probe.probabilities(direct, 1.0), atol=5e-3
    )


def test_the_scaling_is_folded_into_the_head_exactly() -> None:
    """Scores from raw rows equal those of scaling the rows first and then classifying."""
    blocks, labels = task(150, 20)
    w, b = probe._solve(scaled(blocks), labels, 3, 0.01, None, probe.EXACT)

    head = probe.fit(blocks, labels, 3, 0.01, 1.7)

    np.testing.assert_allclose(
        probe.score(head, blocks.rows), scaled(blocks) @ w + b, rtol=0, atol=1e-9
    )
    assert head.temperature == 1.7
    assert head.weight.shape == (3, 20)
    assert head.bias.shape == (3,)


def test_blocks_are_brought_to_one_norm_and_keep_their_inner_scales() -> None:
    """Wide or loud stages do not drown others; within one, features keep their proportions."""
    blocks, _ = task(200, 20)
    z = scaled(blocks)

    norms = [np.square(z[:, a:b]).sum(axis=1).mean() for a, b in blocks.spans]

    assert norms == pytest.approx([probe.SCALE**2 / 2] * 2)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    inner = blocks.rows[:, :10].std(axis=0, dtype=np.float64) / z[:, :10].std(axis=0)
    np.testing.assert_allclose(inner, inner[0])


def test_the_scores_do_not_depend_on_the_unit_of_the_features() -> None:
    """Features a thousand times as large give the same probabilities."""
    blocks, labels = task(60, 20)
    large = Blocks(1000 * blocks.rows, blocks.spans)

    one = probe.score(probe.fit(blocks, labels, 3, 0.01, 1.0), blocks.rows)
    two = probe.score(probe.fit(large, labels, 3, 0.01, 1.0), large.rows)

    np.testing.assert_allclose(one, two, atol=1e-2)


def test_a_held_out_image_is_scored_without_its_label(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other labels within a fold change no score of that fold, and do change the others'."""
    monkeypatch.setattr(probe, "PENALTIES", (0.01,))
    blocks, labels = task(90, 10)
    fold = probe.folds(labels, separate(90))
    changed = np.where(fold == 2, (labels + 1) % 3, labels)

    before = probe.cross_validate("x", ("x",), blocks, labels, fold).scores
    after = probe.cross_validate("x", ("x",), blocks, changed, fold).scores

    np.testing.assert_array_equal(before[fold == 2], after[fold == 2])
    assert (before[fold != 2] != after[fold != 2]).any(axis=1).all()


@pytest.mark.parametrize("seed", range(3))
def test_shuffled_labels_give_chance(seed: int) -> None:
    """Nothing leaks: with meaningless labels the cross-validated accuracy is that of guessing."""
    n, classes = 400, 4
    blocks, labels = task(n, 12, classes, gap=2.0)
    shuffled = np.random.default_rng(seed).permutation(labels)

    found = probe.cross_validate(
        "x", ("x",), blocks, shuffled, probe.folds(shuffled, separate(n))
    ).score

    chance = 1 / classes
    assert abs(found.accuracy - chance) < 3 * np.sqrt(chance * (1 - chance) / n)
    assert found.log_loss > np.log(classes) - 0.05


def test_cross_validation_reports_what_its_scores_say() -> None:
    """Accuracy, error, log loss and the list of right answers follow from the held-out scores."""
    blocks, labels = task(120, 10, gap=0.4)

    found = probe.cross_validate(
        "both", ("3", "4"), blocks, labels, probe.folds(labels, separate(120))
    )

    right = found.scores.argmax(axis=1) == labels
    rate = right.mean()
    assert 0.4 < rate < 1
    np.testing.assert_array_equal(found.right, right)
    assert found.score.accuracy == pytest.approx(rate)
    assert found.score.standard_error == pytest.approx(np.sqrt(rate * (1 - rate) / 120))
    assert found.score.log_loss == pytest.approx(
        probe.log_loss(found.scores / found.temperature, labels)
    )
    assert (found.score.name, found.score.taps) == ("both", ("3", "4"))
    assert found.score.dimensions == 10
    assert found.score.penalty in probe.PENALTIES


def test_cross_validation_takes_the_penalty_with_the_least_log_loss(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No other penalty of the list gives a smaller held-out log loss."""
    blocks, labels = task(120, 30, gap=0.4)
    fold = probe.folds(labels, separate(120))
    found = probe.cross_validate("x", ("x",), blocks, labels, fold)

    losses = {}
    for penalty in probe.PENALTIES:
        monkeypatch.setattr(probe, "PENALTIES", (penalty,))
        single = probe.cross_validate("x", ("x",), blocks, labels, fold)
        losses[penalty] = probe.log_loss(single.scores, labels)

    assert losses[found.score.penalty] == pytest.approx(min(losses.values()), abs=1e-3)


def test_the_path_of_penalties_does_not_stop_before_its_minimum() -> None:
    """A strong nuisance makes the loss rise first; the far lower minimum behind is found."""
    rng = np.random.default_rng(0)
    labels = np.arange(400) % 2
    nuisance, signal = 50 * rng.normal(size=(400, 100)), 0.2 * rng.normal(size=(400, 3))
    signal[:, 0] += 2 * (labels - 0.5)
    blocks = Blocks(np.concatenate([nuisance, signal], axis=1).astype(np.float32), ((0, 103),))

    found = probe.cross_validate("x", ("x",), blocks, labels, probe.folds(labels, separate(400)))

    assert found.score.accuracy > 0.9


def test_separable_classes_are_separated() -> None:
    """Clouds far from each other are told apart on images held out."""
    blocks, labels = task(60, 10, gap=4.0)

    found = probe.cross_validate("x", ("x",), blocks, labels, probe.folds(labels, separate(60)))

    assert found.score.accuracy == 1.0


@given(counts=st.lists(st.integers(1, 40), min_size=2, max_size=6), seed=st.integers(0, 99))
def test_folds_are_stratified(counts: list[int], seed: int) -> None:
    """Each class is spread over the folds to within one image."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(counts)), counts))

    fold = probe.folds(labels, separate(len(labels)))

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

    fold = probe.folds(labels, groups)

    homes = {g: {int(f) for f, h in zip(fold, groups, strict=True) if h == g} for g in groups}
    assert all(len(home) == 1 for home in homes.values())
    assert set(np.unique(fold)) == set(range(min(FOLDS, len(homes))))


def test_folds_depend_on_the_images_not_on_their_order() -> None:
    """Listing the images in another order moves none to another fold; twice is the same."""
    labels, groups = np.arange(50) % 3, separate(50)
    order = np.random.default_rng(0).permutation(50)

    fold = probe.folds(labels, groups)
    shuffled = probe.folds(labels[order], [groups[i] for i in order])

    np.testing.assert_array_equal(fold, probe.folds(labels, groups))
    np.testing.assert_array_equal(fold[order], shuffled)


@pytest.mark.parametrize("count", [2, 3, FOLDS])
def test_as_many_folds_as_asked_for(count: int) -> None:
    """Every fold is used where there are enough images."""
    fold = probe.folds(np.arange(20) % 4, separate(20), count)

    assert set(fold) == set(range(count))


@pytest.mark.parametrize("true", [0.5, 1.0, 2.5])
def test_a_known_temperature_is_recovered(true: float) -> None:
    """Labels drawn at a temperature give it back from many scores."""
    rng = np.random.default_rng(0)
    scores = 3 * rng.normal(size=(20_000, 4))
    chances = probe.probabilities(scores, true)
    labels = (rng.random((20_000, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(0, 3)

    assert probe.fit_temperature(scores, labels) == pytest.approx(true, rel=0.05)


@given(seed=st.integers(0, 10_000), size=st.floats(0.05, 50))
def test_a_temperature_does_not_worsen_the_log_loss(seed: int, size: float) -> None:
    """On the scores it was fitted on a temperature costs at most one image's nat in the mean."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, 300)
    scores = size * (rng.normal(size=(300, 3)) + np.eye(3)[labels])

    after = probe.log_loss(scores / probe.fit_temperature(scores, labels), labels)

    assert after <= probe.log_loss(scores, labels) + 1 / 300


def test_probabilities_of_few_separable_images_stay_honest() -> None:
    """On new images log loss with the fitted temperature is no worse than without one."""
    rng = np.random.default_rng(0)
    fitted, plain = [], []
    labels, others = np.arange(20) % 2, np.arange(500) % 2
    for _ in range(10):
        centres = 0.35 * rng.normal(size=(2, 64))
        rows = (centres[labels] + rng.normal(size=(20, 64))).astype(np.float32)
        new = (centres[others] + rng.normal(size=(500, 64))).astype(np.float32)
        blocks, fold = Blocks(rows, ((0, 64),)), probe.folds(labels, separate(20))
        found = probe.cross_validate("x", ("x",), blocks, labels, fold)
        head = probe.fit(blocks, labels, 2, found.score.penalty, found.temperature)
        scores = probe.score(head, new)
        fitted.append(probe.log_loss(scores / found.temperature, others))
        plain.append(probe.log_loss(scores, others))

    assert np.mean(fitted) < 1.1 * np.mean(plain)


def test_the_log_loss_is_the_mean_of_minus_log_probability() -> None:
    """Equal to writing it out, for scores that the exponential can hold."""
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)

    chances = probe.probabilities(scores, 1.0)[np.arange(30), labels]

    assert probe.log_loss(scores, labels) == pytest.approx(-np.log(chances).mean())


@given(
    rows=st.lists(st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3), min_size=1, max_size=8),
    temperature=st.floats(0.05, 20),
)
def test_probabilities_are_probabilities(rows: list[list[float]], temperature: float) -> None:
    """Rows sum to one and lie in [0, 1], without overflow, and keep the order of the scores."""
    scores = np.array(rows)

    found = probe.probabilities(scores, temperature)

    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_array_equal(
        found[np.arange(len(rows)), scores.argmax(axis=1)], found.max(axis=1)
    )


def test_the_log_loss_of_huge_scores_is_finite() -> None:
    """Scores of ten thousand neither overflow nor vanish."""
    scores = np.array([[1e4, -1e4], [1e4, -1e4]])

    assert probe.log_loss(scores, np.array([0, 0])) == pytest.approx(0)
    assert probe.log_loss(scores, np.array([1, 1])) == pytest.approx(2e4)


def test_renaming_the_classes_renames_the_heads_rows() -> None:
    """Permuting the labels permutes weights and biases and changes nothing else."""
    blocks, labels = task(90, 12)
    renamed = np.array([2, 0, 1])

    head = probe.fit(blocks, labels, 3, 0.01, 1.0)
    other = probe.fit(blocks, renamed[labels], 3, 0.01, 1.0)

    np.testing.assert_allclose(other.weight[renamed], head.weight, atol=1e-3)
    np.testing.assert_allclose(other.bias[renamed], head.bias, atol=1e-2)


def test_a_class_without_images_is_never_the_answer() -> None:
    """A head for more classes than the labels name leaves the missing one behind the others."""
    blocks, labels = task(60, 12, gap=2.0)

    head = probe.fit(blocks, labels, 4, 0.01, 1.0)

    assert head.weight.shape == (4, 12)
    assert 3 not in probe.score(head, blocks.rows).argmax(axis=1)


@pytest.mark.parametrize("n", [1, RANKING_IMAGES])
def test_few_images_are_all_ranked_on(n: int) -> None:
    """Up to the limit no image is left out."""
    np.testing.assert_array_equal(probe.ranking_sample(np.arange(n) % 3), np.arange(n))


def test_many_images_are_ranked_on_a_stratified_part() -> None:
    """Above the limit every class gives its share, a rare one enough for every fold."""
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2, 3], [5000, 900, 93, 7]))

    rows = probe.ranking_sample(labels)

    assert len(rows) <= RANKING_IMAGES + 4 + FOLDS
    assert (np.diff(rows) > 0).all()
    kept = np.bincount(labels[rows], minlength=4)
    assert kept.tolist() == [667, 120, 12, FOLDS]
    np.testing.assert_array_equal(rows, probe.ranking_sample(labels))


def test_features_that_never_vary_predict_the_shares_of_the_classes() -> None:
    """Without any information the head answers with the frequencies, on few and many features."""
    labels = np.array([0] * 12 + [1] * 6 + [2] * 2)
    for width in (5, 50):
        blocks = Blocks(np.full((20, width), 0.3, np.float32), ((0, width),))

        head = probe.fit(blocks, labels, 3, 0.01, 1.0)
        found = probe.probabilities(probe.score(head, blocks.rows), 1.0)

        np.testing.assert_allclose(found, np.tile([0.6, 0.3, 0.1], (20, 1)), atol=1e-3)


def test_a_dead_stage_does_not_disturb_a_live_one() -> None:
    """A block of constant features beside an informative one gets no weight."""
    blocks, labels = task(60, 10)
    rows = np.concatenate([blocks.rows, np.full((60, 4), 1.1, np.float32)], axis=1)

    head = probe.fit(Blocks(rows, (*blocks.spans, (10, 14))), labels, 3, 0.01, 1.0)

    np.testing.assert_array_equal(head.weight[:, 10:], 0)
    assert (probe.score(head, rows).argmax(axis=1) == labels).mean() > 0.8


def test_constant_features_can_be_cross_validated() -> None:
    """No variance is no fault: the result is the commonest class."""
    labels = np.array([0] * 12 + [1] * 6)
    blocks = Blocks(np.ones((18, 3), np.float32), ((0, 3),))

    found = probe.cross_validate("x", ("x",), blocks, labels, probe.folds(labels, separate(18)))

    assert found.score.accuracy == pytest.approx(12 / 18)
    assert np.isfinite(found.scores).all()


def test_one_column_is_enough() -> None:
    """A single feature that tells the classes apart is used."""
    labels = np.arange(30) % 2
    noise = np.random.default_rng(0).normal(size=30)
    blocks = Blocks((5.0 * labels + noise).astype(np.float32)[:, None], ((0, 1),))

    found = probe.cross_validate("x", ("x",), blocks, labels, probe.folds(labels, separate(30)))

    assert found.score.accuracy > 0.9


def test_a_fold_may_lack_most_classes() -> None:
    """With two images of each of many classes every fold lacks some, and nothing breaks."""
    classes = 12
    blocks, labels = task(2 * classes, 30, classes, gap=3.0)

    found = probe.cross_validate(
        "x", ("x",), blocks, labels, probe.folds(labels, separate(2 * classes))
    )

    assert found.scores.shape == (2 * classes, classes)
    assert found.score.accuracy > 0.5
