"""How far confidence can be trusted: by bins, by threshold, and the closest calls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from finetune.metrics import classification
from finetune.records.errors import safe_name
from finetune.records.material import Answered, CloseCall, Reliability, SureAnswer

Array = npt.NDArray[np.float64]
BINS = 10
FEWEST = 5  # images of a bin, on average: with fewer its accuracy says nothing
THRESHOLDS = 30


def reliability(confidence: Array, correct: npt.NDArray[np.bool_]) -> tuple[Reliability, ...]:
    """Accuracy by confidence, in bins of equally many images, the least confident first.

    Equal numbers rather than equal widths: confidence crowds near one (Nguyen and O'Connor 2015).

    Args:
        confidence: Probabilities of the answers, float64[N].
        correct: Which are right, bool[N].
    """
    bins = min(BINS, len(confidence) // FEWEST)
    if bins < 2:
        return ()
    order = np.argsort(confidence, kind="stable")
    return tuple(
        Reliability(
            confidence=float(confidence[some].mean()),
            accuracy=float(correct[some].mean()),
            interval=classification.wilson(int(correct[some].sum()), len(some)),
            images=len(some),
        )
        for some in np.array_split(order, bins)
    )


def answered(confidence: Array, correct: npt.NDArray[np.bool_]) -> tuple[Answered, ...]:
    """Accuracy where only the more confident answers count, from all of them to few.

    Args:
        confidence: As for `reliability`.
        correct: As there.
    """
    falling = np.sort(confidence)[::-1]
    # images of equal confidence are answered together, or not at all
    counts = np.unique(np.searchsorted(-falling, -falling, side="right"))
    counts = counts[counts >= min(FEWEST, len(falling))]
    if len(counts) > THRESHOLDS:
        counts = counts[np.unique(np.linspace(0, len(counts) - 1, THRESHOLDS).astype(int))]
    hits = np.cumsum(correct[np.argsort(-confidence, kind="stable")])
    return tuple(
        Answered(
            threshold=float(falling[n - 1]),
            share=n / len(falling),
            accuracy=float(hits[n - 1] / n),
            interval=classification.wilson(int(hits[n - 1]), n),
        )
        for n in counts[::-1].tolist()
    )


def close_calls(
    probabilities: Array,
    labels: npt.NDArray[np.int64],
    paths: Sequence[str],
    classes: Sequence[str],
    most: int,
) -> tuple[CloseCall, ...]:
    """The images whose likeliest two classes are nearest to each other, the closest first.

    Args:
        probabilities: float64[N, C].
        labels: int64[N].
        paths: N names.
        classes: C names.
        most: How many.
    """
    if len(classes) < 2:
        return ()
    two = np.argsort(-probabilities, axis=1, kind="stable")[:, :2]
    likely = np.take_along_axis(probabilities, two, 1)
    found = np.argsort(likely[:, 0] - likely[:, 1], kind="stable")[:most]
    return tuple(
        CloseCall(
            path=safe_name(paths[i]),
            truth=classes[labels[i]],
            answer=classes[two[i, 0]],
            probability=float(likely[i, 0]),
            second=classes[two[i, 1]],
            second_probability=float(likely[i, 1]),
        )
        for i in found.tolist()
    )


def surest(
    probabilities: Array,
    labels: npt.NDArray[np.int64],
    paths: Sequence[str],
    classes: Sequence[str],
    most: int,
) -> tuple[SureAnswer, ...]:
    """The right answers that are surest, one of each class before a second of any.

    Args:
        probabilities: As for `close_calls`, like the others.
        labels: As there.
        paths: As there.
        classes: As there.
        most: How many.
    """
    sure = probabilities[np.arange(len(labels)), labels]
    right = np.flatnonzero(probabilities.argmax(axis=1) == labels)
    turns: dict[int, int] = {}
    ranked = []
    for i in right[np.argsort(-sure[right], kind="stable")].tolist():
        label = int(labels[i])
        turns[label] = turns.get(label, 0) + 1
        ranked.append((turns[label], -float(sure[i]), i))
    return tuple(
        SureAnswer(path=safe_name(paths[i]), truth=classes[labels[i]], probability=-less)
        for _, less, i in sorted(ranked)[:most]
    )
