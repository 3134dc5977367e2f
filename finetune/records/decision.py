"""A plan, the evidence for it, and the recommendation it leads to."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.records.analysis import Reason
from finetune.records.choices import DecidedBy, Metric, Similarity, Size, Strategy


@dataclass(frozen=True, kw_only=True)
class Augment:
    """Random changes to a training image; zero (or `crop=1`) switches one off.

    `crop` is the smallest area kept; `rotation_deg`, `translation` (share of the side) and
    `stretch` (log of the aspect ratio) are the largest changes either way; `flip` (left to right)
    and `vflip` (upside down) are probabilities; `colour` is the largest relative change of
    brightness, contrast and saturation; `zoom_out` the largest area seen beyond the picture, as a
    share of it, where its edges are mirrored.
    """

    crop: float
    flip: float
    rotation_deg: float
    translation: float
    stretch: float
    colour: float
    vflip: float = 0.0
    zoom_out: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every hyper-parameter resolved; `why` says for each whether a rule or the user set it.

    `lr` is the rate of the last tuned stage, `head_lr` of the head, per step; `stage_decay`
    multiplies the rate once per stage toward the stem. `refit`: where validation images have judged
    the model, one is trained with them, too, and returned. `precision` is what steps compute in:
    fp32, bf16, fp16 or, where nothing is known of the device, auto.
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
    refit: bool = False
    precision: str = "auto"


@dataclass(frozen=True, kw_only=True)
class TrialResult:
    """A short tuning against the best probe: both learnt from the same images, judged on others.

    `gain` is the tuned model's lead in the `metric` (of a log loss the lead in accuracy that it
    stands for), a fraction of 1, `noise` its standard error.
    """

    strategy: Strategy
    learnt_from: int
    judged_on: int
    side_px: int
    epochs: int
    gain: float
    noise: float
    seconds: float
    metric: Metric = "accuracy"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """Seconds a strategy will take from here to its test, and whether that is in the budget.

    `refit` is false where the budget has no room for training on the validation images, too;
    `memory` says that it needs more memory than there is, empty where it does not.
    """

    strategy: Strategy
    side_px: int
    seconds: float
    fits: bool
    text: str
    refit: bool = True
    memory: str = ""


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """Data that lies outside of what the beliefs were measured on.

    There are `value` of something ("images" to learn from, or "classes") where the nearest that was
    measured is `measured`, `times` less or more; `spread` is the standard deviation of the accuracy
    gain, a fraction of 1, that this adds, `less` what it takes off the gain.
    """

    of: str
    value: int
    measured: int
    times: float
    spread: float
    less: float = 0.0


@dataclass(frozen=True)
class Gain:
    """What is believed of tuning's lead in accuracy over the best probe, after all evidence.

    `prior` is what to expect of such data before any trial (mean and standard deviation), `mean`
    and `spread` the same with the trials counted in; fractions of 1. `needed` is what `mean` has to
    exceed for tuning to be taken. `allowed` is how far short trials may be behind the probe: what
    they fall short of the real thing, and how far their word may be off; `behind` says that they
    were farther behind, `contradicted` that they were behind by more than two of their standard
    errors: then they are no proof. `probe_error` is the best probe's where it learns from all
    images; `beyond` how far the data lies outside of what was measured.
    """

    prior: float
    prior_spread: float
    mean: float
    spread: float
    allowed: float = 0.0
    behind: bool = False
    needed: float = 0.0
    contradicted: bool = False
    probe_error: float | None = None
    beyond: tuple[Beyond, ...] = ()


@dataclass(frozen=True, kw_only=True)
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
    lead: Gain | None = None
    trials: tuple[TrialResult, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
