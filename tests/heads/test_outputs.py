from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, f1_score, r2_score

from finetune.heads import aims, kernels, outputs, platt, ridge
from finetune.metrics import ranking
from finetune.training.objective import OutputsLoss

RNG = np.random.default_rng(0)


def made(count: int = 60, width: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features float32[N,D] and three numbers that they tell with some noise."""
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(count, width)).astype(np.float32)
    return rows, rows[:, :3] @ rng.normal(size=(3, 3)) + rng.normal(scale=0.3, size=(count, 3))


@pytest.mark.parametrize("groups", [(), tuple(f"g{i // 3}" for i in range(60))])
def test_left_out_numbers_are_those_of_fits_without_them(groups: tuple[str, ...]) -> None:
    """Ridge regression leaves an image, or a group, out exactly: refitting gives the same."""
    rows, values = made()
    truth, mean, deviation = outputs.standardised(values, len(values))
    aim = aims.NumbersAim(mean, deviation)
    kernel = kernels.stage_kernels(rows, {"top": (0, 12)})["top"]

    found = outputs.leave_out(("top", ("top",), 12), kernel, truth, aim, groups)

    names = groups or tuple(str(i) for i in range(60))
    x = rows - rows.mean(axis=0)
    x = x / np.sqrt(np.square(x).sum() / len(x))
    for name in dict.fromkeys(names):
        held = np.array([n == name for n in names])
        a, b = x[~held], truth[~held]
        inner = (a - a.mean(axis=0)).T @ (a - a.mean(axis=0)) + found.score.penalty * np.eye(12)
        w = np.linalg.solve(inner, (a - a.mean(axis=0)).T @ (b - b.mean(axis=0)))
        mine = (x[held] - a.mean(axis=0)) @ w + b.mean(axis=0)
        np.testing.assert_allclose(found.outputs[held], mine, atol=1e-4)


def test_the_fitted_head_answers_in_the_number_s_own_unit() -> None:
    """R² is scikit-learn's, and a head in units gives the numbers and not their deviations."""
    rows, values = made()
    values = 100 + 20 * values
    truth, mean, deviation = outputs.standardised(values, len(values))
    aim = aims.NumbersAim(mean, deviation)
    kernel = kernels.stage_kernels(rows, {"top": (0, 12)})["top"]
    found = outputs.leave_out(("top", ("top",), 12), kernel, truth, aim)

    head = aims.scaled_head(outputs.fit(ridge.Blocks(rows, ((0, 12),)), truth, found), aim.units)

    assert r2_score(values, ridge.score(head, rows)) > 0.9
    assert found.score.score == pytest.approx(r2_score(truth, found.outputs))


def test_probabilities_of_labels_are_platt_s() -> None:
    """Slope and intercept are those of a logistic regression on the smoothed truth."""
    scores = RNG.normal(size=(200, 2)) * (1, 5)
    truth = (scores / (1, 5) + RNG.normal(size=(200, 2)) > (0, 1)).astype(float)

    a, b = platt.fit(scores, truth)

    for k in range(2):
        on = truth[:, k].sum()
        share = np.where(truth[:, k] > 0, (on + 1) / (on + 2), 1 / (200 - on + 2))
        x = np.concatenate([scores[:, [k]]] * 2)
        y, weight = np.repeat([1, 0], 200), np.concatenate([share, 1 - share])
        known = LogisticRegression(C=1e6, tol=1e-10).fit(x, y, weight)
        assert (a[k], b[k]) == pytest.approx((known.coef_[0, 0], known.intercept_[0]), rel=1e-3)


def test_scores_that_rank_labels_upside_down_tell_nothing() -> None:
    """Where held-out scores are worse than chance every image gets the label's share."""
    truth = (RNG.random((100, 1)) > 0.7).astype(float)

    a, b = platt.fit(-truth + RNG.normal(scale=0.1, size=(100, 1)), truth)

    assert a[0] == 0
    assert platt.probabilities(b)[0] == pytest.approx(truth.mean(), abs=0.02)


def test_a_threshold_has_the_best_f1() -> None:
    """No other threshold has a better F1; a label of few images takes the common one."""
    likely = RNG.random((80, 2))
    truth = (likely + RNG.normal(scale=0.3, size=(80, 2)) > (0.6, 1.3)).astype(float)
    truth[:, 1] = 0
    truth[:3, 1] = 1

    first, second = platt.thresholds(likely, truth)

    best = max(f1_score(truth[:, 0], likely[:, 0] > t) for t in np.linspace(0, 1, 500))
    assert f1_score(truth[:, 0], likely[:, 0] >= first) == pytest.approx(best)
    common = platt._best_threshold(likely.ravel(), truth.ravel())
    assert second == common


def test_average_precision_is_scikit_learn_s() -> None:
    """Also with equal scores, and NaN for a label that no image has."""
    scores = np.round(RNG.random((50, 3)), 1)
    truth = (RNG.random((50, 3)) > 0.6).astype(float)
    truth[:, 2] = 0

    found = ranking.average_precisions(scores, truth)

    for k in range(2):
        assert found[k] == pytest.approx(average_precision_score(truth[:, k], scores[:, k]))
    assert np.isnan(found[2])


@pytest.mark.parametrize("loss", ["mse", "mae", "huber"])
def test_losses_of_numbers_are_torch_s(loss: str) -> None:
    """What probes are judged by is what tuning makes small."""
    one, two = RNG.normal(scale=2, size=(9, 2)), RNG.normal(size=(9, 2))
    aim = aims.NumbersAim(np.zeros(2), np.ones(2), loss)  # type: ignore[arg-type]

    mine = aim.losses(one, two).mean()

    assert mine == pytest.approx(float(OutputsLoss(aim)(torch.tensor(one), torch.tensor(two))))
    labels = (two > 0).astype(float)
    known = OutputsLoss(aims.LabelsAim())(torch.tensor(one), torch.tensor(labels))
    assert aims.LabelsAim().losses(one, labels).mean() == pytest.approx(float(known))
