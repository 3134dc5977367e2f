"""Promises of what confidence is worth: bins, thresholds, the closest calls."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.metrics import classification, confidence

RNG = np.random.default_rng(0)
SURE = RNG.uniform(0.3, 1.0, 200)
CORRECT = RNG.uniform(size=200) < SURE


def test_bins_hold_equally_many_images_and_rise() -> None:
    """Ten bins of twenty images, the least confident first, each with its own rates."""
    bins = confidence.reliability(SURE, CORRECT)

    assert [b.images for b in bins] == [20] * 10
    assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)
    assert sum(b.accuracy for b in bins) / 10 == pytest.approx(CORRECT.mean())
    lowest = np.argsort(SURE)[:20]
    assert bins[0].accuracy == CORRECT[lowest].mean()
    assert bins[0].interval == classification.wilson(int(CORRECT[lowest].sum()), 20)


def test_few_images_have_few_bins_or_none() -> None:
    """At least five images a bin, and one bin says nothing of a course."""
    assert len(confidence.reliability(SURE[:12], CORRECT[:12])) == 2
    assert confidence.reliability(SURE[:9], CORRECT[:9]) == ()


def test_answers_are_left_out_from_the_least_confident_on() -> None:
    """All are answered first; each row counts exactly those at or above its threshold."""
    rows = confidence.answered(SURE, CORRECT)

    assert rows[0].share == 1.0
    assert rows[0].accuracy == CORRECT.mean()
    assert len(rows) <= confidence.THRESHOLDS
    for row in rows:
        kept = row.threshold <= SURE
        assert row.share == kept.mean()
        assert row.accuracy == CORRECT[kept].mean()
    assert rows[-1].share == confidence.FEWEST / 200


def test_equal_confidence_is_answered_together() -> None:
    """No threshold parts images that are equally confident."""
    (row,) = confidence.answered(np.full(8, 0.75), np.arange(8) < 6)

    assert (row.threshold, row.share, row.accuracy) == (0.75, 1.0, 0.75)


def test_the_closest_calls_come_first() -> None:
    """By the gap of the two likeliest classes, with both of them named; right or wrong."""
    likely = np.array([[0.9, 0.05, 0.05], [0.2, 0.42, 0.38], [0.1, 0.3, 0.6]])

    first, second = confidence.close_calls(likely, np.array([0, 2, 2]), "abc", "xyz", 2)

    assert (first.path, first.truth, first.answer, first.second) == ("b", "z", "y", "z")
    assert (first.probability, first.second_probability) == (0.42, 0.38)
    assert (second.path, second.truth, second.answer) == ("c", "z", "z")
    assert confidence.close_calls(np.ones((3, 1)), np.zeros(3, int), "abc", "x", 2) == ()


def test_the_surest_right_answers_take_turns() -> None:
    """One of each class before a second of any, no wrong one."""
    likely = np.array([[0.9, 0.1], [0.8, 0.2], [0.4, 0.6], [0.01, 0.99]])

    found = confidence.surest(likely, np.array([0, 0, 1, 0]), "abcd", "xy", 2)

    assert [(f.path, f.truth, f.probability) for f in found] == [("a", "x", 0.9), ("c", "y", 0.6)]
