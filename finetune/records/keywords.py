"""The options of the command line as keywords of Python: typed, named as the flags are.

A test compares them with the option table, which has the defaults and what each means.
"""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import Literal, TypedDict

from finetune.records.choices import (
    Fit,
    Interpolation,
    Loss,
    Metric,
    NearCopies,
    Policy,
    Similarity,
    Size,
    TargetChoice,
)

Asked = Literal["auto", "linear-probe", "stage-probe", "partial", "deep", "scratch", "blend"]


class DataKeywords(TypedDict, total=False):
    """Which images, and how they are split."""

    label_from: str | None
    target: TargetChoice
    label_column: str | None
    group: str | None
    near_duplicates: NearCopies
    val_fraction: float
    test_fraction: float
    max_per_class: int | None
    bands: str | None


class CheckKeywords(DataKeywords, total=False):
    """What `check` takes."""

    strict: bool
    seed: int
    labels: bool
    backbone: str | None
    device: str


class DecidingKeywords(DataKeywords, total=False):
    """What whatever decides takes; a time is text such as `10m`, or seconds."""

    on_bad_image: Literal["skip", "error"]
    fit: Fit
    budget: str | float | None
    size: Size | None
    similarity: Similarity | None
    prior: str
    metric: Metric | None
    loss: Loss | None
    backbone: str | None
    image_size: int
    mean: str | None
    std: str | None
    interpolation: Interpolation | None
    max_latency: str | float | None
    licence: Literal["permissive", "any"]
    fetch: bool
    weights: str | PathLike[str] | None
    start_from: str | PathLike[str] | None
    device: str
    seed: int


class CompareKeywords(DecidingKeywords, total=False):
    """What `compare` takes."""

    single: bool


class DoubtKeywords(TypedDict, total=False):
    """When a model is to say less than one label."""

    min_confidence: float | None
    target_error: float | None
    coverage: float | None
    unknown: float | None


class RecommendKeywords(DecidingKeywords, total=False):
    """What `recommend` takes."""

    strict: bool
    policy: Policy


class TrainKeywords(RecommendKeywords, total=False):
    """What `train` takes; what a rule of the plan finds is left to it unless given."""

    strategy: Asked
    single: bool
    norm: Literal["batch", "instance", "group", "layer"] | None
    epochs: int
    batch_size: int
    optimizer: Literal["sgd", "adam", "adamw", "adadelta", "adagrad"]
    lr: float
    patience: int
    precision: Literal["auto", "fp32", "bf16"]
    refit: bool
    label_smoothing: float
    dropout: float
    weight_decay: float
    class_weights: bool
    resume: bool
    no_images: bool
    from_run: str | PathLike[str] | None
    crop: float
    flip: float
    vflip: float
    zoom_out: float
    rotation: float
    translation: float
    aspect_ratio: float
    color_jitter: float
    out: str | PathLike[str] | None
    track: str | Sequence[str]
