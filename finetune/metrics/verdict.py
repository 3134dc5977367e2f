"""Is a model better than always answering the commonest class? Tests on counts; pure numpy."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from finetune.metrics import mistakes
from finetune.records.dataset import FindingKind
from finetune.records.errors import printable
from finetune.records.metrics import Metrics, Standing

# One-sided, as one end of a 95 % interval.
ALPHA = 0.025
# Images of other classes than the commonest, which alone can show that a model is better. With
# fewer than six no test of them can; with 20, right answers to four of five show it eight times of
# ten (exact test, half of the images commonest).
FEW_OTHERS = 20
SHUFFLES = 999  # a share of 0.025 is known to 0.01 then
MOST_SHUFFLED = 20_000  # of more images than these the counts tell by themselves
NO_BETTER = FindingKind(
    "FT210",
    "warning",
    "no better than always answering the commonest class",
    "Check the wrong answers and what `finetune check` says of the pictures: can a person "
    "distinguish the classes in them?",
)
RARER_FOUND = FindingKind(
    "FT211",
    "note",
    "right no more often than by always answering the commonest class, but rarer classes are found",
    "Judge by balanced accuracy and the recall of each class.",
)
KINDS = (NO_BETTER, RARER_FOUND)
CODES = frozenset(kind.code for kind in KINDS)


def against_commonest(
    measured: Metrics, source: str, estimate: tuple[Metrics, str] | None = None
) -> Standing:
    """Hold a result against always answering the commonest class, on the same images.

    The images that only one of the two has right are a fair coin if neither is better (McNemar
    1947, exact). Where that does not show a lead, labels shuffled among the images tell whether
    balanced accuracy, of which always answering one class has 1/C, is chance.

    Args:
        measured: What a test, or cross-validation, has shown.
        source: What it was measured on: `120 test images`.
        estimate: An estimate on other images that also counts where there are few here, and what
            it was measured on.
    """
    counts = _counts(measured)
    others = int(counts.sum() - counts.max())
    if others == 0:
        name = measured.per_class[int(counts.argmax())].name
        return Standing(None, f"all {source} are of '{name}': nothing to hold a result against")
    tables = [mistakes.cells(measured)]
    if estimate is not None and others < FEW_OTHERS:
        tables.append(mistakes.cells(estimate[0]))
        counts = counts + _counts(estimate[0])
        source = f"{source} (few by themselves) and {estimate[1]}"
    return _standing(np.concatenate(tables), counts, measured, source)


def _standing(
    cells: mistakes.Cells, counts: npt.NDArray[np.int64], measured: Metrics, source: str
) -> Standing:
    common = int(counts.argmax())
    name = measured.per_class[common].name
    hits = cells[cells[:, 0] == cells[:, 1]]
    correct = int(hits[:, 2].sum())
    both = int(hits[hits[:, 0] == common, 2].sum())
    ours, theirs = correct - both, int(counts[common]) - both
    chance = _tail(ours, ours + theirs)
    against = f"always answering '{printable(name)}'"
    told = (
        f"{correct} of {int(counts.sum())} right where that has {int(counts[common])}, on {source}"
    )
    if chance <= ALPHA:
        return Standing(True, f"better than {against}: {told} ({_percent(chance)} by chance)")
    lead = f"not distinguishable from {against}" if ours > theirs else f"no better than {against}"
    text = f"{lead}: {told}"
    if ours > theirs:
        text += f" ({_percent(chance)} by chance)"
    balanced, luck = _balanced(cells, counts)
    if luck <= ALPHA:
        present = int((counts > 0).sum())
        text += (
            f"; but its answers go with the labels: balanced accuracy {balanced:.1%}, where one "
            f"answer for all has {1 / present:.1%}"
        )
        return Standing(False, text, (RARER_FOUND.finding(text, ()),))
    return Standing(False, text, (NO_BETTER.finding(text, ()),))


def _counts(metrics: Metrics) -> npt.NDArray[np.int64]:
    return np.array([c.n for c in metrics.per_class], np.int64)


def _tail(k: int, n: int) -> float:
    """Chance of `k` heads or more in `n` throws of a fair coin; 1 where there is none."""
    terms = (
        math.exp(math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2))
        for i in range(k, n + 1)
    )
    return min(1.0, math.fsum(terms))


def _balanced(cells: mistakes.Cells, counts: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Balanced accuracy, and how often labels shuffled among the images give as much."""
    labels, called = (np.repeat(cells[:, i], cells[:, 2]) for i in (0, 1))
    rng = np.random.default_rng(0)
    if len(labels) > MOST_SHUFFLED:
        some = rng.choice(len(labels), MOST_SHUFFLED, replace=False)
        labels, called = labels[some], called[some]
        counts = np.bincount(labels, minlength=len(counts))
    weights = 1.0 / (np.maximum(counts, 1) * int((counts > 0).sum()))
    reached = float(weights[labels[labels == called]].sum())
    as_good = 0
    for _ in range(SHUFFLES):
        rng.shuffle(labels)
        as_good += float(weights[labels[labels == called]].sum()) >= reached - 1e-12
    return reached, (1 + as_good) / (1 + SHUFFLES)


def _percent(chance: float) -> str:
    return "less than 0.1 %" if chance < 0.001 else f"{100 * chance:.1f} %"
