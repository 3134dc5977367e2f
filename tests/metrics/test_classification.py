from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as reference

from finetune.decision import baseline
from finetune.metrics import classification, paired
from finetune.records import metrics

NAMES = ("ash", "bay", "cedar")
LABELS = np.array([0, 0, 0, 1, 1, 2])
ROWS = np.array(
    [
        [0.7, 0.2, 0.1],  # right
        [0.5, 0.4, 0.1],  # right
        [0.2, 0.6, 0.2],  # ash called bay
        [0.1, 0.8, 0.1],  # right
        [0.3, 0.3, 0.4],  # bay called cedar
        [0.1, 0.1, 0.8],  # right
    ]
)


def random_case(n: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that lean to the label, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    scores = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels]
    rows = np.exp(scores)
    return rows / rows.sum(axis=1, keepdims=True), labels


def answers(right: list[bool], sure: float = 0.8) -> np.ndarray:
    """Two-class probabilities for label 0 everywhere, right or wrong with the same confidence."""
    return np.array([[sure, 1 - sure] if r else [1 - sure, sure] for r in right])


def compare(tuned: np.ndarray, probed: np.ndarray) -> metrics.Baseline:
    """The floor on images that all have label 0."""
    labels = np.zeros(len(tuned), np.int64)
    return baseline.judge(tuned, probed, labels, "stages 4+5", f"{len(tuned)} images")


def test_rates_equal_a_count_by_hand() -> None:
    """Accuracy, its interval, balanced accuracy, F1, loss and baseline of six images."""
    found = classification.measure(ROWS, LABELS, NAMES)

    assert found.n == 6
    assert found.accuracy == pytest.approx(4 / 6)
    assert found.interval == pytest.approx((0.3000, 0.9032), abs=1e-4)
    assert found.balanced_accuracy == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert found.macro_f1 == pytest.approx((4 / 5 + 1 / 2 + 2 / 3) / 3)
    logs = [math.log(p) for p in (0.7, 0.5, 0.2, 0.8, 0.3, 0.8)]
    assert found.log_loss == pytest.approx(-sum(logs) / 6)
    assert found.majority_baseline == pytest.approx(1 / 2)


def test_counts_equal_a_count_by_hand() -> None:
    """The confusion matrix and each class's numbers of the same six images."""
    found = classification.measure(ROWS, LABELS, NAMES)

    assert found.confusion == ((2, 1, 0), (0, 1, 1), (0, 0, 1))
    assert [(c.name, c.n) for c in found.per_class] == [("ash", 3), ("bay", 2), ("cedar", 1)]
    assert [c.precision for c in found.per_class] == pytest.approx([1, 1 / 2, 1 / 2])
    assert [c.recall for c in found.per_class] == pytest.approx([2 / 3, 1 / 2, 1])
    assert [c.f1 for c in found.per_class] == pytest.approx([4 / 5, 1 / 2, 2 / 3])


def test_the_calibration_error_equals_a_count_by_hand() -> None:
    """Five bins are filled; the one of 0.8 holds two images, both right."""
    found = classification.measure(ROWS, LABELS, NAMES)

    gaps = [0.3, 0.5, 0.6, 2 * 0.2, 0.4]
    assert found.calibration_error == pytest.approx(sum(gaps) / 6)


@pytest.mark.parametrize(("n", "classes", "seed"), [(200, 4, 0), (37, 2, 1), (60, 15, 2)])
def test_measure_agrees_with_scikit_learn(n: int, classes: int, seed: int) -> None:
    """Every rate that scikit-learn knows is the same there."""
    rows, labels = random_case(n, classes, seed)
    called, present = rows.argmax(axis=1), np.unique(labels)
    every = list(range(classes))

    found = classification.measure(rows, labels, [str(c) for c in every])

    assert found.accuracy == pytest.approx(reference.accuracy_score(labels, called))
    recalls = reference.recall_score(labels, called, labels=present, average=None)
    assert found.balanced_accuracy == pytest.approx(recalls.mean())
    f1 = reference.f1_score(labels, called, labels=present, average="macro")
    assert found.macro_f1 == pytest.approx(f1)
    assert found.log_loss == pytest.approx(reference.log_loss(labels, rows, labels=every))
    matrix = reference.confusion_matrix(labels, called, labels=every)
    assert found.confusion == tuple(map(tuple, matrix.tolist()))


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        (8, 10, 0.4902, 0.9433),
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 1, 0.2065, 1.0),
        (50, 100, 0.4038, 0.5962),
    ],
)
def test_wilson_has_the_published_values(right: int, n: int, low: float, high: float) -> None:
    """Known 95 % intervals to four digits."""
    assert classification.wilson(right, n) == pytest.approx((low, high), abs=5e-5)


@given(n=st.integers(1, 5000), share=st.floats(0, 1))
def test_wilson_is_an_interval_around_the_rate(n: int, share: float) -> None:
    """Inside [0, 1], around the rate, the same as scipy's."""
    right = round(share * n)

    low, high = classification.wilson(right, n)

    assert 0 <= low <= right / n + 1e-12
    assert right / n - 1e-12 <= high <= 1
    known = binomtest(right, n).proportion_ci(method="wilson")
    assert (low, high) == pytest.approx((known.low, known.high), abs=1e-6)


def test_calibrated_probabilities_have_no_calibration_error() -> None:
    """Labels drawn from the probabilities themselves leave next to no gap."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 50_000)
    labels = (rng.random(50_000) > sure).astype(np.int64)

    error = classification.calibration_error(np.stack([sure, 1 - sure], axis=1), labels)

    assert error < 0.01


def test_overconfidence_is_a_large_calibration_error() -> None:
    """Certain of everything and right half of the time: a gap of one half."""
    rows = np.tile([1.0, 0.0], (100, 1))

    assert classification.calibration_error(rows, np.arange(100) % 2) == pytest.approx(0.5)


def test_an_absent_class_is_undefined_and_does_not_count() -> None:
    """A class without images has no recall and no F1, and the averages leave it out."""
    rows = np.array([[0.9, 0.1, 0.0], [0.2, 0.7, 0.1], [0.3, 0.1, 0.6]])

    found = classification.measure(rows, np.array([0, 1, 1]), NAMES)

    absent = found.per_class[2]
    assert (absent.n, absent.recall, absent.f1) == (0, None, None)
    assert absent.precision == 0
    assert found.balanced_accuracy == pytest.approx((1 + 1 / 2) / 2)


def test_a_class_never_answered_has_no_precision() -> None:
    """Nothing called so: precision is undefined, recall and F1 are zero."""
    rows = np.tile([0.6, 0.3, 0.1], (3, 1))

    found = classification.measure(rows, np.array([0, 1, 2]), NAMES)

    assert [c.precision for c in found.per_class] == [pytest.approx(1 / 3), None, None]
    assert [c.recall for c in found.per_class] == [1, 0, 0]
    assert [c.f1 for c in found.per_class] == [pytest.approx(1 / 2), 0, 0]


def test_a_certain_error_has_a_finite_log_loss() -> None:
    """A probability of exactly zero for the truth is bounded, so that JSON can hold the mean."""
    found = classification.measure(np.array([[1.0, 0.0]]), np.array([1]), ("a", "b"))

    assert 30 < found.log_loss < 40


@given(seed=st.integers(0, 1000), order=st.permutations(range(5)))
def test_renaming_the_classes_renames_the_numbers(seed: int, order: list[int]) -> None:
    """Permuting the classes permutes what is per class and leaves the rest."""
    rows, labels = random_case(40, 5, seed)
    names = [str(c) for c in range(5)]
    place = np.argsort(order)

    one = classification.measure(rows, labels, names)
    two = classification.measure(rows[:, order], place[labels], [names[c] for c in order])

    assert two.per_class == tuple(one.per_class[c] for c in order)
    assert (np.array(two.confusion) == np.array(one.confusion)[np.ix_(order, order)]).all()
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "log_loss", "calibration_error"):
        assert getattr(two, name) == pytest.approx(getattr(one, name))


def test_a_tuned_model_that_is_clearly_better_is_kept() -> None:
    """More right answers, beyond the noise: the tuned model, with both rates in the record."""
    found = compare(answers([True] * 20), answers([True] * 12 + [False] * 8))

    assert found.kept == "tuned"
    assert (found.n, found.tuned_accuracy, found.probe_accuracy) == (20, 1.0, 0.6)
    assert found.tuned_log_loss == pytest.approx(-math.log(0.8))
    assert found.reason.startswith("The tuned model is kept: ")
    for part in ("on 20 images", "100.0 %", "60.0 %", "stages 4+5", "+40.0 ± 11.2 points"):
        assert part in found.reason


def test_a_lead_within_noise_keeps_the_probe() -> None:
    """Three images better and two worse of forty is luck."""
    tuned = answers([True] * 30 + [True] * 3 + [False] * 2 + [False] * 5)
    probed = answers([True] * 30 + [False] * 3 + [True] * 2 + [False] * 5)

    found = compare(tuned, probed)

    assert found.tuned_accuracy > found.probe_accuracy
    assert found.kept == "probe"
    assert found.reason.startswith("The probe is kept: ")


def test_equal_models_keep_the_probe() -> None:
    """Where nothing differs the simpler one is returned."""
    rows, _ = random_case(30, 3)

    found = compare(rows, rows.copy())

    assert found.kept == "probe"


def test_a_clearly_better_log_loss_at_equal_accuracy_is_kept() -> None:
    """The same answers, but surer of the right ones: better by more than noise."""
    right = [True] * 27 + [False] * 3
    tuned = np.where(np.array(right)[:, None], answers(right, 0.95), answers(right, 0.6))

    found = compare(tuned, answers(right, 0.7))

    assert found.tuned_accuracy == found.probe_accuracy
    assert found.kept == "tuned"


@pytest.mark.parametrize("worse", [1, 5, 20])
def test_a_lower_accuracy_is_never_kept(worse: int) -> None:
    """However much better the log loss: fewer right answers are fewer right answers."""
    tuned = answers([True] * (40 - worse) + [False] * worse, 0.51)
    tuned[: 40 - worse] = [0.999, 0.001]

    found = compare(tuned, answers([True] * 40, 0.55))

    assert found.tuned_log_loss < found.probe_log_loss or worse == 20
    assert found.kept == "probe"


def test_one_image_proves_nothing() -> None:
    """With a single image there is no noise to exceed: the probe, and no crash."""
    found = compare(answers([True]), answers([False]))

    assert found.kept == "probe"
    assert (found.tuned_accuracy, found.probe_accuracy) == (1.0, 0.0)


@pytest.mark.parametrize("n", range(5, 60))
def test_a_lead_of_one_image_keeps_the_probe(n: int) -> None:
    """One image more is one standard error: by itself it is never more than noise."""
    tuned, probed = answers([True] * n, sure=0.6), answers([True] * (n - 1) + [False], sure=0.6)

    assert compare(tuned, probed).kept == "probe"


def test_the_lead_equals_a_count_by_hand() -> None:
    """Eight more right and two fewer of forty: 15 points, with the error of the paired mean."""
    tuned = answers([True] * 28 + [False] * 2 + [False] * 10)
    probed = answers([True] * 20 + [False] * 8 + [True] * 2 + [False] * 10)

    gain, noise, less, less_error = paired.accuracy_gain(tuned, probed, np.zeros(40, np.int64))

    pairs = np.array([0] * 20 + [1] * 8 + [-1] * 2 + [0] * 10)
    assert gain == pytest.approx(6 / 40)
    assert noise == pytest.approx(pairs.std(ddof=1) / math.sqrt(40))
    step = math.log(0.8 / 0.2)  # what one answer set right takes off the loss
    assert less == pytest.approx(6 / 40 * step)
    assert less_error == pytest.approx(pairs.std(ddof=1) / math.sqrt(40) * step)


def test_the_leads_noise_is_that_of_pairs() -> None:
    """Models that err on the same images are compared more exactly than their rates alone allow."""
    tuned = answers([True] * 56 + [False] * 44)
    probed = answers([True] * 50 + [False] * 50)

    gain, noise, _, _ = paired.accuracy_gain(tuned, probed, np.zeros(100, np.int64))

    assert gain == pytest.approx(0.06)
    assert noise < math.sqrt(2 * 0.25 / 100) / 2


@given(seed=st.integers(0, 10_000), n=st.integers(1, 40))
def test_the_lead_of_one_over_the_other_is_that_ones_lag(seed: int, n: int) -> None:
    """Changing places turns both signs around and leaves the noise, and nothing leads itself."""
    tuned, labels = random_case(n, 3, seed)
    probed = random_case(n, 3, seed + 1)[0]

    ahead = paired.accuracy_gain(tuned, probed, labels)
    behind = paired.accuracy_gain(probed, tuned, labels)

    assert behind == pytest.approx((-ahead[0], ahead[1], -ahead[2], ahead[3]))
    assert paired.accuracy_gain(tuned, tuned, labels)[::2] == (0, 0)


@pytest.mark.parametrize("n", [1, 2, 5, 59])
def test_a_lead_of_one_image_is_within_its_noise(n: int) -> None:
    """One image more right than the other, whatever the number: never beyond the noise."""
    tuned, probed = answers([True] * n), answers([True] * (n - 1) + [False])

    gain, noise, less, less_error = paired.accuracy_gain(tuned, probed, np.zeros(n, np.int64))

    assert 0 < gain <= noise
    assert 0 < less <= less_error


@pytest.mark.parametrize(
    ("lost", "allowed", "kept"),
    [
        *((1, None, "probe"), (1, 0.03, "tuned"), (0, 0.0, "tuned")),
        *((14, 0.3, "probe"), (14, 0.4, "tuned")),
    ],
)
def test_a_belief_need_only_not_be_contradicted(
    lost: int, allowed: float | None, kept: str
) -> None:
    """Believed to lead, it stays unless trials are farther behind than that."""
    tuned, probed = answers([False] * lost + [True] * (40 - lost)), answers([True] * 40)
    labels = np.zeros(40, np.int64)

    floor = baseline.judge(tuned, probed, labels, "top", "40 images", allowed=allowed)

    assert floor.kept == kept
    assert ("tuned model is kept" in floor.reason) == (kept == "tuned")


def test_the_floor_says_what_the_lead_says() -> None:
    """The floor's sentence has the lead, its noise, and that of the log loss with its sign."""
    tuned = answers([True] * 28 + [False] * 12, 0.9)
    probed = answers([True] * 20 + [False] * 20, 0.7)
    gain, noise, less, less_error = paired.accuracy_gain(tuned, probed, np.zeros(40, np.int64))

    reason = compare(tuned, probed).reason

    assert f"{100 * gain:+.1f} ± {100 * noise:.1f} points" in reason
    assert f"log loss {-less:+.3f} ± {less_error:.3f})" in reason


@given(seed=st.integers(0, 1000), cut=st.integers(1, 39))
def test_parts_give_what_the_whole_gives(seed: int, cut: int) -> None:
    """Probabilities that come some at a time are measured to the same bits."""
    rows, labels = random_case(40, 5, seed)
    names = [str(c) for c in range(5)]

    parts = classification.summary(classification.answers([rows[:cut], rows[cut:]], labels), names)

    assert parts == classification.measure(rows, labels, names)
