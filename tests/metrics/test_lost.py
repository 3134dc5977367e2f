"""Promises of `metrics.lost`: what a coarser copy loses, in the metric of its target, paired."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.metrics import lost, numbers, ranking

RNG = np.random.default_rng(0)


def test_the_loss_of_map_is_the_difference_of_both() -> None:
    """With an interval that has it inside, narrower than that of either by itself."""
    truth = (RNG.random((200, 3)) < 0.4).astype(np.float64)
    full = np.clip(truth * 0.4 + RNG.random((200, 3)) * 0.6, 0, 1)
    less = np.clip(full + RNG.normal(0, 0.15, full.shape), 0, 1)

    found = lost.of_labels(full, less, truth, (0.5, 0.5, 0.5), None)

    score = ranking.mean_average_precision
    assert found.metric == "map"
    assert found.score == score(full, truth)
    assert found.loss == pytest.approx(score(full, truth) - score(less, truth))
    assert 0 < found.interval[0] < found.loss < found.interval[1] < 0.2
    assert found.same == np.mean(((full >= 0.5) == (less >= 0.5)).all(axis=1))


def test_the_rise_of_rmse_is_relative_and_by_number() -> None:
    """A number in millimeters counts as much as one in kilometers."""
    truth = RNG.normal(size=(300, 2)) * (1, 1000)
    full = truth + RNG.normal(size=truth.shape) * (0.1, 100)
    less = truth + (full - truth) * (1.0, 1.2)

    found = lost.of_numbers(full, less, truth, None)

    assert found.metric == "rmse"
    assert found.score == pytest.approx(numbers.measure(full, truth, "ab", truth.mean(0)).rmse)
    assert found.loss == pytest.approx(0.1)
    assert found.interval == pytest.approx((0.1, 0.1))
    assert found.same == 0.0


def test_groups_are_drawn_whole() -> None:
    """Ten copies of twenty images tell no more than twenty images."""
    truth = np.repeat(RNG.normal(size=(20, 1)), 10, axis=0)
    full = truth + np.repeat(RNG.normal(size=(20, 1)), 10, axis=0)
    less = full + np.repeat(RNG.normal(size=(20, 1)) * 0.5, 10, axis=0)
    groups = np.repeat(np.arange(20), 10)

    alone, together = (lost.of_numbers(full, less, truth, g).interval for g in (None, groups))

    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_an_exact_model_that_stays_exact_loses_nothing() -> None:
    """No division by an error of zero."""
    truth = RNG.normal(size=(9, 1))

    assert lost.of_numbers(truth, truth, truth, None).loss == 0.0


def test_classes_are_judged_by_accuracy() -> None:
    """One of four answers turns wrong: 25 points."""
    full = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.4, 0.6]])
    less = np.array([[0.9, 0.1], [0.4, 0.6], [0.3, 0.7], [0.4, 0.6]])

    found = lost.of_classes(full, less, np.array([0, 0, 1, 1]), None)

    assert (found.metric, found.score, found.loss, found.same) == ("accuracy", 1.0, 0.25, 0.75)
