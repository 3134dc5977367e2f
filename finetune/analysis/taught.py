"""Images that have taught a network before: they are learnt from, and judge nothing."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from finetune.heads import cross_validation
from finetune.records.backbone import BackboneFacts
from finetune.records.dataset import Finding, Sample, Splits
from finetune.sources import findings

# Images that a network which was tuned before has not seen, to judge it by: with fewer a standard
# error is ten points and more.
FEWEST_NEW = 20


def rows(samples: Sequence[Sample], learnt: Collection[str]) -> npt.NDArray[np.bool_]:
    """Which samples have taught a network, or go with one that has (copies, groups), bool[N].

    Args:
        samples: N of them.
        learnt: Digests of what has taught it.
    """
    known = set(learnt)
    units = {s.unit for s in samples if s.digest in known}
    return np.array([s.unit in units for s in samples], np.bool_)


def barred(samples: Sequence[Sample], learnt: Collection[str]) -> npt.NDArray[np.bool_]:
    """The same, as far as nothing is measured on them: on all where too few others are left."""
    found = rows(samples, learnt)
    return found if np.count_nonzero(~found) >= FEWEST_NEW else np.zeros_like(found)


def ranked(
    labels: npt.NDArray[np.int64],
    learnt: npt.NDArray[np.bool_],
    most: int = cross_validation.RANKING_IMAGES,
) -> npt.NDArray[np.int64]:
    """Rows on which probes are ranked, half of them at most of those that the network knows.

    Args:
        labels: int64[N].
        learnt: Which rows have taught the network, bool[N].
        most: About how many.
    """
    most = min(most, cross_validation.RANKING_IMAGES)
    if len(labels) <= most:
        return np.arange(len(labels))
    if not learnt.any():
        share = most / len(labels)
        return cross_validation.draw(
            np.random.default_rng(0), labels, share, cross_validation.FEWEST
        )
    rng, chosen = np.random.default_rng(0), []
    new, old = np.flatnonzero(~learnt), np.flatnonzero(learnt)
    for some, room in (
        (new, max(most // 2, most - len(old))),
        (old, max(most // 2, most - len(new))),
    ):
        share = min(1.0, room / len(some))
        chosen.append(
            some[cross_validation.draw(rng, labels[some], share, cross_validation.FEWEST)]
        )
    return np.sort(np.concatenate(chosen))


def remembered(splits: Splits, about: BackboneFacts, lost: Collection[str]) -> Splits:
    """The splits less unreadable images, with what has taught the network, if it is a run's.

    Args:
        splits: As the images were divided.
        about: The network that was taken.
        lost: Paths of images that cannot be read.
    """
    return replace(
        splits,
        train=tuple(s for s in splits.train if s.path not in lost),
        val=tuple(s for s in splits.val if s.path not in lost),
        learnt=splits.learnt if about.weights.startswith("run ") else (),
    )


def unjudged(splits: Splits, samples: Sequence[Sample]) -> tuple[Finding, ...]:
    """What is to be told where the network has learnt from images that should judge it."""
    found = rows(samples, splits.learnt)
    new = int(np.count_nonzero(~found))
    told = findings.known(splits.learnt, splits.val)
    if found.any() and new < FEWEST_NEW:
        text = f"{len(found) - new} of {len(found)} {findings.KNOWN_ALL.title}"
        told += (findings.KNOWN_ALL.finding(text, ()),)
    return told
