"""The answer of `finetune train` where what is learned is not one class."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records import tables
from finetune.records.analysis import Reason
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.choices import SCHEMA_VERSION, OtherLoss, OtherTarget, Strategy
from finetune.records.dataset import Finding
from finetune.records.decision import Plan
from finetune.records.robustness import TargetFall
from finetune.records.run import Stop
from finetune.records.start import StartFacts
from finetune.records.target import TargetFloor, TargetMetrics, TargetStage


@dataclass(frozen=True, kw_only=True)
class FarAnswer:
    """A test image whose answer is far from the truth; `loss` is the image's."""

    path: str
    truth: str
    answer: str
    loss: float


@dataclass(frozen=True, kw_only=True)
class TargetEvaluation:
    """The answer of `finetune evaluate` for a run of labels or numbers.

    `worst` are the images with the largest losses, `better_than_baseline` whether the model is
    better than one answer for all images, as `verdict` says in words. `robustness` is empty unless
    it was asked for.
    """

    run: str
    data: str
    target: OtherTarget
    names: tuple[str, ...]
    metrics: TargetMetrics
    findings: tuple[Finding, ...]
    worst: tuple[FarAnswer, ...] = ()
    better_than_baseline: bool | None = None
    verdict: str = ""
    robustness: tuple[TargetFall, ...] = ()
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """The answer of `finetune train` for labels and numbers; written as `result.json`.

    `estimate` is of held-out images before the test, `stages` the probes; `worst` the test images
    with the largest losses. `names` are those of the labels or numbers. `points` are truth and
    answer of test images, some hundreds at most, where numbers are learned: of the first.
    `backbone_choice` and `start` are as in `RunResult`.
    """

    run: str
    target: OtherTarget
    loss: OtherLoss
    strategy: Strategy
    requested_strategy: str
    names: tuple[str, ...]
    counts: dict[str, int]
    test: TargetMetrics | None
    estimate: TargetMetrics
    estimate_source: str
    stages: tuple[TargetStage, ...]
    reasons: tuple[Reason, ...]
    plan: Plan
    floor: TargetFloor | None
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    better_than_baseline: bool | None = None
    verdict: str = ""
    backbone: str = ""
    worst: tuple[FarAnswer, ...] = ()
    points: tuple[tuple[float, float], ...] = ()
    stopped: Stop | None = None
    failed: Stop | None = None
    backbone_choice: BackboneChoice | None = None
    start: StartFacts | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html
