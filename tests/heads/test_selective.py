"""Promises of answers with doubt: thresholds and sets keep what they say."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from finetune.heads import selective
from finetune.heads.selective import HeldOut
from finetune.metrics import classification
from finetune.records.unsure import MOST_ROWS

CLASSES = 5


def drawn(images: int, seed: int) -> HeldOut:
    """Images whose true label is drawn from the model's own probabilities: a calibrated model."""
    rng = np.random.default_rng(seed)
    likely = rng.dirichlet(np.full(CLASSES, 0.4), images)
    labels = (likely.cumsum(axis=1) < rng.random(images)[:, None]).sum(axis=1)
    return HeldOut(likely=likely, labels=np.minimum(labels, CLASSES - 1))


def test_the_first_row_is_all_images_as_they_are() -> None:
    """With everything answered the table has the accuracy and its Wilson interval."""
    held = drawn(300, 0)
    wrong = int((held.likely.argmax(axis=1) != held.labels).sum())

    first = selective.confidence_rows(held)[0]

    assert (first.min_confidence, first.answered) == (0.0, 1.0)
    assert first.error == pytest.approx(wrong / 300, abs=1e-6)
    assert first.interval == pytest.approx(classification.wilson(wrong, 300), abs=1e-6)


def test_fewer_answers_mean_fewer_wrong_ones() -> None:
    """From row to row threshold rises, answers, errors and their bound fall; rows stay few."""
    rows = selective.confidence_rows(drawn(5000, 1))

    assert 5 < len(rows) <= MOST_ROWS
    for one, two in pairwise(rows):
        assert two.min_confidence > one.min_confidence
        assert two.answered < one.answered
        assert two.error < one.error
        assert two.bound < one.bound


def test_a_row_counts_what_its_threshold_answers() -> None:
    """Each row has the share and the error of the images at or above its threshold, recounted."""
    held = drawn(400, 2)
    sure = held.likely.max(axis=1)
    wrong = held.likely.argmax(axis=1) != held.labels

    for row in selective.confidence_rows(held):
        some = sure >= row.min_confidence
        assert row.answered == pytest.approx(some.mean(), abs=1e-6)
        assert row.error == pytest.approx(wrong[some].mean(), abs=1e-6)
        assert row.bound == pytest.approx((wrong[some].sum() + 1) / (some.sum() + 1), abs=1e-6)


def test_few_images_vouch_for_no_small_error() -> None:
    """Ten right answers of ten bound the error by one in eleven, not by nothing."""
    held = HeldOut(likely=np.tile([0.9, 0.1], (10, 1)), labels=np.zeros(10, np.int64))

    (row,) = selective.confidence_rows(held)

    assert row.error == 0
    assert row.bound == pytest.approx(1 / 11, abs=1e-6)


def test_images_that_come_together_tell_less() -> None:
    """The interval of five groups of twenty is wider than that of a hundred images."""
    held = drawn(100, 3)
    groups = np.repeat(np.arange(5), 20)

    alone, together = (
        selective.confidence_rows(h)[0].interval for h in (held, replace(held, groups=groups))
    )

    assert together[1] - together[0] > alone[1] - alone[0]


def test_images_count_by_their_weights() -> None:
    """Where one image in ten stands for half of what comes, its error is half of the error."""
    likely = np.tile([0.9, 0.1], (10, 1))
    labels = np.array([1] + [0] * 9)
    weights = np.array([5.0] + [5 / 9] * 9)

    rows = selective.confidence_rows(HeldOut(likely=likely, labels=labels, weights=weights))

    assert rows[0].error == pytest.approx(0.5)


@pytest.mark.parametrize("images", [30, 300])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_sets_cover_new_images_as_often_as_they_say(images: int, coverage: float) -> None:
    """Over 200 draws the true label of new images is in the set as often as asked, no less."""
    found = []
    for seed in range(200):
        rows = selective.set_rows(drawn(images, seed))
        row = next(r for r in rows if r.coverage >= coverage)
        new = drawn(200, 10_000 + seed)
        found.append(np.mean(new.likely[np.arange(200), new.labels] >= row.min_probability))

    assert coverage - 0.01 < np.mean(found) < coverage + 1.5 / (images + 1) + 0.01


def test_more_than_images_can_vouch_for_is_in_no_row() -> None:
    """Nine images cover at most nine in ten of what is new."""
    assert selective.set_rows(drawn(9, 0))[-1].coverage == pytest.approx(0.9, abs=1e-6)


def test_rows_of_sets_stay_few_and_in_order() -> None:
    """Of thousands of images few rows are kept, the last images' among them; each asks for less."""
    rows = selective.set_rows(drawn(5000, 4))

    assert len(rows) <= MOST_ROWS
    assert rows[-1].coverage == pytest.approx(5000 / 5001, abs=1e-6)
    assert all(a.coverage < b.coverage for a, b in pairwise(rows))
    assert all(a.min_probability >= b.min_probability for a, b in pairwise(rows))
