"""Promises of a blend's arithmetic: what it computes, and when it hears one side alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.heads import blending, calibration, cross_validation, ridge
from finetune.heads.blending import INNER, WEIGHTS
from finetune.heads.ridge import Head


def answers(n: int, right: float, seed: int, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Logits that favour the label in so many of the images, and the labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    favoured = np.where(rng.random(n) < right, labels, rng.integers(classes, size=n))
    logits = rng.normal(size=(n, classes))
    logits[np.arange(n), favoured] += 3
    return logits, labels


def test_two_that_err_apart_are_better_together() -> None:
    """With errors that do not coincide both are heard, and the log loss is less than each one's."""
    first, labels = answers(400, 0.7, 1)
    second, _ = answers(400, 0.7, 2)

    found = blending.fit(first, second, labels)

    alone = [
        calibration.log_loss(z / calibration.fit_temperature(z, labels), labels)
        for z in (first, second)
    ]
    z = blending.mixed(first, second, found.weight, found.temperatures)
    assert 0.3 <= found.weight <= 0.7
    assert calibration.log_loss(z / found.temperature, labels) < min(alone) - 0.05


@pytest.mark.parametrize("better", [0, 1])
def test_one_that_is_far_better_answers_alone(better: int) -> None:
    """Beside one that is always right, one that guesses gets no weight, on either side."""
    sides = [answers(400, 0.0, 1)[0], answers(400, 0.0, 2)[0]]
    sides[better], labels = answers(400, 1.0, 3)

    assert blending.fit(*sides, labels).weight == (0.0 if better else 1.0)
    assert blending.fit(*sides, labels, INNER).weight == (INNER[0] if better else INNER[-1])


@given(seed=st.integers(0, 1000), weight=st.sampled_from(WEIGHTS))
def test_one_head_says_what_both_together_say(seed: int, weight: float) -> None:
    """The joined head on features side by side gives the weighted mean of the two, and one T."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(6, 7)).astype(np.float32)
    first, second = (Head(rng.normal(size=(3, width)), rng.normal(size=3), 1.0) for width in (4, 3))
    blend = blending.Blend(weight=weight, temperatures=(0.3, 2.5), temperature=0.7)

    joined = blending.joined(first, second, blend)

    z = blending.mixed(
        ridge.score(first, rows[:, :4]), ridge.score(second, rows[:, 4:]), weight, (0.3, 2.5)
    )
    assert ridge.score(joined, rows) == pytest.approx(z)
    assert joined.temperature == 0.7


def test_an_image_does_not_judge_a_weight_it_has_chosen() -> None:
    """Each part is judged by a blend that was fitted on the other; copies are on one side."""
    first, labels = answers(40, 0.6, 1)
    second, _ = answers(40, 0.6, 2)
    order = np.argsort(labels, kind="stable")  # so that neighbours are of one class
    first, second, labels = first[order], second[order], labels[order]
    groups = [str(i // 2) for i in range(40)]

    found = blending.cross_fitted(first, second, labels, groups)

    part = cross_validation.folds(labels, groups, 2)
    assert (part[::2] == part[1::2]).all()
    for own, other in ((0, 1), (1, 0)):
        inside, outside = (np.flatnonzero(part == n) for n in (own, other))
        blend = blending.fit(first[outside], second[outside], labels[outside])
        said = blending.probabilities(blend, first[inside], second[inside])
        assert np.array_equal(found[inside], said)
