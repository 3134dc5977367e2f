"""Every record that crosses a module boundary: frozen, JSON out and in, no logic.

Decoding is strict (msgspec): a missing key, an unknown type or a value out of place raises
`msgspec.ValidationError` naming the place, which `runs` turns into a `RunError`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Protocol, TypeVar

import msgspec

SCHEMA_VERSION = 1
# Limits on what is read from a run, which may be a stranger's: a confusion matrix has the square of
# the classes, a batch of images the square of the side.
MOST_CLASSES = 10_000
MOST_SIDE_PX = 2048

Strategy = Literal["linear-probe", "stage-probe", "partial", "deep", "scratch"]
Size = Literal["small", "large"]
Similarity = Literal["similar", "different"]
Verdict = Literal["similar", "different", "uncertain"]
Policy = Literal["measured", "table"]
DecidedBy = Literal["measured", "table", "undecided"]
Severity = Literal["note", "warning", "error"]
Status = Literal["passed", "note", "warning", "error", "not-applicable"]
NearCopies = Literal["together", "ignore"]

T = TypeVar("T")


class Listener(Protocol):
    """What the outside hears of a run."""

    def step(self, name: str) -> None:
        """A step of the story begins."""

    def progress(self, done: int, total: int) -> None:
        """How far the current step is."""

    def epoch(self, record: EpochRecord) -> None:
        """An epoch has ended."""

    def note(self, text: str) -> None:
        """Something a person should know."""


def to_builtins(record: object) -> Any:
    """Turn a record into JSON-ready dictionaries and lists."""
    return msgspec.to_builtins(record)


def to_json(record: object) -> str:
    """One line of JSON."""
    return msgspec.json.encode(record).decode()


def from_json(text: str | bytes, kind: type[T]) -> T:
    """Read a record back; raises `msgspec.MsgspecError` when it does not fit."""
    try:
        return msgspec.json.decode(text, type=kind)
    except RecursionError as error:
        raise msgspec.DecodeError("JSON is nested too deeply") from error


@dataclass(frozen=True)
class Sample:
    """One labelled image; `path` is relative to the data set's root, with forward slashes.

    Images of one `group` stay on one side of a split; without one, an image stays with its exact
    copies.
    """

    path: str
    label: Annotated[int, msgspec.Meta(ge=0)]
    digest: str
    group: str = ""

    @property
    def unit(self) -> str:
        """What is never divided: equal units are on the same side of every split."""
        return self.group or self.digest


@dataclass(frozen=True)
class Finding:
    """Something noticed about the data: a stable code, what it is, what to do."""

    code: str
    severity: Severity
    title: str
    hint: str
    paths: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """One check of a data set and what came of it; passed and not applicable ones are records too.

    `text` says what was found with its numbers, or why the check does not apply; `details` has a
    remark for each of `paths`, or is empty.
    """

    code: str
    title: str
    status: Status
    text: str
    hint: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    paths: tuple[str, ...] = ()
    details: tuple[str, ...] = ()

    @property
    def alarming(self) -> bool:
        """Does `--strict` stop here?"""
        return self.status in ("warning", "error")


@dataclass(frozen=True)
class Dataset:
    """A checked folder of images: what `scan.scan` found, nothing decoded yet.

    In a `ready` layout the samples of `test` have empty digests: their bytes are not read before
    the end.
    """

    root: str
    classes: tuple[str, ...]
    layout: Literal["plain", "ready"]
    pool: tuple[Sample, ...]
    val: tuple[Sample, ...] | None
    test: tuple[Sample, ...] | None
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Splits:
    """Disjoint lists of samples; `val` is kept from tuning, `test` from everything."""

    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    test: tuple[Sample, ...]

    @property
    def fitting(self) -> tuple[Sample, ...]:
        """Every image that is not test: what probes are fitted on."""
        return self.train + self.val


@dataclass(frozen=True)
class Scale:
    """Which values are black and white in pictures of more than 8 bits, of one kind.

    Decided once, from `images` of the training images, and used for every picture from then on.
    """

    kind: Literal["16-bit", "32-bit", "float"]
    black: float
    white: float
    images: int
    reason: str


@dataclass(frozen=True)
class Preprocess:
    """How an image becomes the backbone's input; belongs to the weights, and `scales` to the run.

    `scales` has one for each kind of picture of more than 8 bits that was trained on. None in runs
    of older versions, which scale each picture by its own values.
    """

    side_px: Annotated[int, msgspec.Meta(ge=1, le=MOST_SIDE_PX)]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    scales: tuple[Scale, ...] | None = None


@dataclass(frozen=True)
class BackboneFacts:
    """What is known of a backbone and where its weights came from."""

    name: str
    weights: str
    licence: str
    preprocess: Preprocess
    stages: tuple[str, ...]
    parameters: int
    batchnorm: bool
    digest: str


@dataclass(frozen=True)
class Origin:
    """A run whose backbone a training starts from: its file of tensors and what they are."""

    file: str
    backbone: str
    weights: str
    licence: str


@dataclass(frozen=True)
class NormLayer:
    """A BatchNorm layer: its stage, and its columns in a row of channel means."""

    stage: str
    start: int
    stop: int


@dataclass(frozen=True)
class PreparedFacts:
    """A backbone made ready to run without torch, as the cache keeps it.

    `layout` says which columns of a row of features belong to which stage; `probed_top` which of
    them the probe on top features reads; `layers` where the channel means of each BatchNorm layer
    stand; `knows` what the classes of its ImageNet classifier are, empty without one; `reason` why
    the runtime was taken.
    """

    backbone: BackboneFacts
    layout: dict[str, tuple[int, int]]
    probed_top: str
    one_size: bool
    knows: tuple[str, ...]
    layers: tuple[NormLayer, ...]
    reason: str


@dataclass(frozen=True)
class CacheUsage:
    """What lies in the cache: images with features, converted networks, and their bytes."""

    folder: str | None
    limit_bytes: int
    images: int = 0
    feature_bytes: int = 0
    models: int = 0
    model_bytes: int = 0


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
class DatasetProfile:
    """What was measured of the data set."""

    size: SizeProfile
    similarity: SimilarityProfile
    median_side_px: int | None
    symbols: bool
    symbols_reason: str


@dataclass(frozen=True)
class Augment:
    """Random changes to a training image; zero (or `crop=1`) switches one off.

    `crop` is the smallest area kept; `rotation_deg`, `translation` (share of the side) and
    `stretch` (log of the aspect ratio) are the largest changes either way; `flip` is a
    probability; `colour` the largest relative change of brightness, contrast and saturation.
    """

    crop: float
    flip: float
    rotation_deg: float
    translation: float
    stretch: float
    colour: float


@dataclass(frozen=True)
class Plan:
    """Every hyper-parameter resolved; `why` says for each whether a rule or the user set it.

    `lr` is the rate of the last tuned stage, `head_lr` of the head, per step; `stage_decay`
    multiplies the rate once per stage toward the stem.
    """

    strategy: Strategy
    taps: tuple[str, ...]
    tuned_stages: tuple[str, ...]
    side_px: int
    epochs: int
    batch_size: int
    optimiser: str
    lr: float
    head_lr: float
    stage_decay: float
    weight_decay: float
    warmup: float
    patience: int
    label_smoothing: float
    dropout: float
    class_weights: bool
    augment: Augment
    why: dict[str, str]


@dataclass(frozen=True)
class TrialResult:
    """A short tuning against the best probe: both learnt from the same images, judged on others.

    `gain` is the tuned model's lead in accuracy, a fraction of 1, `noise` its standard error.
    """

    strategy: Strategy
    learnt_from: int
    judged_on: int
    side_px: int
    epochs: int
    gain: float
    noise: float
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """Seconds a strategy will take from here to its test, and whether that is in the budget."""

    strategy: Strategy
    side_px: int
    seconds: float
    fits: bool
    text: str


@dataclass(frozen=True)
class Lead:
    """What is believed of tuning's lead in accuracy over the best probe, after all evidence.

    `prior` is what to expect of such data before any trial (mean and spread), `mean` and `spread`
    the same with the trials counted in; fractions of 1. `allowed` is how far short trials may be
    behind the probe: what they fall short of the real thing, and how far their word may be off;
    `behind` says that they were farther behind.
    """

    prior: float
    prior_spread: float
    mean: float
    spread: float
    allowed: float = 0.0
    behind: bool = False


@dataclass(frozen=True)
class Recommendation:
    """A strategy with its reasons, what would flip it, and the plan it leads to.

    `table` is what the classic table says in cell `rule`, whatever was chosen.
    """

    strategy: Strategy
    policy: DecidedBy
    rule: str
    table: Strategy
    size: Size
    similarity: Similarity
    reasons: tuple[Reason, ...]
    flips: tuple[str, ...]
    warning: str | None
    plan: Plan
    lead: Lead | None = None
    trials: tuple[TrialResult, ...] = ()
    forecasts: tuple[Forecast, ...] = ()


@dataclass(frozen=True)
class EpochRecord:
    """One line of `history.jsonl`; without validation images there is nothing to be best by."""

    epoch: int
    train_loss: float
    val_loss: float | None
    val_accuracy: float | None
    lr: float
    seconds: float
    best: bool


@dataclass(frozen=True)
class ClassMetrics:
    """Precision and recall of one class; `None` where it is undefined (nothing to divide by)."""

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Metrics:
    """What was measured on a set of labelled images; rates are fractions of 1.

    `interval` is the 95 % Wilson interval of the accuracy. Rows of `confusion` are true classes;
    with very many classes it is empty, and `cells` has what is not zero in it as (true class,
    answer, images): `mistakes.cells` reads either.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    macro_f1: float
    log_loss: float
    calibration_error: float
    majority_baseline: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    cells: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True)
class WrongAnswer:
    """An image whose answer is not its label; `probability` is that of the answer."""

    path: str
    truth: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Standing:
    """Whether a model is better than always answering the commonest class, and how that shows.

    `better` is None where there is nothing to compare: all images are of one class.
    """

    better: bool | None
    text: str
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class Floor:
    """The tuned model against the best probe on the validation images."""

    kept: Literal["tuned", "probe"]
    n: int
    tuned_accuracy: float
    probe_accuracy: float
    tuned_log_loss: float
    probe_log_loss: float
    reason: str


@dataclass(frozen=True)
class Stop:
    """Why a training ended before its time, or what went wrong after it, and what to do."""

    text: str
    hint: str
    exit_code: int


@dataclass(frozen=True)
class RunResult:
    """The answer of `finetune train`; written as `result.json`.

    `stopped` is None where the training came to its end. `errors` are the wrong answers on the test
    images, the surest first (in `result.json` no more than it may hold). `better_than_commonest`
    is None in runs of older versions and where all images are of one class; `verdict` says it in
    words. `failed` is
    what went wrong after the training, where the model was kept nevertheless.
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
    floor: Floor | None
    findings: tuple[Finding, ...]
    seconds: dict[str, float]
    stopped: Stop | None = None
    failed: Stop | None = None
    errors: tuple[WrongAnswer, ...] = ()
    better_than_commonest: bool | None = None
    verdict: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class HeadFacts:
    """The linear classifier: which features it reads and the temperature of its softmax."""

    taps: tuple[str, ...]
    temperature: Annotated[float, msgspec.Meta(ge=1e-6, le=1e6)]


@dataclass(frozen=True)
class Request:
    """What the user asked of `train` and `recommend`; `options` override fields of the plan.

    `resume` asks to go on with a training that was killed or interrupted; `label_from` is the
    expression that finds labels in the names of files, None where folders have them.
    """

    root: str
    out: str | None = None
    strategy: str = "auto"
    policy: Policy = "measured"
    budget_s: float | None = None
    size: Size | None = None
    similarity: Similarity | None = None
    backbone: str = "tf_efficientnet_lite0"
    weights: str | None = None
    seed: int = 0
    device: str = "auto"
    val_fraction: float = 0.2
    test_fraction: float = 0.2
    max_per_class: int | None = None
    on_bad_image: Literal["skip", "error"] = "skip"
    group: str | None = None
    label_from: str | None = None
    near_copies: NearCopies = "together"
    strict: bool = False
    options: dict[str, Any] = field(default_factory=dict)
    command: str = "finetune train"
    resume: bool = False


@dataclass(frozen=True)
class Begun:
    """What a training that is under way set out to do; kept beside the place of its run.

    `images` and `backbone` are digests, empty until they are known; `forecasts` what its decision
    rests on; `run` the place of a run that was written, or is about to be.
    """

    request: Request
    images: str = ""
    backbone: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    forecasts: tuple[Forecast, ...] | None = None
    run: str | None = None


@dataclass(frozen=True)
class FitProgress:
    """What is known at the end of an epoch beside the tensors.

    `best_loss` is None before anything was validated; `parts` says into how many a batch is cut to
    fit into memory; `scaler` is the state of the loss scaling, empty where there is none; `slowed`
    how often the training was begun anew at a smaller rate, `began` the loss of its first step.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_loss: float | None
    done: int
    parts: int
    scaler: dict[str, float]
    slowed: int = 0
    began: float = 0.0


@dataclass(frozen=True)
class RunFacts:
    """What is needed to rebuild and trust the model; written as `run.json`.

    `inference` has the SHA-256 of each file of the network ready to predict; empty without one.
    `request` is what to ask for again; runs of older versions have none.
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
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class ClassProbability:
    """One row of a prediction."""

    label: str
    probability: float


@dataclass(frozen=True)
class Prediction:
    """The answer for one image: a label with its probability, or an error."""

    path: str
    label: str | None = None
    probability: float | None = None
    top: tuple[ClassProbability, ...] = field(default=())
    error: str | None = None


@dataclass(frozen=True)
class BackboneRow:
    """One line of `finetune backbones`."""

    name: str
    ready: bool
    weights: str
    licence: str
    parameters: int
    side_px: int
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Expectation:
    """Cross-validated accuracy of a probe with its 95 % Wilson interval."""

    strategy: Strategy
    accuracy: float
    interval: tuple[float, float]
    images: int


@dataclass(frozen=True)
class Advice:
    """The answer of `finetune recommend DIR`.

    `looked_at` counts the images that were read: with many, a stratified sample of them.
    """

    recommendation: Recommendation
    profile: DatasetProfile
    stages: tuple[StageScore, ...]
    expected: tuple[Expectation, ...]
    looked_at: int
    counts: dict[str, int]
    findings: tuple[Finding, ...]
    seconds: dict[str, float]


@dataclass(frozen=True)
class Contender:
    """One strategy in a comparison; differences are to the table's choice, fractions of 1.

    `low` and `high` bound the difference of the accuracies with 95 % confidence, on the same test
    images. One that did not fit the budget, or failed, has no figures but the reason in `untried`;
    there are no differences where that is the table's choice.
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


@dataclass(frozen=True)
class Comparison:
    """The answer of `finetune compare`: every strategy trained and tested on one split."""

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
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Health:
    """The answer of `finetune check`: every check of a data set, and the split it would get."""

    data: str
    classes: tuple[str, ...]
    layout: Literal["plain", "ready"]
    counts: dict[str, int]
    checks: tuple[Check, ...]
    seconds: float
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class Evaluation:
    """The answer of `finetune evaluate`; `errors` are all wrong answers, the surest first."""

    run: str
    data: str
    metrics: Metrics
    findings: tuple[Finding, ...]
    errors: tuple[WrongAnswer, ...] = ()
    better_than_commonest: bool | None = None
    verdict: str = ""
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True)
class RunRow:
    """One line of `finetune runs`; `error` says why a folder could not be read."""

    run: str
    created: str = ""
    strategy: str = ""
    backbone: str = ""
    classes: int = 0
    accuracy: float | None = None
    accuracy_source: str = ""
    error: str | None = None
