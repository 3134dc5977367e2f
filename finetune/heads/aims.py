"""What outputs are for where it is not one class: labels that are on or off, or numbers.

An aim says how far outputs are from the truth, how they are calibrated on held-out images, and what
of them a person is told. Outputs and truth are float64[N, K]: of labels logits, and 0 or 1; of
numbers both in standard deviations from the mean of the images that are not test.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from finetune.heads import platt, ridge
from finetune.metrics import ranking
from finetune.records.choices import Metric, OtherLoss, OtherTarget
from finetune.records.errors import UsageError
from finetune.storage.arrays import Array

HUBER_DELTA = 1.0  # in standard deviations: beyond, an error counts by its size and not its square


class Aim(Protocol):
    """What is asked of outputs."""

    kind: ClassVar[OtherTarget]

    @property
    def loss(self) -> OtherLoss:
        """What training makes small."""
        ...

    def losses(self, outputs: Array, truth: Array) -> Array:
        """The loss of each image, float64[N], a mean over its K outputs."""
        ...

    def score(self, outputs: Array, truth: Array) -> float:
        """The target's own metric, more is better: mAP of labels, R² of numbers."""
        ...

    def metric(self, name: Metric | None) -> tuple[Metric, Callable[[Array, Array], float]]:
        """What models are compared by, of outputs and truth, more is better; None for the usual.

        Raises:
            UsageError: it is none of this target.
        """
        ...

    def calibration(self, outputs: Array, truth: Array) -> tuple[Array, Array]:
        """By what raw held-out outputs are multiplied, and what is added then, float64[K] each."""
        ...

    @property
    def units(self) -> tuple[Array, Array]:
        """By what calibrated outputs are multiplied, and what is added then, float64[K] each.

        So they are logits, or numbers in their own unit; the same that `calibration` gives.
        """
        ...


@dataclass(frozen=True)
class LabelsAim:
    """Each label is on or off by itself: binary cross-entropy, mAP."""

    kind: ClassVar[OtherTarget] = "labels"
    loss: OtherLoss = "bce"

    def losses(self, outputs: Array, truth: Array) -> Array:
        """log(1 + exp(z)) − y z, the mean over labels, in nats."""
        found: Array = (np.logaddexp(0.0, outputs) - truth * outputs).mean(axis=1)
        return found

    def score(self, outputs: Array, truth: Array) -> float:
        """The mean average precision."""
        return ranking.mean_average_precision(outputs, truth)

    def metric(self, name: Metric | None) -> tuple[Metric, Callable[[Array, Array], float]]:
        """The mAP, or the log loss of a label."""
        known: dict[Metric, Callable[[Array, Array], float]] = {
            "map": self.score,
            "log-loss": lambda outputs, truth: -float(self.losses(outputs, truth).mean()),
        }
        return _named(name or "map", known, self.kind)

    def calibration(self, outputs: Array, truth: Array) -> tuple[Array, Array]:
        """Platt's slope and intercept of each label."""
        return platt.fit(outputs, truth)

    @property
    def units(self) -> tuple[Array, Array]:
        """Logits as they are."""
        return np.ones(1), np.zeros(1)


@dataclass(frozen=True)
class NumbersAim:
    """Numbers are met as near as can be; `mean`, `deviation` float64[K] are in their own unit."""

    mean: Array
    deviation: Array
    loss: OtherLoss = "mse"
    kind: ClassVar[OtherTarget] = "number"

    def losses(self, outputs: Array, truth: Array) -> Array:
        """Squared, absolute or Huber's error, as `loss` says, the mean over numbers."""
        error = np.abs(outputs - truth)
        if self.loss == "mse":
            error = np.square(error)
        elif self.loss == "huber":
            near = np.minimum(error, HUBER_DELTA)
            error = near * (error - near / 2)
        found: Array = error.mean(axis=1)
        return found

    def score(self, outputs: Array, truth: Array) -> float:
        """R², the mean over numbers; of one that is the same in all images 0."""
        rest = np.square(outputs - truth).mean(axis=0)
        spread = truth.var(axis=0)
        return float(np.where(spread > 0, 1 - rest / np.maximum(spread, 1e-12), 0.0).mean())

    def metric(self, name: Metric | None) -> tuple[Metric, Callable[[Array, Array], float]]:
        """The root mean square error, with `--loss mae` the mean absolute error; or R²."""
        known: dict[Metric, Callable[[Array, Array], float]] = {
            "rmse": lambda o, t: -float(np.sqrt(np.square(o - t).mean(axis=0)).mean()),
            "mae": lambda o, t: -float(np.abs(o - t).mean()),
            "r2": self.score,
        }
        return _named(name or ("mae" if self.loss == "mae" else "rmse"), known, self.kind)

    def calibration(self, outputs: Array, truth: Array) -> tuple[Array, Array]:
        """None: a number that is learned by its error needs none."""
        del truth
        return np.ones(outputs.shape[1]), np.zeros(outputs.shape[1])

    @property
    def units(self) -> tuple[Array, Array]:
        """Deviations from the mean → the numbers themselves."""
        return self.deviation, self.mean


def _named(
    name: Metric, known: dict[Metric, Callable[[Array, Array], float]], kind: OtherTarget
) -> tuple[Metric, Callable[[Array, Array], float]]:
    if name not in known:
        raise UsageError(
            f"--metric {name} is none of --target {kind}", hint=f"Use {' or '.join(known)}."
        )
    return name, known[name]


def scaled(outputs: Array, by: tuple[Array, Array]) -> Array:
    """Raw outputs float64[N, K] as a calibration has them."""
    return outputs * by[0] + by[1]


def scaled_head(head: ridge.Head, by: tuple[Array, Array]) -> ridge.Head:
    """The head that gives what `scaled` makes of its outputs."""
    return ridge.Head(head.weight * by[0][:, None], head.bias * by[0] + by[1], head.temperature)
