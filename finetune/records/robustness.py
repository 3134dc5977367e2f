"""How accuracy falls when pictures are not as good as those of the test."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records.choices import Metric


@dataclass(frozen=True, kw_only=True)
class Fall:
    """The same images, changed in one way.

    `strength` is 1, 2 or 3, `what` says what that is; `lost` is the accuracy lost against the
    unchanged images, a fraction of 1, and `error` its standard error (paired).
    """

    kind: str
    strength: int
    what: str
    images: int
    accuracy: float
    lost: float
    error: float


@dataclass(frozen=True, kw_only=True)
class TargetFall:
    """The same images with labels or a number, changed in one way that changes none of these.

    `strength` and `what` are as in `Fall`. `score` is the mAP of labels; of numbers the MAE in
    their own unit, a mean over several. `lost` is by how much it is worse than of the unchanged
    images, `error` its standard error (paired).
    """

    kind: str
    strength: int
    what: str
    images: int
    metric: Metric
    score: float
    lost: float
    error: float
