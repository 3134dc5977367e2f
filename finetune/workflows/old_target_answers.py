"""What a run that a training started from answers of its labels or numbers: before and after."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.metrics import clusters, paired, ranking, resampled
from finetune.records.figures import figure
from finetune.records.start import OldAnswers, OldScore, StartFacts
from finetune.storage.arrays import Array
from finetune.workflows import old_answers

FEWEST = 2  # images: of one alone nothing is told


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What the new model answers of M test images, and what is true.

    `outputs` and `truth` are float64[M, K]: logits and 0 or 1 of labels, or numbers in their own
    unit; `groups` int64[M] are images that go together.
    """

    paths: tuple[str, ...]
    outputs: Array
    truth: Array
    groups: clusters.Clusters | None


def measured(analysis: Analysis, test: Tested | None, clock: Clock) -> StartFacts | None:
    """The start of a training with both models' figures on the labels or numbers of the old one.

    All test images are shown to the old run, too, which has learnt from none of them. Labels are
    matched by name and compared by average precision, numbers by the mean absolute error.

    Args:
        analysis: The data.
        test: What the new model answers; None where there was no test.
        clock: Times it.

    Returns:
        None where the training was not to start from a run.

    Raises:
        RunError: the old run cannot be read any more.
    """
    told = None if analysis.choice is None else analysis.choice.start
    if told is None or test is None or not told.shared or len(test.paths) < FEWEST:
        return told
    target = analysis.dataset.target
    assert target is not None, "classes have their own"
    facts, found = old_answers.asked(analysis, told, test.paths, clock)
    rows, shared = found.kept, told.shared
    if len(rows) < FEWEST:
        return told
    its = [facts.classes.index(name) for name in shared]
    own = np.array([target.names.index(name) for name in shared])
    before = np.asarray(found.rows[:], np.float64)[:, its]
    after, truth = test.outputs[np.ix_(rows, own)], test.truth[np.ix_(rows, own)]
    groups = clusters.renumbered(test.groups, rows)
    compared = of_labels if target.kind == "labels" else of_numbers
    return replace(told, old=compared(told, (before, after), truth, groups))


def of_labels(
    told: StartFacts, models: tuple[Array, Array], truth: Array, groups: clusters.Clusters | None
) -> OldAnswers:
    """The mAP over the labels that both know, and each label's average precision."""
    before, after = models
    gain, noise = resampled.difference(ranking.mean_average_precision, after, before, truth, groups)
    one, two = (ranking.average_precisions(m, truth) for m in models)
    counts = truth.sum(axis=0)
    rows = tuple(
        OldScore(
            name=name,
            n=int(counts[k]),
            before=float(one[k]) if counts[k] else None,
            after=float(two[k]) if counts[k] else None,
        )
        for k, name in enumerate(told.shared)
    )
    score = ranking.mean_average_precision(before, truth)
    new = f", which also knows {_several(len(told.added), 'label')}," if told.added else ""
    return OldAnswers(
        n=len(truth),
        before=score,
        after=score + gain,
        gain=gain,
        noise=noise,
        metric="map",
        rows=rows,
        text=f"On {len(truth)} test images the old run has an mAP of {score:.3f} over the "
        f"{_several_known(len(told.shared))}, the new model{new} {score + gain:.3f} ({gain:+.3f} ± "
        f"{noise:.3f})",
    )


def _several_known(count: int) -> str:
    return "label that it knows" if count == 1 else f"{count} labels that it knows"


def of_numbers(
    told: StartFacts, models: tuple[Array, Array], truth: Array, groups: clusters.Clusters | None
) -> OldAnswers:
    """The mean absolute error of the numbers that both know, a mean over several."""
    one, two = (np.abs(m - truth) for m in models)
    less, noise = paired.paired((one - two).mean(axis=1), groups)
    before, after = float(one.mean()), float(two.mean())
    rows = tuple(
        OldScore(
            name=name, n=len(truth), before=float(one[:, k].mean()), after=float(two[:, k].mean())
        )
        for k, name in enumerate(told.shared)
    )
    return OldAnswers(
        n=len(truth),
        before=before,
        after=after,
        gain=less,
        noise=noise,
        metric="mae",
        rows=rows,
        text=f"On {len(truth)} test images the old run has an MAE of {figure(before)} for "
        f"{_named(told.shared)}, the new model {figure(after)} "
        f"({figure(-less, signed=True)} ± {figure(noise)})",
    )


def _named(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"the {len(names)} numbers that it knows"


def _several(count: int, word: str) -> str:
    return f"a new {word}" if count == 1 else f"{count} new {word}s"
