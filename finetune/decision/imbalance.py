"""What uneven classes put at stake, and for which shares of them a model is made: in words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from finetune.analysis.analyze import Analysis
from finetune.heads import calibration, logit_adjustment
from finetune.heads.cross_validation import LeftOut
from finetune.heads.logit_adjustment import Wanted
from finetune.metrics import classification
from finetune.records.analysis import Reason
from finetune.records.choices import spoken_metric
from finetune.records.decision import Recommendation
from finetune.records.errors import printable
from finetune.records.run import SharesFacts
from finetune.storage.arrays import Array


def told(advice: Recommendation, analysis: Analysis, probe: LeftOut) -> Recommendation:
    """The recommendation with what is to be said of the classes' shares, before its last reason."""
    reasons = [r for r in (_shares(analysis), _metric(analysis), _stake(analysis, probe)) if r]
    return replace(advice, reasons=(*advice.reasons[:-1], *reasons, advice.reasons[-1]))


def facts(analysis: Analysis, shift: Array | None) -> SharesFacts | None:
    """What a run keeps of the shares its model is made for; None where they are as in training.

    Args:
        analysis: The data.
        shift: What moves the model's calibrated scores, float64[C].
    """
    reason = _shares(analysis)
    if analysis.wanted is None or reason is None or shift is None:
        return None
    classes, asked = analysis.dataset.classes, analysis.options.decision
    trained = analysis.class_counts / analysis.class_counts.sum()

    def named(values: npt.NDArray[np.float64]) -> dict[str, float]:
        return dict(zip(classes, values.tolist(), strict=True))

    return SharesFacts(
        asked=asked.prior,
        metric=asked.judged_by,
        trained=named(trained),
        wanted=named(analysis.wanted.shares),
        shift=named(shift),
        reason=reason.text,
    )


def _shares(analysis: Analysis) -> Reason | None:
    """That scores were moved to other shares, by how much."""
    asked, shift = analysis.options.decision.prior, analysis.shift()
    if shift is None:
        return None
    low, high = (printable(analysis.dataset.classes[i]) for i in (shift.argmin(), shift.argmax()))
    text = (
        f"--prior {asked}: probabilities are for classes that are "
        f"{'equally frequent' if asked == 'uniform' else 'as frequent as that file says'} where "
        "the model is used. To each class's calibrated score the log of its wanted share less the "
        "log of its share of the training images is added (Menon et al. 2021)"
    )
    if shift.max() > shift.min():
        text += f": most to '{high}', {np.ptp(shift):.1f} more than to '{low}'"
    return Reason("shares", text)


def _metric(analysis: Analysis) -> Reason | None:
    """What models are compared by, where that is not the accuracy on the images as they are."""
    asked = analysis.options.decision
    if asked.metric is not None and asked.metric != "accuracy":
        text = f"Models are compared by {spoken_metric(asked.metric)}: you asked for it"
        if asked.metric == "log-loss":
            text += "; a tenth less of it counts as a tenth fewer errors do"
        return Reason("metric", text)
    if asked.metric is None and asked.prior == "uniform":
        text = "where classes are equally frequent, that is the accuracy"
        return Reason("metric", f"Models are compared by {spoken_metric(asked.judged_by)}: {text}")
    if asked.prior not in ("train", "uniform") and asked.judged_by == "accuracy":
        text = "an image counts as often as its class will be seen"
        return Reason("metric", f"Models are compared by the accuracy at the wanted shares: {text}")
    return None


def _stake(analysis: Analysis, probe: LeftOut) -> Reason | None:
    """What the probe's leave-one-out promises of common and rare classes, either way."""
    counts = analysis.class_counts
    common, rare = int(counts.argmax()), int(counts.argmin())
    ratio = counts[common] / max(1, counts[rare])
    if ratio < classification.UNEVEN:
        return None
    even = logit_adjustment.uniform(len(counts))
    recalls = {
        "train": _recalls(probe, analysis.wanted, None),
        "uniform": _recalls(probe, analysis.wanted, even),
    }
    first = "uniform" if analysis.options.decision.prior == "uniform" else "train"
    other = "train" if first == "uniform" else "uniform"
    names = [printable(analysis.dataset.classes[c]) for c in (common, rare)]

    def said(prior: str) -> str:
        found = recalls[prior]
        return (
            f"{found[common]:.0%} of '{names[0]}' and {found[rare]:.0%} of '{names[1]}' with "
            f"--prior {prior} (balanced accuracy {found.mean():.1%})"
        )

    return Reason(
        "imbalance",
        f"The commonest class '{names[0]}' has {counts[common]} images, {ratio:.0f} times as many "
        f"as the rarest, '{names[1]}' ({counts[rare]}): by leave-one-out the best probe recognizes "
        f"{said(first)}, {said(other)}",
    )


def _recalls(probe: LeftOut, now: Wanted | None, wanted: Wanted | None) -> npt.NDArray[np.float64]:
    """Recall of each class float64[C] at shares other than those that the scores are for now."""
    labels, raw = probe.labels, probe.logits
    if now is not None:
        raw = raw - probe.temperature * now.shift(labels)
    answers = raw
    if wanted is not None:
        shift, weights = wanted.shift(labels), wanted.weights(labels)
        temperature = calibration.fit_temperature(raw, labels, shift, weights)
        answers = raw + temperature * shift
    right = answers.argmax(axis=1) == labels
    counts = np.bincount(labels, minlength=raw.shape[1])
    out: npt.NDArray[np.float64] = np.bincount(labels, right, minlength=raw.shape[1]) / np.maximum(
        counts, 1
    )
    return out
