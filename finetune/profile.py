"""Measure the two axes of the decision table, size and similarity, from images and probes."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from finetune.records import Reason, Similarity, SimilarityProfile, Size, SizeProfile

Labels = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]

# Below about 1,000 images tuning's lead over probes is unsure, above it is the rule: VTAB at 1,000
# images and Kornblith et al. 2019 from 2,000 on bracket it. Ten of the rarest class is where
# one-in-ten errors begin to be visible at all.
LARGE_IMAGES = 1000
LARGE_RAREST = 10

_PREFIX = "class|digit|letter|char|character|num|number|sym|symbol|glyph|sign|label"
# a lone letter or number, perhaps after a prefix; `charm` is a word, `char_m` and `char7` are not
_SYMBOL = re.compile(
    rf"^(?:(?:{_PREFIX})[ _-]+(?:[a-z]|\d{{1,3}})|(?:{_PREFIX})?\d{{1,3}}|[^\W\d_]"
    r"|[a-z][ _-]+(?:upper|lower|cap|capital|small)(?:case)?"
    r"|zero|one|two|three|four|five|six|seven|eight|nine|ten)$",
    re.IGNORECASE,
)
# a direction at the end or before a body part or sign: `left_hand`, `turnRight`; not `right_whale`
_DIRECTION = re.compile(
    r"(?:(?:^|[ _-])(?:left|right|clockwise|anticlockwise|counterclockwise)|Left|Right)$"
    r"|^(?:left|right)[ _-]+(?:hand|foot|eye|ear|arm|leg|side|turn|arrow|lane|profile)s?$"
)


def size(labels: Labels, classes: int) -> SizeProfile:
    """Small or large, by the number of images and of those of the rarest class."""
    counts = np.bincount(labels, minlength=classes)
    rarest = int(counts.min())
    large = len(labels) >= LARGE_IMAGES and rarest >= LARGE_RAREST
    verdict: Size = "large" if large else "small"
    text = (
        f"{len(labels)} images to learn from, {rarest} of the rarest class; large means at least "
        f"{LARGE_IMAGES} and {LARGE_RAREST}"
    )
    return SizeProfile(verdict, len(labels), rarest, classes, Reason("size", text))


def similarity(top: Right, lower: Mapping[str, Right]) -> SimilarityProfile:
    """Similar or different, by the depth profile of the stage probes.

    If a classifier on a lower stage beats the one on the top features by more than one standard
    error of the paired difference, the last layers have specialised on something else: the data is
    different.

    Args:
        top: Which images a probe on the top features classified rightly out of fold, bool[N].
        lower: The same for stages below the top, alone or together; empty where none was fitted.
    """
    if not lower:
        text = "not measured: only the top features were asked for; taken as similar"
        return SimilarityProfile("similar", None, None, Reason("stage-profile", text))
    name = max(lower, key=lambda n: float(lower[n].mean()))
    difference = lower[name].astype(float) - top.astype(float)
    gain = float(difference.mean())
    # a lead of one image is never more than noise, whichever way the division rounds
    noise = max(float(difference.std(ddof=1) / np.sqrt(len(top))), 1 / len(top)) * (1 + 1e-9)
    verdict: Similarity = "different" if gain > noise else "similar"
    best, highest = 100 * float(lower[name].mean()), 100 * float(top.mean())
    text = (
        f"a linear classifier on the top features gets {highest:.1f} %, on the best features below "
        f"it ({name}) {best:.1f} % (cross-validated); "
    )
    text += (
        f"a lead of the lower ones by more than {100 * noise:.1f} points would mean different"
        if verdict == "similar"
        else f"the lead of {100 * gain:.1f} points is more than noise ({100 * noise:.1f}): what "
        "the last layers learnt on ImageNet does not fit these images"
    )
    return SimilarityProfile(verdict, gain, noise, Reason("stage-profile", text))


def symbols(classes: Sequence[str]) -> tuple[bool, str]:
    """Do the class names look like letters, digits or directions, which a flip would change?

    One direction is enough, of the others more than half.
    """
    turned = [c for c in classes if _DIRECTION.search(c)]
    hits = turned or [c for c in classes if _SYMBOL.match(c)]
    if turned or 2 * len(hits) > len(classes):
        return True, f"class names such as '{hits[0]}' look like letters, digits or directions"
    return False, "class names do not look like letters, digits or directions"
