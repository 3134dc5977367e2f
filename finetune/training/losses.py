"""What a training makes small: cross-entropy on smoothed labels, images weighed by their class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from finetune.heads import calibration
from finetune.storage.arrays import Array


class Criterion(Protocol):
    """A loss, and what it is of a model that gives every image the same.

    What is wanted is int64[B], the classes, or float[B, K], what the K outputs are to be.
    """

    def __call__(self, outputs: Tensor, wanted: Tensor, counts: Tensor | None = None, /) -> Tensor:
        """Outputs float[B,K] and what is wanted → the mean loss, float32[].

        Each image's is multiplied by how much it counts, float32[B].
        """
        ...

    def blind(
        self, wanted: npt.NDArray[Any], outputs: int, counts: Array | None = None, /
    ) -> npt.NDArray[np.float64]:
        """The best answer for a model that gives every image of a set the same, float64[K]."""
        ...

    def of_constant(
        self,
        answer: npt.NDArray[np.float64],
        wanted: npt.NDArray[Any],
        counts: Array | None = None,
        /,
    ) -> float:
        """The mean loss on a set where every image gets the same answer."""
        ...

    def judged(
        self,
        outputs: Array,
        wanted: npt.NDArray[Any],
        shift: Array | None = None,
        weights: Array | None = None,
    ) -> float:
        """What epochs are chosen by: the calibrated loss of held-out images."""
        ...

    def accuracy(self, outputs: Array, wanted: npt.NDArray[Any]) -> float | None:
        """The share of images that are right; None where outputs are no classes."""
        ...


@dataclass(frozen=True)
class Loss:
    """Label smoothing ε changes what an image is taken for, a weight how much the image counts.

    The loss of an image with scores z, p = softmax(z), and label y among C classes is

        w_y · ( −(1−ε) log p_y  −  (ε/C) Σ_c log p_c ),

    least at p_y = 1−ε+ε/C and ε/C for the others, whatever the weights. (`CrossEntropyLoss` of
    PyTorch weighs each term of the sum by its own class's weight: there the images of a common
    class are best called rare.) A batch's loss is the mean over its images, not over their weights:
    so all batches of an epoch together have the loss of the set, and an image counts the same in
    whatever batch it comes. Weights have a mean of one over the images, so rates keep their
    meaning.

    `weight` float32[C], None where every image counts one; `smoothing` is ε.
    """

    weight: Tensor | None
    smoothing: float

    def __call__(self, logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
        """Scores float[B,C] and labels int64[B] → the mean loss, float32[]."""
        losses = functional.cross_entropy(
            logits, labels, reduction="none", label_smoothing=self.smoothing
        )
        if self.weight is not None:
            losses = losses * self.weight[labels]
        if counts is not None:
            losses = losses * counts
        return losses.mean()

    def blind(
        self, labels: npt.NDArray[np.int64], classes: int, counts: Array | None = None
    ) -> npt.NDArray[np.float64]:
        """The best probabilities float64[C] for a model that gives every image of a set the same.

        With n_c images of class c: (1−ε) · w_c n_c / Σ_k w_k n_k + ε/C.
        """
        mass = np.bincount(labels, counts, minlength=classes) * self._weights(classes)
        out: npt.NDArray[np.float64] = (1 - self.smoothing) * mass / mass.sum()
        return out + self.smoothing / classes

    def of_constant(
        self,
        probabilities: npt.NDArray[np.float64],
        labels: npt.NDArray[np.int64],
        counts: Array | None = None,
    ) -> float:
        """The mean loss on a set where every image gets the same probabilities float64[C].

        A class of probability 0 costs nothing where it has no image and no smoothing asks for it.
        """
        surprise = -np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))
        each = (1 - self.smoothing) * surprise + self.smoothing * surprise.mean()
        weights = self._weights(len(probabilities))
        losses = weights[labels] * each[labels]
        return float((losses if counts is None else counts * losses).mean())

    def judged(
        self,
        outputs: Array,
        wanted: npt.NDArray[np.int64],
        shift: Array | None = None,
        weights: Array | None = None,
    ) -> float:
        """As in `Criterion`; `shift` and `weights` as in `Split`."""
        return calibration.calibrated_log_loss(outputs, wanted, shift, weights)

    def accuracy(self, outputs: Array, wanted: npt.NDArray[np.int64]) -> float | None:
        """The share of images whose highest score is that of their class."""
        return float((outputs.argmax(axis=1) == wanted).mean())

    def _weights(self, classes: int) -> npt.NDArray[np.float64]:
        if self.weight is None:
            return np.ones(classes)
        found: npt.NDArray[np.float64] = self.weight.detach().cpu().double().numpy()
        return found


def class_weights(labels: npt.NDArray[np.int64], classes: int) -> Tensor:
    """1/sqrt of each class's count, mean one over the images: between none and full balance.

    float32[C]; a class without images is weighed as one with a single image.
    """
    counts = np.bincount(labels, minlength=classes)
    weights = 1.0 / np.sqrt(np.maximum(counts, 1))
    return torch.from_numpy(weights * (counts.sum() / (weights * counts).sum())).float()
