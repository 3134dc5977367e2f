"""Which answers were wrong: images, pairs of classes, and the classes that need attention."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.records.errors import safe_name
from finetune.records.metrics import ClassMetrics, Metrics, WrongAnswer

Cells = npt.NDArray[np.int64]


def cells(metrics: Metrics) -> Cells:
    """What is not zero in a confusion matrix, int64[K, 3]: true class, answer, images.

    Runs of older versions have the whole matrix, whatever its size.
    """
    if metrics.cells:
        return np.array(metrics.cells, np.int64).reshape(-1, 3)
    matrix = np.array(metrics.confusion, np.int64).reshape(len(metrics.confusion), -1)
    true, answer = np.nonzero(matrix)
    return np.stack([true, answer, matrix[true, answer]], axis=1)


def count(metrics: Metrics) -> int:
    """How many answers were wrong."""
    found = cells(metrics)
    return int(found[found[:, 0] != found[:, 1], 2].sum())


def confused(metrics: Metrics) -> list[tuple[str, str, int, int]]:
    """Pairs of classes that were taken for each other, the most images first.

    Returns:
        (true class, answer, images, images of the true class).
    """
    names = [c.name for c in metrics.per_class]
    found = cells(metrics)
    wrong = found[found[:, 0] != found[:, 1]]
    # of equally many images, those of the class that has fewer weigh more
    sizes = np.array([c.n for c in metrics.per_class], np.int64)
    order = np.lexsort((wrong[:, 1], wrong[:, 0], sizes[wrong[:, 0]], -wrong[:, 2]))
    return [
        (names[true], names[answer], images, int(sizes[true]))
        for true, answer, images in wrong[order].tolist()
    ]


def worst_first(classes: Sequence[ClassMetrics]) -> list[ClassMetrics]:
    """Classes by what needs attention: the least recall first, of equal ones the least precision.

    Classes without an image, of which nothing is known, come last.
    """

    def key(c: ClassMetrics) -> tuple[bool, float, float]:
        known = c.recall is not None
        return not known, c.recall or 0.0, 1.0 if c.precision is None else c.precision

    return sorted(classes, key=key)


def wrong(
    labels: npt.NDArray[np.int64],
    called: npt.NDArray[np.int64],
    confidence: npt.NDArray[np.float64],
    paths: Sequence[str],
    classes: Sequence[str],
) -> tuple[WrongAnswer, ...]:
    """The wrong answers, the most confident first.

    Args:
        labels: True classes, int64[N].
        called: Answers, int64[N].
        confidence: Their probabilities, float64[N].
        paths: N names.
        classes: Names of the classes.
    """
    numbers = np.flatnonzero(labels != called)
    order = numbers[np.argsort(-confidence[numbers], kind="stable")]
    return tuple(
        WrongAnswer(
            safe_name(paths[i]), classes[labels[i]], classes[called[i]], float(confidence[i])
        )
        for i in order.tolist()
    )
