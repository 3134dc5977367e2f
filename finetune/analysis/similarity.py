"""How near the data is to ImageNet: parts that vote, shown one by one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from finetune.records.analysis import Part, Reason, SimilarityProfile
from finetune.records.choices import Similarity, Verdict

Labels = npt.NDArray[np.int64]
Right = npt.NDArray[np.bool_]
# Thresholds of the parts, (similar, different), read off twelve sets and checked by leaving one
# out: 7 of 9 near and far sets right, 2 uncertain, none wrong (docs/log.md, 2026-11-23).
APPEARANCE = (0.60, 0.40)
AGREEMENT = (0.22, 0.17)
LEADS = 2.0  # standard errors
FEWEST_IMAGES = 30  # with fewer, drift cannot be told from narrowness
NARROW = 0.04
SMOOTHING = 0.03  # images of the prior for each ImageNet class; more hides what few images tell
OVERLAP = 0.5
OVERLAP_IMAGES = 5
# Mean probability of the ImageNet class on the images it calls. Photographs of it have 0.58 to
# 0.78, narrow crops of them 0.32 to 0.34, line drawings of it 0.31 to 0.39; blank pictures and
# noise that it happens to call up to 0.13, drawn shapes up to 0.24, strokes and stripes up to 0.61
# (docs/log.md, 2026-11-25).
SURE_OF_PHOTOGRAPHS, SURE_OF_OTHERS, SURE_OF_NAMED = 0.25, 0.7, 0.4


def drift(shifts: npt.NDArray[np.float32]) -> tuple[float, float]:
    """One BatchNorm layer on some images: how far off they are, and how much they differ.

    Args:
        shifts: Each image's channel means less the stored ones, in stored standard deviations,
            float32[N,C].

    Returns:
        The root of the squared distance of the images' mean from the stored one, without what
        chance adds to it, averaged over channels; and the variance between images, likewise.
    """
    z = shifts.astype(np.float64)
    between = z.var(axis=0, ddof=1)
    squared = np.square(z.mean(axis=0)) - between / len(z)
    return float(np.sqrt(np.maximum(squared, 0.0)).mean()), float(between.mean())


def appearance(drift: float | None, noise: float | None) -> Part:
    """How near the images look to what the first two thirds of the layers were trained on.

    Args:
        drift: Mean over these BatchNorm layers of the distance from the stored statistics, in
            stored standard deviations; None where the network has none.
        noise: The same of uniform noise, which makes the scale the same for any network.
    """
    text = "1 - drift of BatchNorm's inputs from their stored statistics / that of random pixels"
    value = None if drift is None or not noise else 1.0 - drift / noise
    return _part("BatchNorm drift", value, *APPEARANCE, text)


def agreement(probabilities: npt.NDArray[np.float32] | None, labels: Labels, fold: Labels) -> Part:
    """How much of the labels the ImageNet classes tell, out of fold.

    The predictor is p(y|x) = sum over ImageNet classes z of p(y|z) p(z|x), as in LEEP (Nguyen et
    al. 2020), but p(y|z) is estimated on the other folds.

    Args:
        probabilities: The ImageNet classifier's softmax, float32[N, 1000]; None without one.
        labels: int64[N].
        fold: int64[N].
    """
    text = "share of the labels' entropy that the ImageNet classes predict, out of fold"
    value = None if probabilities is None else _told(probabilities, labels, fold)
    return _part("label agreement", value, *AGREEMENT, text)


def confidence(probabilities: npt.NDArray[np.float32] | None) -> Part:
    """How sure the ImageNet classifier is; shown, without a vote, for networks differ in it."""
    value = None if probabilities is None else float(probabilities.max(axis=1).mean())
    text = "mean probability of the likeliest ImageNet class; shown only, networks differ in it"
    return Part("ImageNet confidence", value, None, None, "uncertain", text)


def depth(top: Right, lower: Mapping[str, Right]) -> Part:
    """Whether a linear classifier on lower stages beats the one on the top features.

    If it does, what the last layers learnt on ImageNet does not fit; if not, that proves nothing.

    Args:
        top: Which images a probe on the top features classified rightly out of fold, bool[N].
        lower: The same for stages below the top; empty where none was fitted.
    """
    value, text = None, "gain of the best lower stage over the top, in standard errors"
    if lower:
        name = max(lower, key=lambda n: float(lower[n].mean()))
        difference = lower[name].astype(float) - top.astype(float)
        gain = float(difference.mean())
        # a lead of one image is never more than noise
        noise = max(float(difference.std(ddof=1) / np.sqrt(len(top))), 1 / len(top))
        value = gain / noise if len(top) >= FEWEST_IMAGES else None
        text += f" ({name}: {100 * gain:+.1f} ± {100 * noise:.1f} points); never says similar"
    return _part("stage profile", value, None, LEADS, text)


_NEARNESS: dict[Verdict, str] = {
    "similar": "Similar to ImageNet",
    "different": "Different from ImageNet",
    "uncertain": "Similarity to ImageNet is uncertain",
}


def similarity(
    parts: Sequence[Part], images: int, drift: Mapping[str, float], diversity: float | None
) -> SimilarityProfile:
    """What the parts say together: each votes, a tie is settled by the stage profile.

    Args:
        parts: From `appearance`, `agreement`, `confidence` and `depth`.
        images: How many images were measured; too few make the verdict uncertain.
        drift: Mean drift of BatchNorm's inputs by stage.
        diversity: Variance between the images as a share of ImageNet's.
    """
    vote = {"similar": 1, "different": -1, "uncertain": 0}
    two = [p for p in parts if p.similar is not None]
    total = sum(vote[p.verdict] for p in two)
    deeper = any(p.similar is None and p.verdict == "different" for p in parts)
    leaning_by = sum(lean(p) for p in two)
    tie_settled = not total and deeper
    decided: Similarity | None = "similar" if total > 0 else None
    if total < 0 or tie_settled:
        decided = "different"
    if images < FEWEST_IMAGES:
        decided = None
    verdict: Verdict = decided or "uncertain"
    leaning: Similarity = "different" if leaning_by < 0 or tie_settled else "similar"
    column = decided or leaning
    told = [f"{p.name} {p.value:.2f} says {p.verdict}" for p in parts if _votes(p)]
    text = f"{_NEARNESS[verdict]}: {', '.join(told) or 'nothing could be measured'}"
    if verdict == "uncertain":
        why = "the parts do not agree" if told else "no weights from ImageNet to compare with"
        why = f"only {images} images" if images < FEWEST_IMAGES else why
        text += f" ({why}); taken as {column}"
    missing = [p.name for p in two if p.value is None]
    if missing and told:
        text += (
            f". {' and '.join(missing)} could not be measured with this backbone, which lacks "
            "BatchNorm or ImageNet's own weights and classes: the verdict rests on less"
        )
    if diversity is not None and diversity < NARROW:
        text += (
            f". The images differ little from each other (diversity {diversity:.3f}, narrow below "
            f"{NARROW}), which makes them look farther than they are"
        )
    return SimilarityProfile(
        verdict, column, tuple(parts), dict(drift), diversity, Reason("similarity", text)
    )


def overlap(
    probabilities: npt.NDArray[np.float32],
    labels: Labels,
    classes: Sequence[str],
    known: Sequence[str],
    *,
    photographs: bool,
) -> dict[str, int]:
    """Classes that are ImageNet classes: class → number of the ImageNet class.

    At least half of the images of the class, and five, are called by one ImageNet class, and it is
    really in them: either it bears the name of the class and is fairly sure of these images, or it
    calls mostly them and is surer than it is of pictures in which it cannot be. These are blank
    ones and noise where the pictures are photographs; strokes and drawings where they are not.

    Args:
        probabilities: The ImageNet classifier's softmax, float32[N, 1000].
        labels: int64[N] in 0..C-1.
        classes: C names.
        known: The names of the ImageNet classes, synonyms set off by commas.
        photographs: Do the images look like ImageNet's to the first layers (`appearance`)?
    """
    called = probabilities.argmax(axis=1)
    enough = SURE_OF_PHOTOGRAPHS if photographs else SURE_OF_OTHERS
    found = {}
    for label, name in enumerate(classes):
        own = called[labels == label]
        values, counts = np.unique(own, return_counts=True)
        if not len(own):
            continue
        likeliest, count = int(values[counts.argmax()]), int(counts.max())
        if count < OVERLAP_IMAGES or count < OVERLAP * len(own):
            continue
        alone = count / int((called == likeliest).sum())
        sure = float(probabilities[(labels == label) & (called == likeliest), likeliest].mean())
        named = _same_name(name, known[likeliest])
        if (named and sure >= SURE_OF_NAMED) or (alone > OVERLAP and sure >= enough):
            found[name] = likeliest
    return found


def _same_name(name: str, synonyms: str) -> bool:
    """Does a class bear one of the names of an ImageNet class, or the noun that one ends in?"""
    own = _words(name)
    others = [_words(part) for part in synonyms.split(",")]
    return bool(own) and any(
        words and (own[-1] == words[-1] or "".join(own) == "".join(words)) for words in others
    )


def _words(name: str) -> list[str]:
    """The words of a name, in the singular as far as an s tells."""
    words: list[str] = re.findall(r"[^\W\d_]+", name.lower())
    return [
        re.sub(r"ies$", "y", w) if w.endswith("ies") else re.sub(r"(?<=[^s])s$", "", w)
        for w in words
    ]


def _part(
    name: str, value: float | None, similar: float | None, different: float, text: str
) -> Part:
    """Hold a value against its thresholds."""
    verdict: Verdict = "uncertain"
    if value is not None:
        up = similar is None or similar < different  # larger values mean different
        if (value >= different) if up else (value <= different):
            verdict = "different"
        elif similar is not None and ((value <= similar) if up else (value >= similar)):
            verdict = "similar"
    return Part(name, value, similar, different, verdict, text)


def _votes(part: Part) -> bool:
    return part.value is not None and part.different is not None


def lean(part: Part) -> float:
    """How far a part is on the similar side of the middle between its thresholds, in halves."""
    if part.value is None or part.similar is None or part.different is None:
        return 0.0
    middle, half = (part.similar + part.different) / 2, (part.similar - part.different) / 2
    return float(np.clip((part.value - middle) / half, -2, 2))


def _told(probabilities: npt.NDArray[np.float32], labels: Labels, fold: Labels) -> float:
    """1 - cross-entropy out of fold / entropy of the labels."""
    hot = np.eye(int(labels.max()) + 1)[labels]
    chosen = np.empty(len(labels))
    for f in np.unique(fold):
        rest, held = fold != f, fold == f
        prior = (hot[rest].sum(axis=0) + 1) / (rest.sum() + hot.shape[1])
        joint = probabilities[rest].T.astype(np.float64) @ hot[rest]
        given = (joint + SMOOTHING * prior) / (joint.sum(axis=1, keepdims=True) + SMOOTHING)
        predicted = probabilities[held] @ given
        chosen[held] = predicted[np.arange(int(held.sum())), labels[held]]
    share = hot.mean(axis=0)
    entropy = -float((share[share > 0] * np.log(share[share > 0])).sum())
    return 1.0 + float(np.log(np.maximum(chosen, 1e-12)).mean()) / entropy
