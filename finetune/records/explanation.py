"""Why an image got its answer: the evidence in each place, and the box that holds most of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

# `cam`: adds up to the logit. `gradient`: gradient times activation. `attention`: gradient-weighted
# attention from layer to layer.
Method = Literal["cam", "gradient", "attention"]


@dataclass(frozen=True, kw_only=True)
class EvidenceBox:
    """The box whose share of the evidence exceeds its share of the area most.

    The edges are in pixels of the picture, turned as EXIF asks; `share` is of all evidence for the
    class, what speaks against it left out; `area` is of the part of the picture that the network
    sees.
    """

    left: int
    upper: int
    right: int
    lower: int
    share: float
    area: float


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """The evidence for a class in one image, or why the image cannot be read.

    `label` is the class explained, the image's `answer` unless another was asked for, and
    `probability` that of `label`. `map` has the evidence of each place of the square that the
    network sees, row by row; with the method `cam` the mean of all plus `bias` is `logit`, and the
    softmax of all classes' logits are the probabilities. `box` is None where nothing speaks for the
    class; `size` is the picture's width and height in pixels; `overlay` the file where it is drawn.
    """

    path: str
    answer: str | None = None
    label: str | None = None
    probability: float | None = None
    method: Method | None = None
    logit: float | None = None
    bias: float | None = None
    size: tuple[int, int] | None = None
    box: EvidenceBox | None = None
    map: tuple[tuple[float, ...], ...] = ()
    overlay: str | None = None
    error: str | None = None
