"""Two models on the same images: the difference of a metric, and its standard error."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finetune.metrics import classification, clusters
from finetune.metrics.clusters import Clusters, Floats
from finetune.records.choices import Metric


@dataclass(frozen=True)
class Yardstick:
    """What models are compared by: a metric, and what is to be known of N images for it.

    `weights` float64[N], of mean one, say how much an image counts (None: all the same), `groups`
    int64[N] which images go together (None: each is one by itself).
    """

    metric: Metric = "accuracy"
    weights: Floats | None = None
    groups: Clusters | None = None

    @property
    def by(self) -> str:
        """How many groups there are, for a sentence; empty where there are none."""
        return "" if self.groups is None else f" by {clusters.count(self.groups)} groups"


PLAIN = Yardstick()


def accuracy_gain(
    tuned: Floats, probed: Floats, labels: npt.NDArray[np.int64], by: Yardstick = PLAIN
) -> tuple[float, float, float, float]:
    """How much better `tuned` is than `probed`, with its noise, and how much less its loss.

    Noise is the standard error of the paired difference; both are float64[N, C] probabilities of
    the same images. Better is more of the yardstick's metric. Where that is the log loss, the gain
    is told as if of the errors the same share were saved as of the loss: a tenth less log loss is a
    tenth fewer errors, so that what is believed of accuracy can be held against it.
    """
    log = replace(by, metric="log-loss")
    losses = [contributions(p, labels, log) for p in (tuned, probed)]
    less = losses[0] - losses[1]
    if by.metric == "log-loss":
        error = 1 - contributions(probed, labels, replace(by, metric="accuracy")).mean()
        gain = less * float(error / max(-losses[1].mean(), 1e-12))
    else:
        mine, other = (contributions(p, labels, by) for p in (tuned, probed))
        gain = mine - other
    return *paired(gain, by.groups), *paired(less, by.groups)


def difference(
    one: Floats, other: Floats, labels: npt.NDArray[np.int64], by: Yardstick = PLAIN
) -> tuple[float, float]:
    """How much better one model is by a metric as it stands, and the standard error of that.

    Args:
        one: Probabilities float64[N, C].
        other: Those of the other, of the same images.
        labels: int64[N].
        by: Of a log loss the difference is how much less it is, in nats.
    """
    mine, theirs = (contributions(p, labels, by) for p in (one, other))
    return paired(mine - theirs, by.groups)


def judged(
    models: Sequence[npt.NDArray[np.float64]], labels: npt.NDArray[np.int64]
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Of each model: which images it has right, as 0 and 1, and its log loss on each."""
    correct = [(p.argmax(axis=1) == labels).astype(float) for p in models]
    return correct, [classification.log_losses(p, labels) for p in models]


def paired(
    differences: npt.NDArray[np.float64], groups: Clusters | None = None
) -> tuple[float, float]:
    """Mean and standard error of the mean, of which one image alone is never more than noise.

    Args:
        differences: float64[N].
        groups: Images that go together; one group alone is then never more than noise.
    """
    if groups is not None:
        return float(differences.mean()), clusters.standard_error(differences, groups) * (1 + 1e-9)
    n = len(differences)
    noise = float(differences.std(ddof=1) / math.sqrt(n)) if n > 1 else math.inf
    least = float(np.abs(differences).max()) / n
    return float(differences.mean()), max(noise, least) * (1 + 1e-9)


def interval(
    differences: npt.NDArray[np.float64], groups: Clusters | None = None
) -> tuple[float, float, float]:
    """Mean of paired differences of right (1) and wrong (0), and its 95 % interval.

    Where few images differ, or none, their own variance says too little: the standard error is at
    least that of counts with one half added to each cell (Agresti and Min 2005).

    Args:
        differences: float64[N] of -1, 0 and 1.
        groups: Images that go together.
    """
    mean, error = paired(differences, groups)
    n = len(differences) + 2
    lost, won = (float((differences == sign).sum()) + 0.5 for sign in (1, -1))
    at_least = math.sqrt((lost + won) - (lost - won) ** 2 / n) / n
    half = clusters.Z95 * max(error, at_least)
    return mean, max(-1.0, mean - half), min(1.0, mean + half)


def value(probabilities: Floats, labels: npt.NDArray[np.int64], by: Yardstick = PLAIN) -> float:
    """The metric of one model, as it is called: of a log loss the loss."""
    found = float(contributions(probabilities, labels, by).mean())
    return -found if by.metric == "log-loss" else found


def contributions(
    probabilities: Floats, labels: npt.NDArray[np.int64], by: Yardstick = PLAIN
) -> Floats:
    """What each image adds to a metric, float64[N], its mean the metric; more is always better.

    Accuracy: right or wrong as 1 and 0. Log loss: its negative. What is no mean over images is made
    linear where it stands, as its standard error needs it (the delta method): an image changes the
    metric by its contribution's distance from the mean, divided by N.

    Args:
        probabilities: float64[N, C].
        labels: int64[N].
        by: Balanced accuracy and macro F1 are over the classes that have images.
    """
    called = probabilities.argmax(axis=1)
    correct = (called == labels).astype(float)
    if by.metric == "macro-f1":
        return _macro_f1(labels, called, by.weights, probabilities.shape[1])
    weights = balanced(labels) if by.metric == "balanced-accuracy" else by.weights
    each: Floats = correct
    if by.metric == "log-loss":
        each = -classification.log_losses(probabilities, labels)
    return each if weights is None else counted(each, weights)


def counted(values: Floats, weights: Floats) -> Floats:
    """Contributions float64[N] to the mean of values that count by weights of mean one."""
    mean = float((weights * values).mean())
    out: Floats = mean + weights * (values - mean)
    return out


def balanced(labels: npt.NDArray[np.int64]) -> Floats:
    """Weights float64[N] with which every class that has images counts the same; mean one."""
    counts = np.bincount(labels)
    out: Floats = len(labels) / (np.count_nonzero(counts) * counts[labels])
    return out


def _macro_f1(
    labels: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    weights: Floats | None,
    classes: int,
) -> Floats:
    """Contributions to macro F1; of a class's F1 = 2 TP / (labelled + called) by its derivative."""
    n = len(labels)
    w = np.ones(n) if weights is None else weights
    hits = np.bincount(labels, w * (labels == called), classes)
    either = np.bincount(labels, w, classes) + np.bincount(called, w, classes)
    present = np.bincount(labels, minlength=classes) > 0
    f1 = np.where(present, 2 * hits / np.maximum(either, 1e-300), 0.0)
    rate = np.where(present, n / np.maximum(either, 1e-300), 0.0)
    change = 2 * (labels == called) * rate[labels] - (f1 * rate)[labels] - (f1 * rate)[called]
    out: Floats = f1[present].mean() + w * change / np.count_nonzero(present)
    return out
