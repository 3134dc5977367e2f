"""Promises of comparisons of two models on the same images."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.metrics import paired


def test_an_interval_of_no_difference_has_a_width() -> None:
    """No image of 400 differs: up to half a point may still be lost; many that differ tell more."""
    none, some = np.zeros(400), np.repeat([1.0, -1.0, 0.0], [20, 8, 372])

    assert paired.interval(none) == pytest.approx((0.0, -0.0049, 0.0049), abs=1e-4)
    mean, low, high = paired.interval(some)

    assert mean == pytest.approx(0.03)
    assert (low, high) == pytest.approx((0.0043, 0.0557), abs=5e-4)
    grouped = paired.interval(some, np.arange(400) // 4)
    assert grouped[1] < low < high < grouped[2]
