"""Do images have an up and a down? Told by a probe that has to tell them from flipped ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from finetune.backbones.inference import TOP, Engine, Features, Pixels
from finetune.heads import cross_validation, kernels, ridge
from finetune.metrics import paired
from finetune.records.analysis import Upright

# So many images, the classes in turn; with fewer, hardly anything could be told from chance.
SAMPLE, FEWEST = 200, 60
BATCH = 32
# Standard errors that count as chance (docs/log.md, 2026-11-26): of half of the images, which
# guessing has right, and of a loss of accuracy.
CHANCE = 2.0


def flipped(
    paths: Sequence[Path], decode: Callable[[Path], Pixels], engine: Engine, tap: str
) -> Features:
    """Features float32[M,F] of image files upside down; `decode` gives uint8[S,S,3] of one."""
    rows = []
    for start in range(0, len(paths), BATCH):
        some = [decode(path) for path in paths[start : start + BATCH]]
        rows.append(engine.forward(np.ascontiguousarray(np.stack(some)[:, ::-1])))
    return np.concatenate(rows)[:, slice(*engine.layout[tap])]


def unmeasured(count: int) -> Upright:
    """Of too few images nothing is said: they stay as they are."""
    return Upright(True, f"{count} images are too few to measure up and down (at least {FEWEST})")


def judge(
    plain: Features, turned: Features, labels: npt.NDArray[np.int64], groups: Sequence[str]
) -> Upright:
    """Hold images against the same upside down.

    Two questions to linear classifiers, each asked of images that they did not learn from. Which of
    the images are flipped? Where up and down mean nothing, flipped images are drawn like the
    others, and nobody can say. And what classes are the flipped ones of?

    Args:
        plain: Features float32[M,F] of the images.
        turned: Of the same upside down.
        labels: int64[M].
        groups: Images with equal ones (near duplicates, the same patient) stay together.
    """
    count = len(labels)
    told = _apart(plain, turned, groups)
    lost, error = _lost(plain, turned, labels, groups)
    found = (
        f"linear classifiers tell images upside down from the others at {told:.0%} (guessing has "
        f"50%), and their class {100 * lost:.1f} ± {100 * error:.1f} points worse ({count} images)"
    )
    blind = told <= 0.5 + CHANCE * 0.5 / math.sqrt(count)
    return Upright(not blind or lost > CHANCE * error, found)


def _apart(plain: Features, turned: Features, groups: Sequence[str]) -> float:
    """The share of images and flipped images that are told to be what they are."""
    both = np.concatenate([plain, turned])
    kernel = kernels.stage_kernels(both, {TOP: (0, both.shape[1])})[TOP]
    which = np.repeat([0, 1], len(plain))
    pairs = [*groups, *groups]  # an image would give its own flipped copy away
    found = cross_validation.leave_out(TOP, (TOP,), kernel, which, both.shape[1], pairs)
    return found.score.accuracy


def _lost(
    plain: Features, turned: Features, labels: npt.NDArray[np.int64], groups: Sequence[str]
) -> tuple[float, float]:
    """How much less accurate the probe is on flipped images, and the standard error of that."""
    width, classes = plain.shape[1], int(labels.max()) + 1
    kernel = kernels.stage_kernels(plain, {TOP: (0, width)})[TOP]
    l2 = cross_validation.leave_out(TOP, (TOP,), kernel, labels, width, groups).score.penalty
    fold = cross_validation.folds(labels, groups)
    correct = np.zeros((2, len(labels)))
    for number in np.unique(fold):
        rows, held = fold != number, fold == number
        blocks = ridge.Blocks(plain[rows], ((0, width),))
        head = ridge.fit(blocks, labels[rows], classes, l2, 1.0)
        for i, some in enumerate((plain[held], turned[held])):
            correct[i, held] = ridge.score(head, some).argmax(axis=1) == labels[held]
    return paired.paired(correct[0] - correct[1])
