"""The box with most of the evidence; torch-free."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from finetune.pictures.whole_picture import Spot
from finetune.storage.arrays import Array

FINE = 28  # places on a side where a box may begin or end


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box: `spot` in shares of the square's side, what share of the evidence lies in it.

    `share` is of the positive evidence, `area` of the square.
    """

    spot: Spot
    share: float
    area: float


def smooth(places: Array, side: int) -> Array:
    """What speaks for the class, float64[side, side], between the places by straight lines."""
    positive = Image.fromarray(places.clip(min=0).astype(np.float32))
    return np.asarray(positive.resize((side, side), Image.Resampling.BILINEAR), np.float64)


def most(places: Array, inside: Spot) -> Box | None:
    """The box whose share of the evidence exceeds its share of the area most; None without any.

    It needs no threshold, unlike the box round all above a fifth of the maximum (Zhou et al. 2016).

    Args:
        places: float64[H,W].
        inside: The part of the square that is picture; evidence beside it counts nowhere.
    """
    found = smooth(places, FINE)
    edges = (np.arange(FINE) + 0.5) / FINE
    picture = ((edges >= inside[1]) & (edges <= inside[3]))[:, None] & (
        (edges >= inside[0]) & (edges <= inside[2])
    )
    found *= picture
    total = found.sum()
    if not total > 0:
        return None
    excess = np.where(picture, found / total - 1 / picture.sum(), -1.0)
    upper, lower, left, right = _largest(excess)
    rows, columns = slice(upper, lower), slice(left, right)
    return Box(
        spot=(left / FINE, upper / FINE, right / FINE, lower / FINE),
        share=float(found[rows, columns].sum() / total),
        area=float(picture[rows, columns].sum() / picture.sum()),
    )


def _largest(values: Array) -> tuple[int, int, int, int]:
    """Rows and columns (first, last but one) of the rectangle float64[H,W] with the largest sum."""
    above = np.pad(values, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    tops, bottoms = np.triu_indices(len(values), 1, len(above))
    sums = above[bottoms] - above[tops]  # of all columns before each, float64[pairs, W + 1]
    least = np.minimum.accumulate(sums[:, :-1], axis=1)
    pair, last = np.unravel_index((sums[:, 1:] - least).argmax(), least.shape)
    first = int(sums[pair, : last + 1].argmin())
    return int(tops[pair]), int(bottoms[pair]), first, int(last) + 1
