"""Which labels look wrong, by a probe that has not seen the image: no training, no relabelling.

    issues = label_issues.find(analysis, probes.best)        # a `LabelIssues` record

Of each image the ridge probe is asked that was fitted without it and without its group (copies,
near duplicates, `--group`), in closed form (`ridge.left_out`), calibrated on these answers.

How many labels are wrong is counted as in confident learning (Northcutt et al. 2021): those where
another class is at least as likely as that class is for its own images on average. Which they are
is another question. Were a share e of all labels drawn at random, an image of features x bore its
label g by mistake with probability e u(g) / p(g|x), where p(g|x) is what a calibrated probe says
and u(g) how often a mistake falls on g: so the least likely labels are suspect, whatever the
likeliest class has. Each is taken as a share of what its class has on average, so that classes
that are hard do not flood the list. Measured in `benchmarks/label_issues.py`, with cleanlab beside.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from finetune.analysis.analyze import Analysis
from finetune.analysis.clock import Clock
from finetune.analysis.probes import Probes
from finetune.backbones import registry
from finetune.heads import calibration, ridge
from finetune.heads.cross_validation import LeftOut
from finetune.records.labels import LabelIssues, SuspectLabel
from finetune.storage import arrays
from finetune.storage.arrays import Array, Labels

NEIGHBORS = 10  # most similar images that are asked
SHOWN = 3  # of the suggested label, to be looked at beside a suspect
KEPT = 100  # suspects in a run
# Where a probe agrees with a smaller share of the labels, 3 to 6 of 10 listed were planted errors;
# elsewhere 5 to 10 (docs/labels.md).
TELLING = 0.75
QUICK = 2000  # sides of a matrix that is inverted within a second
_AT_ONCE = 256  # suspects whose neighbors are sought together


@dataclass(frozen=True)
class Judged:
    """What a probe says of labels, for each of N images.

    `given` float64[N] is the probability of the given class, `best` float64[N] that of the
    likeliest other one, `suggested` int64[N]; `usual` float64[N] the mean of `given` in its class.
    `suspects` int64[M] are the numbers of those that look wrong, the worst first.
    """

    given: Array
    best: Array
    suggested: Labels
    usual: Array
    suspects: Labels

    @property
    def quality(self) -> Array:
        """The probability of the given class as a share of the usual one: less is worse."""
        out: Array = self.given / self.usual
        return out


def of_training(analysis: Analysis, probes: Probes, clock: Clock) -> LabelIssues | None:
    """What a run keeps: the worst of all suspects; None where the network knows nothing yet.

    Features of all stages are judged by while that costs less than a second or so, else the top
    ones alone.
    """
    if registry.RANDOM in (analysis.facts.weights, analysis.options.backbone.weights):
        return None
    probe = probes.best
    if min(analysis.blocks(probe.score.taps).rows.shape) > QUICK:
        probe = probes.top
    with clock.step("labels", "looking for labels that look wrong"):
        return find(analysis, probe, KEPT)


def find(analysis: Analysis, probe: LeftOut, most: int | None = None) -> LabelIssues:
    """The labels that look wrong among all images that were analyzed.

    Args:
        analysis: The features and labels.
        probe: The features and the penalty to judge by: `probes.best`.
        most: List at most so many, the worst; None for all.
    """
    labels, classes = analysis.labels, analysis.dataset.classes
    groups = [sample.unit for sample in analysis.samples]
    blocks = replace(analysis.blocks(probe.score.taps), weights=None)  # each label is judged alike
    logits = ridge.left_out(blocks, labels, len(classes), probe.score.penalty, groups)
    judged = judge(logits, labels)
    rows = judged.suspects[:most]
    near = neighbors(blocks, labels, groups, rows, judged.suggested[rows])
    paths = [sample.path for sample in analysis.samples]
    found = len(judged.suspects)
    agrees = float((logits.argmax(axis=1) == labels).mean())
    return LabelIssues(
        images=len(labels),
        found=found,
        suspects=tuple(
            SuspectLabel(
                path=paths[row],
                given=classes[labels[row]],
                suggested=classes[judged.suggested[row]],
                given_probability=float(judged.given[row]),
                suggested_probability=float(judged.best[row]),
                margin=float(judged.given[row] - judged.best[row]),
                agreeing=some.agreeing,
                compared=some.compared,
                neighbors=tuple(paths[i] for i in some.rows),
            )
            for row, some in zip(rows.tolist(), near, strict=True)
        ),
        probe=probe.score.name,
        accuracy=agrees,
        text=_text(found, len(labels), agrees),
    )


def judge(logits: Array, labels: Labels) -> Judged:
    """Which labels are suspect.

    Args:
        logits: float64[N, C] of a probe that has not seen the image.
        labels: int64[N] in 0..C-1.
    """
    every, classes = np.arange(len(labels)), logits.shape[1]
    likely = calibration.probabilities(logits, calibration.fit_temperature(logits, labels))
    given = likely[every, labels]
    sizes = np.maximum(np.bincount(labels, minlength=classes), 1)
    usual = np.bincount(labels, given, classes) / sizes
    others = likely.copy()
    others[every, labels] = -1
    suggested = others.argmax(axis=1)
    best = others[every, suggested]
    contradicted = given < best
    confident = contradicted & (best >= usual[suggested]) & (given < usual[labels])
    rows = np.flatnonzero(contradicted)
    worst = np.argsort(given[rows] / usual[labels[rows]], kind="stable")[: confident.sum()]
    return Judged(given, best, suggested, usual[labels], rows[worst])


@dataclass(frozen=True)
class Near:
    """Of the `compared` images most similar to one, `agreeing` bear a label; `rows`: the nearest.

    `rows` bear that label too, also where they are none of the `compared`.
    """

    agreeing: int
    compared: int
    rows: tuple[int, ...]


def neighbors(
    blocks: ridge.Blocks, labels: Labels, groups: Sequence[str], rows: Labels, wanted: Labels
) -> list[Near]:
    """The images most similar to some, by the cosine of features about their mean.

    Args:
        blocks: The features of all images; stages count alike.
        labels: int64[N].
        groups: Images with equal ones are not compared.
        rows: Those whose neighbors are sought, int64[M].
        wanted: The label that these are to bear, int64[M].
    """
    out: list[Near] = []
    number = np.unique(np.array(groups), return_inverse=True)[1]
    whiten = ridge.scaler(blocks)
    for start in range(0, len(rows), _AT_ONCE):
        some = rows[start : start + _AT_ONCE]
        own = _directions(whiten(blocks.rows[some]))
        cosine = np.empty((len(some), len(labels)), np.float32)
        for part, x in arrays.parts(blocks.rows):
            cosine[:, part] = own @ _directions(whiten(x)).T
        cosine[number[some][:, None] == number[None]] = -np.inf
        for row, label in zip(cosine, wanted[start : start + _AT_ONCE], strict=True):
            order = np.argsort(-row, kind="stable")
            order = order[np.isfinite(row[order])]
            first = order[:NEIGHBORS]
            alike = order[labels[order] == label][:SHOWN]
            agreeing = int((labels[first] == label).sum())
            out.append(Near(agreeing, len(first), tuple(alike.tolist())))
    return out


def _directions(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Rows brought to length one."""
    out: npt.NDArray[np.float32] = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
    return out


def _text(found: int, images: int, agrees: float) -> str:
    """How many look wrong, and how far to believe it."""
    if not found:
        return f"None of {images} labels looks wrong."
    verb = "looks" if found == 1 else "look"
    said = f"{found} of {images} labels {verb} wrong ({found / images:.1%})."
    if agrees >= TELLING:
        return said
    return f"{said} The probe agrees with only {agrees:.0%} of all labels: expect many to be right."
