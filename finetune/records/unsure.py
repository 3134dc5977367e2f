"""What held-out images say of a model's doubt; kept with the run, read wherever it answers.

Rows are few, whatever the number of images: at most `MOST_ROWS` of a kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Standing = Literal["answered", "unsure", "unknown"]
MOST_ROWS = 200


@dataclass(frozen=True, kw_only=True)
class ConfidenceRow:
    """Held-out images where only answers of at least `min_confidence` are given; fractions of 1.

    `answered` is their share, `error` that of wrong ones among them with its 95 % `interval`;
    `bound` counts one more wrong answer than was seen: what `--target-error` goes by.
    """

    min_confidence: Share
    answered: Share
    error: Share
    interval: tuple[Share, Share]
    bound: Share


@dataclass(frozen=True, kw_only=True)
class SetRow:
    """Sets of all labels of at least `min_probability` hold the true one as often as `coverage`."""

    coverage: Share
    min_probability: Share


@dataclass(frozen=True, kw_only=True)
class DistanceRow:
    """So far from the training images, or farther, lies at most a share of held-out images."""

    refused: Share
    distance: float


@dataclass(frozen=True, kw_only=True)
class UnknownFacts:
    """How far from its training images a model still knows what it sees.

    Distances are by `heads.unknown` on columns `start` to `stop` of what the head reads; its arrays
    lie in `model.safetensors`. `rows` are from the rarest on.
    """

    start: Annotated[int, msgspec.Meta(ge=0)]
    stop: Annotated[int, msgspec.Meta(ge=1)]
    images: int
    rows: Annotated[tuple[DistanceRow, ...], msgspec.Meta(max_length=MOST_ROWS)]


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """What `--target-error`, `--coverage` and `--unknown` of a run go by.

    `images` held-out ones, `source` says how they were held out. Rows of `confidence` go from all
    answered to few, each with a smaller error than the one before; those of `sets` from small
    coverage to large. `unknown` is None where nothing was fitted: `why_not` says why.
    """

    images: int
    source: str
    confidence: Annotated[tuple[ConfidenceRow, ...], msgspec.Meta(max_length=MOST_ROWS)]
    sets: Annotated[tuple[SetRow, ...], msgspec.Meta(max_length=MOST_ROWS)]
    unknown: UnknownFacts | None = None
    why_not: str = ""
