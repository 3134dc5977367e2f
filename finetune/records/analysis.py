"""What was measured of a data set: size, similarity, and the probe of each stage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.records.choices import Similarity, Size, Verdict


@dataclass(frozen=True)
class StageScore:
    """Cross-validated score of a linear classifier on one set of features."""

    name: str
    taps: tuple[str, ...]
    dimensions: int
    accuracy: float
    log_loss: float
    penalty: float
    standard_error: float


@dataclass(frozen=True)
class Reason:
    """Why something was chosen; `rule` names the row of a table, `user`, or a measurement."""

    rule: str
    text: str


@dataclass(frozen=True)
class CurvePoint:
    """Cross-validated error of the probe when it learns from so many images, a fraction of 1."""

    images: int
    error: float


@dataclass(frozen=True)
class SizeProfile:
    """How much data there is, and whether more of it would help the probe.

    `limit` is `data` where the learning curve still falls and `representation` where it has come
    to rest above zero; None where there are too few images to tell.
    """

    verdict: Size
    images: int
    rarest_class: int
    classes: int
    curve: tuple[CurvePoint, ...]
    limit: Literal["data", "representation"] | None
    reason: Reason


@dataclass(frozen=True)
class Part:
    """One measurement of the distance from ImageNet, with the two thresholds it is held against.

    At `similar` or beyond, seen from `different`, the verdict is similar, and the other way round;
    between the two it is uncertain. Without `similar` it can only say different; without both it
    is shown, but has no vote. `value` is None where it could not be measured.
    """

    name: str
    value: float | None
    similar: float | None
    different: float | None
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class SimilarityProfile:
    """How near the data is to ImageNet.

    `column` is the column of the table; where the verdict is uncertain, the one the parts lean to.
    `drift` is the distance of BatchNorm's inputs from its stored statistics by stage, in stored
    standard deviations; `diversity` the spread of the images as a share of ImageNet's.
    """

    verdict: Verdict
    column: Similarity
    parts: tuple[Part, ...]
    drift: dict[str, float]
    diversity: float | None
    reason: Reason


@dataclass(frozen=True)
class Upright:
    """Whether up and down mean something in the images, and what was measured of it."""

    upright: bool
    reason: str


@dataclass(frozen=True)
class DatasetProfile:
    """What was measured of the data set."""

    size: SizeProfile
    similarity: SimilarityProfile
    median_side_px: int | None
    symbols: bool
    symbols_reason: str
