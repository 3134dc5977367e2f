"""Promises of intervals by groups: they cover what they say, and change nothing without groups."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from finetune.metrics import classification, clusters, paired

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from group_coverage import Setting, coverage

NAMES = ("a", "b", "c")


def drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels int64[n] and the probabilities float64[n, 3] of two models."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    one, two = (rng.dirichlet(np.ones(3), n) + rate * np.eye(3)[labels] for rate in (0.5, 0.3))
    return labels, one / one.sum(axis=1)[:, None], two / two.sum(axis=1)[:, None]


@pytest.mark.parametrize(
    "setting",
    [Setting(15, 0.9, 0.1), Setting(31, 0.8, 0.3), Setting(31, 0.7, 0.7), Setting(60, 0.9, 0.3)],
)
def test_nominal_95_percent_covers_that_much_with_groups(setting: Setting) -> None:
    """With groups of 5 to 20 images the intervals hold the truth about as often as they say."""
    by, without = coverage(setting, draws=150, seed=1)

    assert ((by >= 0.90) & (by <= 1.0)).all(), by
    assert 0.90 <= by[0] <= 0.985
    assert (without[:1] < 0.85).all()


def test_without_groups_the_numbers_are_those_of_independent_images() -> None:
    """Bit for bit: the paired standard error is std / sqrt(n), the interval is Wilson's."""
    labels, one, two = drawn(57)
    right = [(p.argmax(axis=1) == labels).astype(float) for p in (one, two)]
    losses = [classification.log_losses(p, labels) for p in (one, two)]
    difference, less = right[0] - right[1], losses[1] - losses[0]

    gain, noise, saved, saved_noise = paired.accuracy_gain(one, two, labels)

    assert gain == difference.mean()
    assert noise == difference.std(ddof=1) / math.sqrt(57) * (1 + 1e-9)
    assert saved == less.mean()
    assert saved_noise == less.std(ddof=1) / math.sqrt(57) * (1 + 1e-9)
    found = classification.measure(one, labels, NAMES)
    assert found.interval == classification.wilson(int(right[0].sum()), 57)
    assert found.groups is None


def test_images_that_are_each_their_own_are_no_groups() -> None:
    """Names that all differ give no groups; equal ones are numbered without a gap."""
    assert clusters.number(["x", "y", "z"]) is None
    found = clusters.number(["x", "y", "x"])
    assert found is not None
    assert found.tolist() == [0, 1, 0]
    assert clusters.renumbered(found, np.array([0, 1])) is None
    again = clusters.renumbered(found, np.array([0, 2]))
    assert again is not None
    assert again.tolist() == [0, 0]


def test_copies_of_every_image_tell_no_more_than_the_images() -> None:
    """Forty images ten times over have about the interval of forty, not that of 400."""
    labels, one, two = drawn(40)
    groups = np.repeat(np.arange(40), 10)
    right = np.repeat(one.argmax(axis=1) == labels, 10)

    low, high = classification.accuracy_interval(right, groups)

    least, most = classification.wilson(int(right.sum()) // 10, 40)
    assert low == pytest.approx(least, abs=0.02)
    assert high == pytest.approx(most, abs=0.02)
    _, alone, _, _ = paired.accuracy_gain(one, two, labels)
    by = paired.Yardstick(groups=groups)
    _, copied, _, _ = paired.accuracy_gain(
        *(np.repeat(p, 10, axis=0) for p in (one, two)), np.repeat(labels, 10), by
    )
    assert copied == pytest.approx(alone, rel=0.06)


def test_all_right_is_no_certainty_with_few_groups() -> None:
    """Where no answer is wrong the interval is that of as many images as there are groups."""
    groups = np.repeat(np.arange(6), 20)

    low, high = classification.accuracy_interval(np.ones(120, bool), groups)

    assert high == pytest.approx(1)
    assert low <= classification.wilson(6, 6)[0] < 0.7


def test_one_group_alone_says_nothing() -> None:
    """The error of a mean of one group is as large as its largest value, its interval wide."""
    groups = np.zeros(50, np.int64)

    assert clusters.standard_error(np.full(50, 0.25), groups) == 0.25
    low, high = classification.accuracy_interval(np.arange(50) < 45, groups)
    assert high - low > 0.6


def test_the_error_is_cr2() -> None:
    """The correction for few groups is that of Bell and McCaffrey, written out with matrices."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(7), rng.integers(1, 12, 7))
    values = rng.normal(size=len(groups)) + rng.normal(size=7)[groups]
    n, residual, total = len(values), values - values.mean(), 0.0
    for g in range(7):
        rows = groups == g
        size = int(rows.sum())
        roots, vectors = np.linalg.eigh(np.eye(size) - np.full((size, size), 1 / n))
        adjusted = vectors @ np.diag(1 / np.sqrt(roots)) @ vectors.T @ residual[rows]
        total += adjusted.sum() ** 2
    sums = np.bincount(groups, weights=residual)

    found = clusters.standard_error(values, groups)

    widened = math.sqrt(total) / n * clusters._widening(sums, groups)
    assert found == pytest.approx(widened)
    assert clusters._widening(sums, groups) > 1.2


@pytest.mark.parametrize(
    ("freedom", "quantile"), [(3, 3.182), (5, 2.571), (10, 2.228), (30, 2.042)]
)
def test_students_quantile(freedom: int, quantile: float) -> None:
    """As printed in tables, to two parts in a thousand."""
    assert clusters.student(freedom) == pytest.approx(quantile, rel=2e-3)


def test_contributions_have_the_metric_as_their_mean() -> None:
    """Each metric is the mean of its contributions, as `measure` has it."""
    labels, one, _ = drawn(90)
    labels[:60] = 0
    found = classification.measure(one, labels, NAMES)

    names = ("accuracy", "balanced-accuracy", "macro-f1", "log-loss")
    values = [paired.value(one, labels, paired.Yardstick(name)) for name in names]

    wanted = [found.accuracy, found.balanced_accuracy, found.macro_f1, found.log_loss]
    assert values == pytest.approx(wanted)


@pytest.mark.parametrize("metric", ["balanced-accuracy", "macro-f1"])
def test_errors_of_metrics_that_are_no_means(metric: str) -> None:
    """The delta method gives about the standard error that a bootstrap over images gives."""
    labels, one, two = drawn(300, seed=5)
    by = paired.Yardstick(metric)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(300):
        some = rng.integers(0, 300, 300)
        draws.append(np.subtract(*(paired.value(p[some], labels[some], by) for p in (one, two))))

    gain, noise, _, _ = paired.accuracy_gain(one, two, labels, by)

    assert gain == pytest.approx(np.mean(draws), abs=0.01)
    assert noise == pytest.approx(np.std(draws), rel=0.15)


def test_the_balanced_interval_holds_the_balanced_accuracy() -> None:
    """It is wider than the accuracy's where a class is rare, and counts the classes alike."""
    labels = np.repeat([0, 1, 2], [200, 40, 5])
    right = np.arange(245) % 10 != 0

    low, high = classification.balanced_interval(labels, right)

    recalls = [right[labels == c].mean() for c in range(3)]
    assert low < np.mean(recalls) < high
    least, most = classification.accuracy_interval(right)
    assert high - low > most - least


def test_what_is_expected_at_other_shares() -> None:
    """Recalls and losses count by the wanted shares; equal ones give the balanced accuracy."""
    labels, one, _ = drawn(120)
    labels[:70] = 0
    shares = np.array([0.1, 0.2, 0.7])

    found = classification.measure(one, labels, NAMES, None, shares)
    even = classification.measure(one, labels, NAMES, None, np.full(3, 1 / 3))

    recalls = np.array([c.recall for c in found.per_class])
    losses = classification.log_losses(one, labels)
    by_class = [losses[labels == c].mean() for c in range(3)]
    assert found.at_shares is not None
    assert found.at_shares.accuracy == pytest.approx(recalls @ shares)
    assert found.at_shares.log_loss == pytest.approx(np.dot(by_class, shares))
    assert found.at_shares.interval[0] < found.at_shares.accuracy < found.at_shares.interval[1]
    assert even.at_shares is not None
    assert even.at_shares.accuracy == pytest.approx(even.balanced_accuracy)
    assert even.at_shares.interval == pytest.approx(even.balanced_interval)
    assert classification.measure(one, labels, NAMES).at_shares is None
