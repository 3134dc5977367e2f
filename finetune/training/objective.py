"""What a training makes small where outputs are labels or numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torch.nn import functional

from finetune.heads import aims
from finetune.heads.aims import HUBER_DELTA, Aim
from finetune.storage.arrays import Array


@dataclass(frozen=True)
class OutputsLoss:
    """The loss of an aim, as `losses.Criterion` has it; every output counts the same."""

    aim: Aim

    def __call__(self, outputs: Tensor, wanted: Tensor, counts: Tensor | None = None) -> Tensor:
        """Outputs float[B,K] and what they are to be, float32[B,K] → the mean loss, float32[]."""
        if counts is None:
            return self._losses(outputs, wanted, "mean")
        return (self._losses(outputs, wanted, "none").mean(dim=1) * counts).mean()

    def _losses(self, outputs: Tensor, wanted: Tensor, reduction: str) -> Tensor:
        """The mean loss float32[], or that of each output float32[B,K], as `reduction` says."""
        if self.aim.loss == "bce":
            return functional.binary_cross_entropy_with_logits(outputs, wanted, reduction=reduction)
        if self.aim.loss == "mae":
            return functional.l1_loss(outputs, wanted, reduction=reduction)
        if self.aim.loss == "huber":
            return functional.huber_loss(outputs, wanted, reduction, HUBER_DELTA)
        return functional.mse_loss(outputs, wanted, reduction=reduction)

    def blind(
        self, wanted: npt.NDArray[Any], outputs: int, counts: Array | None = None
    ) -> npt.NDArray[np.float64]:
        """The log odds of each label; the mean of each number, for an absolute error the median."""
        del outputs
        truth = wanted.astype(np.float64)
        mean: npt.NDArray[np.float64] = np.average(truth, axis=0, weights=counts)
        if self.aim.loss == "bce":
            share = np.clip(mean, 1e-6, 1 - 1e-6)
            mean = np.log(share / (1 - share))
        elif self.aim.loss == "mae":
            mean = np.median(truth if counts is None else truth[counts > 0], axis=0)
        return mean

    def of_constant(
        self,
        answer: npt.NDArray[np.float64],
        wanted: npt.NDArray[Any],
        counts: Array | None = None,
    ) -> float:
        """The mean loss where every image gets the same outputs float64[K]."""
        truth = wanted.astype(np.float64)
        losses = self.aim.losses(np.broadcast_to(answer, truth.shape), truth)
        return float((losses if counts is None else counts * losses).mean())

    def judged(
        self,
        outputs: Array,
        wanted: npt.NDArray[Any],
        shift: Array | None = None,
        weights: Array | None = None,
    ) -> float:
        """The calibrated loss; there are no other shares of classes."""
        del shift, weights
        truth = wanted.astype(np.float64)
        by = self.aim.calibration(outputs, truth)
        return float(self.aim.losses(aims.scaled(outputs, by), truth).mean())

    def accuracy(self, outputs: Array, wanted: npt.NDArray[Any]) -> None:
        """None: there are no classes."""
        del outputs, wanted
