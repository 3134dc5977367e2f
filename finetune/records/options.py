"""What the user asked for: small records, each for those who use it, and the form that is kept."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from finetune.records import option_table
from finetune.records.choices import (
    Fit,
    Interpolation,
    Loss,
    Metric,
    NearCopies,
    Norm,
    Policy,
    Similarity,
    Size,
    TargetChoice,
)

_D = option_table.DEFAULTS


def columns_of(asked: str | None) -> tuple[str, ...]:
    """The columns that `--label-column` names."""
    return tuple(name for part in (asked or "").split(",") if (name := part.strip()))


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Which images, how they are split, and what is to stop the work.

    `label_from` is the expression that finds labels in the names of files, None where folders have
    them; `label_column` names the columns of a table that have labels, parted by commas.
    """

    root: str
    val_fraction: float = _D["val_fraction"]
    test_fraction: float = _D["test_fraction"]
    max_per_class: int | None = _D["max_per_class"]
    on_bad_image: Literal["skip", "error"] = _D["on_bad_image"]
    group: str | None = _D["group"]
    label_from: str | None = _D["label_from"]
    target: TargetChoice = _D["target"]
    label_column: str | None = _D["label_column"]
    near_duplicates: NearCopies = _D["near_copies"]
    strict: bool = _D["strict"]
    fit: Fit = _D["fit"]
    bands: str | None = _D["bands"]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of labels that were named; none where they are told by their names."""
        return columns_of(self.label_column)


@dataclass(frozen=True, kw_only=True)
class BackboneOptions:
    """Which network, with which weights, on which device.

    `start_from` is a run of one's own, whose network is compared with the pretrained one.

    `mean`, `std` (three numbers with commas) and `interpolation` are what a file of weights was
    trained with, `norm` the normalization of a LeNet-5.
    The rest is of the choice of a network: seconds that one image may take, licences (`permissive`
    or `any`), and whether more networks are fetched first.
    """

    name: str = "tf_efficientnet_lite0"
    weights: str | None = _D["weights"]
    start_from: str | None = _D["start_from"]
    mean: str | None = _D["mean"]
    std: str | None = _D["std"]
    interpolation: Interpolation | None = _D["interpolation"]
    norm: Norm | None = _D["norm"]
    device: str = _D["device"]
    max_latency_s: float | None = _D["max_latency_s"]
    licence: Literal["permissive", "any"] = _D["licence"]
    fetch: bool = _D["fetch"]


@dataclass(frozen=True, kw_only=True)
class DecisionOptions:
    """How far to tune, or what decides it; `size` and `similarity` stand for what is measured.

    `single` forbids that two networks answer together.
    `prior` says what the classes' shares will be where the model is used: `train`, `uniform`, or a
    file of them; `metric` what models are compared by, `loss` what training makes small.
    """

    strategy: str = _D["strategy"]
    policy: Policy = _D["policy"]
    budget_s: float | None = _D["budget_s"]
    size: Size | None = _D["size"]
    similarity: Similarity | None = _D["similarity"]
    single: bool = _D["single"]
    prior: str = _D["prior"]
    metric: Metric | None = _D["metric"]
    loss: Loss | None = _D["loss"]

    @property
    def judged_by(self) -> Metric:
        """The metric that models are compared by.

        Where classes will be equally frequent the accuracy is the balanced accuracy; else it is the
        accuracy at the wanted shares.
        """
        return self.metric or ("balanced-accuracy" if self.prior == "uniform" else "accuracy")


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """The seed of all that is drawn, and the fields of the plan that no rule is to set."""

    seed: int = _D["seed"]
    overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """Where the run goes, whether one that was killed is gone on with, and the command for it.

    `no_images` keeps pictures out of the report.
    """

    out: str | None = _D["out"]
    no_images: bool = _D["no_images"]
    resume: bool = _D["resume"]
    command: str = "finetune train"


@dataclass(frozen=True, kw_only=True)
class Options:
    """All that was asked for, resolved once where it comes in."""

    data: DataOptions
    backbone: BackboneOptions = BackboneOptions()
    decision: DecisionOptions = DecisionOptions()
    training: TrainingOptions = field(default_factory=TrainingOptions)
    output: OutputOptions = OutputOptions()


@dataclass(frozen=True, kw_only=True)
class Request:
    """The same in one row, as it is kept in run.json; `options` are the overrides of the plan."""

    root: str
    out: str | None = _D["out"]
    strategy: str = _D["strategy"]
    policy: Policy = _D["policy"]
    budget_s: float | None = _D["budget_s"]
    size: Size | None = _D["size"]
    similarity: Similarity | None = _D["similarity"]
    single: bool = _D["single"]
    prior: str = _D["prior"]
    metric: Metric | None = _D["metric"]
    loss: Loss | None = _D["loss"]
    backbone: str = BackboneOptions.name
    weights: str | None = _D["weights"]
    start_from: str | None = _D["start_from"]
    max_latency_s: float | None = _D["max_latency_s"]
    licence: Literal["permissive", "any"] = _D["licence"]
    fetch: bool = _D["fetch"]
    seed: int = _D["seed"]
    device: str = _D["device"]
    val_fraction: float = _D["val_fraction"]
    test_fraction: float = _D["test_fraction"]
    max_per_class: int | None = _D["max_per_class"]
    on_bad_image: Literal["skip", "error"] = _D["on_bad_image"]
    group: str | None = _D["group"]
    label_from: str | None = _D["label_from"]
    target: TargetChoice = _D["target"]
    label_column: str | None = _D["label_column"]
    near_copies: NearCopies = _D["near_copies"]
    strict: bool = _D["strict"]
    fit: Fit = _D["fit"]
    bands: str | None = _D["bands"]
    mean: str | None = _D["mean"]
    std: str | None = _D["std"]
    interpolation: Interpolation | None = _D["interpolation"]
    norm: Norm | None = _D["norm"]
    options: dict[str, Any] = field(default_factory=dict)
    command: str = OutputOptions.command
    resume: bool = _D["resume"]
    no_images: bool = _D["no_images"]


_PARTS: dict[str, Any] = {
    "data": DataOptions,
    "backbone": BackboneOptions,
    "decision": DecisionOptions,
    "training": TrainingOptions,
    "output": OutputOptions,
}
# Fields whose name is another in run.json.
_KEPT_AS = {"near_duplicates": "near_copies", "name": "backbone", "overrides": "options"}


def flat(options: Options) -> Request:
    """The options in the form that is kept."""
    parts = [getattr(options, part) for part in _PARTS]
    return Request(
        **{_KEPT_AS.get(name, name): value for part in parts for name, value in vars(part).items()}
    )


def resolved(request: Request) -> Options:
    """The options that were kept."""
    return Options(
        **{
            part: kind(
                **{f.name: getattr(request, _KEPT_AS.get(f.name, f.name)) for f in fields(kind)}
            )
            for part, kind in _PARTS.items()
        }
    )


def check(options: Options) -> None:
    """Refuse values out of range before any work is done.

    Raises:
        UsageError: names the option and its value.
    """
    option_table.check(vars(flat(options)))
    option_table.check(options.training.overrides)
