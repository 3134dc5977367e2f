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


@dataclass(frozen=True, kw_only=True)
class DoubtOptions:
    """When a model is to say less than one label; None: not asked for.

    `min_confidence` and `coverage` are probabilities, `target_error` the share of answers that may
    be wrong, `unknown` that of known pictures that may be taken for unknown ones, 0 for none.
    """

    min_confidence: float | None = None
    target_error: float | None = None
    coverage: float | None = None
    unknown: float | None = None


NO_DOUBT = DoubtOptions()


@dataclass(frozen=True, kw_only=True)
class Selected:
    """What doubt does to labelled images; fractions of 1, intervals of 95 %.

    Of all images `answered`, `unsure` and `unknown` are the shares; `accuracy` is that of the
    answered, None where none is. `covered` is how often the set holds the true label, `set_size`
    the mean number of labels in it, both None where no sets were asked for. `reasons` say in words
    what was asked for and by which figures of held-out images it was carried out.
    """

    min_confidence: Share
    answered: Share
    unsure: Share
    unknown: Share
    accuracy: Share | None
    interval: tuple[Share, Share] | None
    covered: Share | None = None
    covered_interval: tuple[Share, Share] | None = None
    set_size: float | None = None
    reasons: tuple[str, ...] = ()
