"""The answers of the commands other than `train`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from finetune.records import tables
from finetune.records.analysis import DatasetProfile, StageScore
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.choices import SCHEMA_VERSION, Format, Metric, OtherTarget, Strategy
from finetune.records.dataset import Check, Finding, Target
from finetune.records.decision import Recommendation
from finetune.records.figures import figure
from finetune.records.labels import LabelIssues
from finetune.records.metrics import Metrics, WrongAnswer
from finetune.records.robustness import Fall
from finetune.records.target import TargetMetrics, TargetStage
from finetune.records.unsure import Selected, Standing


@dataclass(frozen=True)
class CacheUsage:
    """What lies in the cache: images with features, converted networks, and their bytes.

    `parts` are the files of `finetune features`, which no limit holds and nothing but emptying the
    cache removes.
    """

    folder: str | None
    limit_bytes: int
    images: int = 0
    feature_bytes: int = 0
    models: int = 0
    model_bytes: int = 0
    parts: int = 0
    part_bytes: int = 0


@dataclass(frozen=True)
class ClassProbability:
    """One row of a prediction."""

    label: str
    probability: float


@dataclass(frozen=True, kw_only=True)
class LabelAnswer:
    """What a run of several labels says of one of them; `on`: its threshold is reached."""

    label: str
    probability: float
    on: bool


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: a label with its probability, or an error.

    Of a run of several labels `labels` has them all, in the run's order; of one of a number `value`
    is that, and nine of ten held-out answers were within ± `within` of the truth; `values` are the
    numbers by name where there are several. `label` and `probability` are None there.

    `standing` says whether it is to be relied on, as far as was asked; `known` is the largest share
    of held-out images that may lie as far from the training images, None where the run cannot tell;
    `set` are the labels of which one is the true one as often as `--coverage` says.
    """

    path: str
    label: str | None = None
    probability: float | None = None
    top: tuple[ClassProbability, ...] = field(default=())
    error: str | None = None
    standing: Standing | None = None
    known: float | None = None
    set: tuple[str, ...] | None = None
    labels: tuple[LabelAnswer, ...] | None = None
    value: float | None = None
    within: float | None = None
    values: dict[str, float] | None = None

    @property
    def told(self) -> str:
        """The answer in a word: the label, those that are on, or the number."""
        if self.labels is not None:
            return ", ".join(row.label for row in self.labels if row.on) or "none"
        if self.values is not None:
            return ", ".join(f"{name} {figure(value)}" for name, value in self.values.items())
        return self.label or "" if self.value is None else figure(self.value)


@dataclass(frozen=True)
class Expectation:
    """Cross-validated accuracy of a probe with its 95 % Wilson interval.

    Of labels and numbers `measured` has their own metrics, and there is no accuracy.
    """

    strategy: Strategy
    accuracy: float | None
    interval: tuple[float, float] | None
    images: int
    measured: TargetMetrics | None = None


@dataclass(frozen=True)
class Advice:
    """The answer of `finetune recommend DIR`.

    `looked_at` counts the images that were read: with many, a stratified sample of them. Where
    labels or numbers are learned, `target` says which, `target_stages` are the probes, and there
    are no `stages`.
    """

    recommendation: Recommendation
    profile: DatasetProfile
    stages: tuple[StageScore, ...]
    expected: tuple[Expectation, ...]
    looked_at: int
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    backbone: str = ""
    backbone_choice: BackboneChoice | None = None
    target: OtherTarget | None = None
    target_stages: tuple[TargetStage, ...] = ()

    _repr_html_ = tables.as_html


@dataclass(frozen=True)
class Contender:
    """One strategy in a comparison; differences are to the table's choice, fractions of 1.

    `low` and `high` bound the difference with 95 % confidence, on the same test images; it is one
    of the comparison's metric, whose value is `score`, and more is better, also of a log loss. One
    that did not fit the budget, or failed, has no figures but the reason in `untried`; there are no
    differences where that is the table's choice. `behind` says by how much the best is better on
    these images, `noise` is the standard error of that, and `tied` whether 95 % of it is no more
    than noise, as of the best itself.

    Of labels and numbers `measured` has all metrics, and there is no accuracy. Errors of one number
    are compared in its own unit, of several in standard deviations.
    """

    strategy: Strategy
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    log_loss: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    seconds: float | None = None
    untried: str | None = None
    score: float | None = None
    behind: float | None = None
    noise: float | None = None
    tied: bool | None = None
    measured: TargetMetrics | None = None


@dataclass(frozen=True)
class Comparison:
    """The answer of `finetune compare`: every strategy trained and tested on one split.

    `chosen` is what `train` would return; `target` is None where one class is learned.
    """

    data: str
    rule: str
    table: Strategy
    chosen: Strategy
    best: Strategy
    contenders: tuple[Contender, ...]
    profile: DatasetProfile
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    verdict: str
    seconds: dict[str, float]
    metric: Metric = "accuracy"
    target: OtherTarget | None = None
    backbone: str = ""
    backbone_choice: BackboneChoice | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True)
class Health:
    """The answer of `finetune check`: every check of a data set, and the split it would get.

    `labels` are those that look wrong; None unless they were asked for. `target` is None where one
    class is learned; else `classes` are empty.
    """

    data: str
    classes: tuple[str, ...]
    layout: Literal["plain", "ready"]
    counts: dict[str, int]
    checks: tuple[Check, ...]
    seconds: float
    labels: LabelIssues | None = None
    target: Target | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True)
class Evaluation:
    """The answer of `finetune evaluate`; `errors`: wrong answers, the most confident first.

    `robustness` is empty unless it was asked for. `selected` is what doubt does to these images,
    None where nothing was asked for and the run cannot tell unknown pictures.
    """

    run: str
    data: str
    metrics: Metrics
    findings: tuple[Finding, ...]
    errors: tuple[WrongAnswer, ...] = ()
    better_than_commonest: bool | None = None
    verdict: str = ""
    robustness: tuple[Fall, ...] = ()
    selected: Selected | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True, kw_only=True)
class Int8:
    """What layers of 8 bits cost, measured on images whose truth is known.

    `loss` is a fraction of 1 in `metric`: of accuracy, or of mAP for several labels, fp32 less
    int8; for numbers by what share RMSE rises. `interval` is its paired 95 % interval, `max_loss`
    the most that was allowed. Of `images` (`source` says which) `fp32_score` is predict's in that
    metric, `fp32_accuracy` the same for classes alone, `same_labels` the share that both answer
    alike. `calibrated` pictures gave the ranges of values. `bytes` and `ms` are of
    the model on the disk and of one picture of the network's own size, beside those of fp32 in the
    same process.
    """

    loss: float
    interval: tuple[float, float]
    max_loss: float
    images: int
    source: str
    fp32_accuracy: float | None
    same_labels: float
    calibrated: int
    bytes: int
    fp32_bytes: int
    ms: float
    fp32_ms: float
    metric: Literal["accuracy", "map", "rmse"] = "accuracy"
    fp32_score: float | None = None


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The answer of `finetune export`: what was written, and how it compares with `predict`.

    `files` has their bytes by name. `checked` pictures went through both, from the files' bytes;
    `labels_equal` leaves out `ties`, pictures whose two likeliest classes are nearer to each other
    than `allowed_difference`, the most that any probability may differ; of several labels those
    near a threshold, and of numbers differences are in standard deviations of what was learned.
    `worst` is the file with
    the largest difference; `pictures` says where they are from. With `int8` these are told and not
    judged (`allowed_difference` is 1): the same export in fp32 has passed, and the loss is judged.
    """

    path: str
    format: Format
    run: str
    files: dict[str, int]
    checked: int
    labels_equal: bool
    ties: int
    max_difference: float
    allowed_difference: float
    worst: str
    pictures: str
    int8: Int8 | None = None
    target: OtherTarget | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True, kw_only=True)
class Reported:
    """The answer of `finetune report`: the page that was made, its bytes and pictures."""

    path: str
    run: str
    bytes: int
    pictures: int
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html
