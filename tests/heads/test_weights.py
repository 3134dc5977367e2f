"""Images that count differently: a weight of two is the image twice; judging counts all alike."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.heads import cross_validation, kernels, ridge
from finetune.heads.aims import NumbersAim
from finetune.heads.outputs import leave_out

PENALTIES = (0.01, 0.1, 3.0)


def task(n: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, what is wanted of them, and weights of 1, 2 and 3."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(n, width)).astype(np.float32) + 2
    wanted = rows[:, :2] + rng.normal(size=(n, 2))
    return rows, wanted, rng.integers(1, 4, n).astype(float)


def path(
    rows: np.ndarray, wanted: np.ndarray, groups: list[str], weights: np.ndarray | None
) -> list[np.ndarray]:
    """Left-out scores at each penalty."""
    kernel = kernels.stage_kernels(rows, {"top": (0, rows.shape[1])}, weights)["top"]
    together = ridge.together(groups)
    found = cross_validation.path(kernel, wanted, together, PENALTIES, weights)
    return [scores for _, scores in found]


@pytest.mark.parametrize("width", [6, 60])
@pytest.mark.parametrize("grouped", [False, True])
def test_a_weight_of_two_is_the_row_twice_when_it_is_left_out(width: int, grouped: bool) -> None:
    """Scores of every row are those of its copies left out with it, also where rows go together."""
    rows, wanted, weights = task(30, width)
    names = [str(i // 3 if grouped else i) for i in range(30)]
    times = np.repeat(np.arange(30), weights.astype(int))
    first = np.searchsorted(times, np.arange(30))

    weighed = path(rows, wanted, names, weights)
    copied = path(rows[times], wanted[times], [names[i] for i in times], None)

    for one, other in zip(weighed, copied, strict=True):
        np.testing.assert_allclose(one, other[first], rtol=1e-3, atol=3e-3)  # kernels of float32


@pytest.mark.parametrize("width", [6, 60])
def test_a_weight_of_two_is_the_row_twice_when_a_head_is_fitted(width: int) -> None:
    """In both ways of solving, by images and by features."""
    rows, wanted, weights = task(30, width)
    times = np.repeat(np.arange(30), weights.astype(int))
    half = width // 2
    spans = ((0, half), (half, width))

    one = ridge.fit_to(ridge.Blocks(rows, spans, weights), wanted, 0.3)
    other = ridge.fit_to(ridge.Blocks(rows[times], spans), wanted[times], 0.3)

    np.testing.assert_allclose(one.weight, other.weight, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one.bias, other.bias, rtol=1e-3, atol=1e-4)


def test_a_fitted_head_is_scikit_learns_with_sample_weights() -> None:
    """The same ridge regression, by another program."""
    sk = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is not installed")
    rows, wanted, weights = task(40, 8)
    mean = weights @ rows / weights.sum()
    norm = np.sqrt(weights @ np.square(rows - mean).sum(axis=1) / weights.sum())

    head = ridge.fit_to(ridge.Blocks(rows, ((0, 8),), weights), wanted, 0.7)
    found = sk.Ridge(alpha=0.7).fit((rows - mean) / norm, wanted, sample_weight=weights)

    said = ridge.score(head, rows)
    np.testing.assert_allclose(said, found.predict((rows - mean) / norm), rtol=1e-4, atol=1e-4)


def test_of_a_row_without_weight_nothing_is_learned_but_it_is_scored() -> None:
    """What is wanted of it changes no other row's score, and its own is that of the others' fit."""
    rows, wanted, weights = task(30, 6)
    weights[:5] = 0
    other = wanted.copy()
    other[:5] += 100
    names = [str(i) for i in range(30)]

    one, two = (path(rows, w, names, weights) for w in (wanted, other))

    for a, b in zip(one, two, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
    head = ridge.fit_to(ridge.Blocks(rows[5:], ((0, 6),), weights[5:]), wanted[5:], PENALTIES[1])
    np.testing.assert_allclose(ridge.score(head, rows[:5]), one[1][:5], rtol=1e-3, atol=1e-3)


def test_judging_counts_all_alike() -> None:
    """The figures of left-out probes are plain means, whatever the weights are."""
    rows, wanted, weights = task(60, 6)
    labels = (wanted[:, 0] > 2).astype(np.int64)
    kernel = kernels.stage_kernels(rows, {"top": (0, 6)}, weights)["top"]
    aim = NumbersAim(np.zeros(2), np.ones(2))

    classes = cross_validation.leave_out("top", ("top",), kernel, labels, 6, counts=weights)
    numbers = leave_out(("top", ("top",), 6), kernel, wanted, aim, counts=weights)

    assert classes.score.accuracy == pytest.approx(classes.correct.mean())
    assert classes.score.log_loss == pytest.approx(classes.losses.mean())
    assert numbers.score.loss == pytest.approx(np.square(numbers.outputs - wanted).mean())
    plain = cross_validation.leave_out("top", ("top",), kernel, labels, 6)
    assert not np.allclose(plain.logits, classes.logits)
