"""Promises of `metrics.labels` and `metrics.numbers`: as scikit-learn has it, with intervals."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.metrics import labels, numbers

NAMES = ("a", "b", "c", "d")


def drawn(images: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities with ties and the truth of four labels, of which the last is never there."""
    rng = np.random.default_rng(3)
    truth = (rng.random((images, 4)) < (0.5, 0.2, 0.1, 0.0)).astype(np.float64)
    scores = np.round(np.clip(0.4 * truth + 0.6 * rng.random((images, 4)), 0, 1), 2)
    return scores, truth


def test_labels_are_measured_as_scikit_learn_does() -> None:
    """Average precision, F1 at thresholds, exact match, log loss; an unseen label in no mean."""
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    scores, truth = drawn()
    thresholds = (0.5, 0.4, 0.6, 0.9)

    found = labels.measure(scores, truth, NAMES, thresholds)

    known, on = truth[:, :3], scores >= thresholds
    assert found.map == pytest.approx(sk.average_precision_score(known, scores[:, :3]))
    assert [r.average_precision for r in found.per_label[:3]] == pytest.approx(
        [sk.average_precision_score(truth[:, k], scores[:, k]) for k in range(3)]
    )
    assert found.per_label[3].average_precision is None
    assert found.micro_f1 == pytest.approx(sk.f1_score(truth, on, average="micro"))
    assert found.macro_f1 == pytest.approx(sk.f1_score(known, on[:, :3], average="macro"))
    assert found.exact == pytest.approx(sk.accuracy_score(truth, on))
    assert found.baseline == pytest.approx(known.mean())
    p = np.clip(scores, 1e-15, 1 - 1e-15)
    expected = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    assert found.log_loss == pytest.approx(expected)
    assert found.map_interval is not None
    assert found.map_interval[0] < found.map < found.map_interval[1]
    assert found == labels.measure(scores, truth, NAMES, thresholds)


def test_numbers_are_measured_as_scikit_learn_does() -> None:
    """R², MAE and RMSE of each and their means; a number that is always the same has no R²."""
    sk = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(1)
    truth = rng.normal(10, 5, (90, 2))
    values = truth + rng.normal(0, 2, (90, 2))

    found = numbers.measure(values, truth, ("x", "y"), truth.mean(axis=0))

    assert found.r2 == pytest.approx(sk.r2_score(truth, values))
    assert found.mae == pytest.approx(sk.mean_absolute_error(truth, values))
    assert found.rmse == pytest.approx(sk.root_mean_squared_error(truth, values))
    for low, value, high in (
        (found.r2_interval[0], found.r2, found.r2_interval[1]),  # type: ignore[index]
        (found.mae_interval[0], found.mae, found.mae_interval[1]),  # type: ignore[index]
        (found.rmse_interval[0], found.rmse, found.rmse_interval[1]),  # type: ignore[index]
    ):
        assert low < value < high
    same = numbers.measure(np.ones((5, 1)), np.full((5, 1), 2.0), ("x",), np.array([4.0]))
    assert (same.r2, same.per_number[0].r2, same.mae, same.baseline) == (None, None, 1.0, 2.0)


def test_images_that_go_together_are_drawn_together() -> None:
    """Ten copies of each image tell no more than one of each: the interval stays as wide."""
    scores, truth = drawn(40)
    values = truth[:, :1] + 0.3 * scores[:, :1]
    groups = np.repeat(np.arange(40), 10)

    one = labels.measure(scores, truth, NAMES, (0.5,) * 4)
    ten = labels.measure(
        np.repeat(scores, 10, axis=0), np.repeat(truth, 10, axis=0), NAMES, (0.5,) * 4, groups
    )
    mean = np.zeros(1)
    few = numbers.measure(values, truth[:, :1], ("x",), mean)
    many = numbers.measure(
        np.repeat(values, 10, axis=0), np.repeat(truth[:, :1], 10, axis=0), ("x",), mean, groups
    )

    assert (ten.groups, many.groups) == (40, 40)
    assert ten.map_interval == pytest.approx(one.map_interval, abs=0.03)
    assert many.mae_interval == pytest.approx(few.mae_interval, abs=0.02)
