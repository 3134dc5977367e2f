"""What is learned where it is not one class: several labels at once, or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from finetune.records.choices import MOST_CLASSES, OtherLoss, OtherTarget


@dataclass(frozen=True, kw_only=True)
class LabelScore:
    """How well one label was found; None where it is undefined, as without an image that has it.

    `n` images have the label; precision, recall and F1 are at `threshold`, a probability.
    """

    name: str
    n: int
    average_precision: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    threshold: float


@dataclass(frozen=True, kw_only=True)
class NumberScore:
    """How well one number was met, in its own unit; `r2` is None where all images have the same.

    `mean` and `deviation` are those of the true values; `baseline_mae` is the error of always
    answering the mean of the training images.
    """

    name: str
    r2: float | None
    mae: float
    rmse: float
    mean: float
    deviation: float
    baseline_mae: float


@dataclass(frozen=True, kw_only=True)
class TargetMetrics:
    """What was measured on a set of images; the fields of the other target are None.

    Intervals are 95 % bootstrap intervals over images, or over the groups they come in. Of labels,
    `map` is the mean over labels of the average precision, `exact` the share of images all of whose
    labels are right, `log_loss` the binary cross-entropy of a label in nats, `baseline` what `map`
    is where every image gets the same answer. Of numbers, means are over the numbers; `baseline` is
    the MAE of always answering the mean of the training images.
    """

    n: int
    baseline: float
    map: float | None = None
    map_interval: tuple[float, float] | None = None
    micro_f1: float | None = None
    macro_f1: float | None = None
    exact: float | None = None
    log_loss: float | None = None
    per_label: tuple[LabelScore, ...] = ()
    r2: float | None = None
    r2_interval: tuple[float, float] | None = None
    mae: float | None = None
    mae_interval: tuple[float, float] | None = None
    rmse: float | None = None
    rmse_interval: tuple[float, float] | None = None
    per_number: tuple[NumberScore, ...] = ()
    groups: int | None = None


@dataclass(frozen=True, kw_only=True)
class TargetStage:
    """A linear probe on some stages, each image left out.

    `score` is the mAP of labels, the R² of numbers; `loss` the mean loss of an image.
    """

    name: str
    taps: tuple[str, ...]
    dimensions: int
    score: float
    loss: float
    penalty: float


@dataclass(frozen=True, kw_only=True)
class TargetFloor:
    """The tuned model against the best probe on the same held-out images.

    Losses are means over images; `difference` is the tuned model's less the probe's, `noise` its
    standard error.
    """

    kept: Literal["tuned", "probe"]
    n: int
    tuned_score: float
    probe_score: float
    difference: float
    noise: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class TargetFacts:
    """What `run.json` says of a target that is not one class; its `classes` are the names.

    Outputs of the head are logits of labels, or numbers in their own unit. `thresholds` are the
    probabilities from which labels are on; `within` is, for each number, how far nine of ten
    held-out answers were from the truth at most.
    """

    kind: OtherTarget
    loss: OtherLoss
    thresholds: Annotated[tuple[float, ...], msgspec.Meta(max_length=MOST_CLASSES)] = ()
    within: Annotated[tuple[float, ...], msgspec.Meta(max_length=MOST_CLASSES)] = ()
