"""Promises of what more images are expected to give."""

from __future__ import annotations

import pytest

from finetune.analysis import more_images


def law(n: int) -> float:
    """An error that falls to a twentieth."""
    return 0.05 + 2 / n**0.5


def test_a_curve_goes_on_by_its_law() -> None:
    """An exact curve is continued exactly, and the interval has it inside."""
    twice, four = more_images.expected([(n, law(n)) for n in (100, 200, 400)], 400)

    assert (twice.images, four.images) == (800, 1600)
    assert twice.error == pytest.approx(law(800))
    assert four.error == pytest.approx(law(1600))
    assert twice.low < twice.error < twice.high
    assert four.low < four.error < four.high


def test_it_counts_from_all_images_where_the_curve_ends_before() -> None:
    """Very many images have a curve of some; twice as many are twice all of them."""
    twice, _ = more_images.expected([(n, law(n)) for n in (200, 400, 800)], 5000)

    assert twice.images == 10_000
    assert twice.error == pytest.approx(law(10_000))


def test_more_images_are_not_expected_to_harm() -> None:
    """A curve that rises by chance stays where it ends; no error stays none."""
    rising = more_images.expected([(50, 0.1), (100, 0.12), (200, 0.14)], 200)
    none = more_images.expected([(50, 0.0), (100, 0.0), (200, 0.0)], 200)

    assert [e.error for e in rising] == pytest.approx([0.14, 0.14])
    assert [e.error for e in none] == [0.0, 0.0]
    assert all(0 < e.high < 0.02 for e in none)


def test_a_steep_curve_is_not_expected_to_end_at_nothing() -> None:
    """One that falls faster than its law loses with four times the images no more than half."""
    twice, four = more_images.expected([(48, 0.3), (96, 0.15), (192, 0.08)], 192)

    assert twice.error == pytest.approx(0.08 / 2**0.5)
    assert four.error == pytest.approx(0.04)


def test_two_points_are_no_curve() -> None:
    """Nothing is expected of fewer than three points."""
    assert more_images.expected([(50, 0.2), (100, 0.1)], 100) == ()
