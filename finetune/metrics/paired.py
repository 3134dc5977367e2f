"""Two models on the same images: the difference, and its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.metrics import classification


def accuracy_gain(
    tuned: npt.NDArray[np.float64],
    probed: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
) -> tuple[float, float, float, float]:
    """How much more accurate `tuned` is than `probed`, with its noise, and how much less its loss.

    Noise is the standard error of the paired difference; both are float64[N, C] probabilities of
    the same images.
    """
    correct, losses = judged((tuned, probed), labels)
    return *paired(correct[0] - correct[1]), *paired(losses[1] - losses[0])


def judged(
    models: Sequence[npt.NDArray[np.float64]], labels: npt.NDArray[np.int64]
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Of each model: which images it has right, as 0 and 1, and its log loss on each."""
    correct = [(p.argmax(axis=1) == labels).astype(float) for p in models]
    return correct, [classification.log_losses(p, labels) for p in models]


def paired(differences: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Mean and standard error of the mean, of which one image alone is never more than noise."""
    n = len(differences)
    noise = float(differences.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    return float(differences.mean()), max(noise, np.abs(differences).max() / n) * (1 + 1e-9)
