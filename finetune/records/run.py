"""A run: its answer, and what is needed to rebuild and trust its model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import msgspec

from finetune.records import tables
from finetune.records.analysis import StageScore
from finetune.records.backbone import BackboneFacts, Preprocess
from finetune.records.backbone_choice import BackboneChoice
from finetune.records.choices import (
    MOST_CLASSES,
    MOST_SIDE_PX,
    SCHEMA_VERSION,
    OtherTarget,
    Strategy,
)
from finetune.records.dataset import Finding
from finetune.records.decision import Plan, Recommendation
from finetune.records.labels import LabelIssues
from finetune.records.metrics import Baseline, Metrics, WrongAnswer
from finetune.records.options import Request
from finetune.records.start import StartFacts
from finetune.records.target import TargetFacts
from finetune.records.unsure import Doubt


@dataclass(frozen=True)
class Stop:
    """Why a training ended before its time, or what went wrong after it, and what to do."""

    text: str
    hint: str
    exit_code: int


@dataclass(frozen=True, kw_only=True)
class BlendPart:
    """One of the two networks of a blend; the first is the tuned one, the second the probe's.

    `weight` is its share in the mean of logits, a fraction of 1; `temperature` that of its own
    logits before they are weighed. It reads the features `taps` of pictures of `side_px`.
    """

    strategy: Strategy
    weight: Annotated[float, msgspec.Meta(ge=0, le=1)]
    temperature: Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]
    taps: tuple[str, ...]
    side_px: Annotated[int, msgspec.Meta(ge=1, le=MOST_SIDE_PX)]


@dataclass(frozen=True)
class RunResult:
    """The answer of `finetune train`; written as `result.json`.

    `stopped` is None where the training came to its end. `errors` are the wrong answers on the test
    images, the most confident first (in `result.json` no more than it may hold).
    `better_than_commonest` is None in runs of older versions and where all images are of one class;
    `verdict` says it in words. `failed` is what went wrong after the training,
    where the model was kept nevertheless. `backbone` is the network's name, empty in runs of older
    versions; `backbone_choice` what it was chosen of, where the program was to choose. `parts` are
    the two networks of a blend, empty for one network. `labels` are those that look wrong among the
    images that are not test; None in runs of older versions, and with random weights.
    `start` is there where the training was to go on from a run.
    """

    run: str
    strategy: Strategy
    requested_strategy: str
    classes: tuple[str, ...]
    counts: dict[str, int]
    test: Metrics | None
    estimate: Metrics
    estimate_source: str
    stages: tuple[StageScore, ...]
    recommendation: Recommendation
    floor: Baseline | None
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    stopped: Stop | None = None
    failed: Stop | None = None
    errors: tuple[WrongAnswer, ...] = ()
    better_than_commonest: bool | None = None
    verdict: str = ""
    backbone: str = ""
    backbone_choice: BackboneChoice | None = None
    parts: tuple[BlendPart, ...] = ()
    labels: LabelIssues | None = None
    start: StartFacts | None = None
    schema_version: int = SCHEMA_VERSION

    _repr_html_ = tables.as_html


@dataclass(frozen=True)
class HeadFacts:
    """The linear classifier: which features it reads and the temperature of its softmax."""

    taps: tuple[str, ...]
    temperature: Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]


@dataclass(frozen=True, kw_only=True)
class SharesFacts:
    """For which shares of the classes a model's probabilities are, and how that was reached.

    `asked` is what `--prior` was; `trained` and `wanted` are the classes' shares among the images
    it learnt from and where it will be used; `shift` is what was added to each class's calibrated
    score: it stands in the bias of the head already. `metric` is what models were compared by.
    """

    asked: str
    metric: str
    trained: dict[str, float]
    wanted: dict[str, float]
    shift: dict[str, float]
    reason: str


@dataclass(frozen=True)
class RunFacts:
    """What is needed to rebuild and trust the model; written as `run.json`.

    `inference` has the SHA-256 of each file of the network ready to predict; empty without one.
    `request` is what to ask for again; runs of older versions have none. `backbone_choice` is what
    the backbone was chosen of, where none was named. `parts` are as in the result; the head of a
    blend reads both, and its logits are the weighted mean (docs/decisions/0015-blend.md).
    `shares` is there where the classes will be more or less frequent than they were in training.
    `doubt` is None in runs of older versions. `target` is None where one class is learned; else
    `classes` are the names of labels or numbers, and `accuracy` is None.
    """

    created: str
    strategy: Strategy
    classes: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=MOST_CLASSES)]
    backbone: BackboneFacts
    preprocess: Preprocess
    head: HeadFacts
    plan: Plan
    seed: int
    command: str
    data_root: str
    data_fingerprint: str
    versions: dict[str, str]
    accuracy: float | None
    accuracy_source: str
    inference: dict[str, str] = field(default_factory=dict)
    request: Request | None = None
    backbone_choice: BackboneChoice | None = None
    parts: tuple[BlendPart, ...] = ()
    shares: SharesFacts | None = None
    doubt: Doubt | None = None
    world_size: Annotated[int, msgspec.Meta(ge=1)] = 1
    target: TargetFacts | None = None
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class RunRow:
    """One line of `finetune runs`; `error` says why a folder could not be read.

    Of a run of labels or numbers (`target`) `score` is the mAP or the R², `classes` how many there
    are of them, and `accuracy` is None.
    """

    run: str
    created: str = ""
    strategy: str = ""
    backbone: str = ""
    classes: int = 0
    accuracy: float | None = None
    accuracy_source: str = ""
    error: str | None = None
    target: OtherTarget | None = None
    score: float | None = None
