"""What was measured on labelled images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from finetune.records.dataset import Finding


@dataclass(frozen=True)
class ClassMetrics:
    """Precision and recall of one class; `None` where it is undefined (nothing to divide by)."""

    name: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, kw_only=True)
class AtShares:
    """What is to be expected where classes have other shares than among the measured images.

    Each image counts by its class's wanted share; `interval` is the 95 % interval of the accuracy.
    """

    accuracy: float
    interval: tuple[float, float]
    log_loss: float


@dataclass(frozen=True)
class Metrics:
    """What was measured on a set of labelled images; rates are fractions of 1.

    `interval` is the 95 % Wilson interval of the accuracy, `balanced_interval` that of the balanced
    accuracy (None in runs of older versions); both are by the `groups` that the images come in,
    None where each is one by itself. Rows of `confusion` are true classes; with very many classes
    it is empty, and `cells` has what is not zero in it as (true class, answer, images):
    `mistakes.cells` reads either. `at_shares` is there for a model that is made for other shares.
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
    balanced_interval: tuple[float, float] | None = None
    groups: int | None = None
    at_shares: AtShares | None = None


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
class Baseline:
    """The tuned model against the best probe on the validation images.

    `blend_accuracy` and `blend_log_loss` are those of both together, its weight fitted on other
    images than these; None where no blend was tried, as in runs of older versions.
    """

    kept: Literal["tuned", "probe", "blend"]
    n: int
    tuned_accuracy: float
    probe_accuracy: float
    tuned_log_loss: float
    probe_log_loss: float
    reason: str
    blend_accuracy: float | None = None
    blend_log_loss: float | None = None
