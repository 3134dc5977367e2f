"""How much data there is: images, the rarest class, and the learning curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from finetune.analysis.similarity import Labels
from finetune.records.analysis import CurvePoint, Reason, SizeProfile
from finetune.records.choices import Size

# Fewer images are few and more are many whatever they show; between, the learning curve decides.
# VTAB at 1,000 images and Kornblith et al. 2019 from 2,000 on bracket where tuning's lead over
# probes becomes the rule. Ten of the rarest class is where one-in-ten errors begin to be visible.
SMALL_BELOW = 1000
LARGE_FROM = 5000
LARGE_RAREST = 10
# The learning curve is fitted as error = a + b / sqrt(images): where the part that more images
# would not remove is at least half of the error, the features limit it.
REPRESENTATION_SHARE = 0.5
CURVE_PER_CLASS = 6  # on average, so that a quarter of the images has one or two of each


def measure_size(counts: Labels, curve: Sequence[tuple[int, float]] = ()) -> SizeProfile:
    """Small or large, by the number of images, of those of the rarest class, and the curve.

    Args:
        counts: Images of each class, int64[C].
        curve: (images, error of the probe) in rising order, from `cross_validation.learning_curve`.
    """
    rarest, images = int(counts.min()), int(counts.sum())
    limit = _limit(curve, images)
    many = images >= LARGE_FROM or (images >= SMALL_BELOW and limit == "representation")
    verdict: Size = "large" if many and rarest >= LARGE_RAREST else "small"
    text = (
        f"{verdict.capitalize()}: {images} training images, {rarest} of the rarest class (small "
        f"below {SMALL_BELOW} images or {LARGE_RAREST} of a class, large from {LARGE_FROM} images; "
        "between, large where the features and not the images limit the probe)"
    )
    if limit is None and SMALL_BELOW <= images < LARGE_FROM:
        text += ". Too few of a class, or no error, for a learning curve: counted as small"
    if limit is not None:
        errors = ", ".join(f"{100 * error:.1f} % with {n} images" for n, error in curve)
        text += (
            ". More images would help the probe most"
            if limit == "data"
            else ". More images would hardly help the probe, other features would"
        ) + f": its error is {errors}"
    points = tuple(CurvePoint(n, error) for n, error in curve)
    return SizeProfile(verdict, images, rarest, len(counts), points, limit, Reason("size", text))


def _limit(
    curve: Sequence[tuple[int, float]], images: int
) -> Literal["data", "representation"] | None:
    """What keeps the probe's error up; None where there is no curve or no error.

    The curve may end before all `images`: their error follows from its law, rest + slope / sqrt(n).
    """
    if len(curve) < 3 or curve[-1][1] == 0:
        return None
    roots = np.array([1 / np.sqrt(n) for n, _ in curve])
    errors = np.array([error for _, error in curve])
    slope, rest = np.polyfit(roots, errors, 1)
    if slope <= 0:
        return "representation"
    whole = rest + slope / np.sqrt(max(images, curve[-1][0]))
    return "representation" if rest >= REPRESENTATION_SHARE * whole else "data"
