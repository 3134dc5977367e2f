"""The best probe's error where it learns from all images, not only from those it was ranked on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from finetune.analysis.analyze import Analysis
from finetune.analysis.probes import Probes
from finetune.decision.explain import beside_prior
from finetune.decision.prior import Setting
from finetune.heads import ridge
from finetune.metrics import paired
from finetune.records.analysis import Reason
from finetune.records.choices import spoken
from finetune.records.decision import Recommendation

# Images that judge: the standard error of an error of one in ten is 0.7 points.
JUDGED = 2000
STEEPEST = 0.5  # the rate of a parameter's error, 1 / sqrt(images)


def probe_error(analysis: Analysis, probes: Probes) -> float:
    """Held-out error of the best probe, a fraction of 1, at the number of images there are.

    Up to `cross_validation.RANKING_IMAGES` that is the leave-one-out error. Of more, one fold in
    five is classified by a probe that learnt from the others; what the rest of the images add, and
    those that were not looked at, follows from the learning curve's law (`at`). The head is fitted
    once more for that.
    """
    ranked = len(probes.best.labels)
    if analysis.images <= ranked or analysis.learnt.any():
        return probes.error  # what the network knows already cannot say what it will miss
    held = np.flatnonzero(analysis.fold == 0)
    learn = np.flatnonzero(analysis.fold != 0)
    if len(learn) <= ranked:
        return at(analysis.images, (ranked, probes.error), (ranked, probes.error))
    held = held[:: math.ceil(len(held) / JUDGED)]
    head = analysis.head(probes.best, learn)
    scores = ridge.score(head, analysis.blocks(probes.best.score.taps, held).rows)
    error = float(np.mean(scores.argmax(axis=1) != analysis.labels[held]))
    if analysis.counting is not None:
        _, likely = analysis.calibrated(scores, held)
        by = replace(analysis.yardstick(held), groups=None)
        by = replace(by, metric="accuracy") if by.metric == "log-loss" else by
        error = 1.0 - paired.value(likely, analysis.labels[held], by)
    found = at(analysis.images, (ranked, probes.error), (len(learn), error))
    return min(found, 1.0 - 1.0 / len(analysis.dataset.classes))


def told(advice: Recommendation, probes: Probes, setting: Setting) -> Recommendation:
    """The recommendation with a reason, beside the prior's, where probes were ranked on a part."""
    ranked = len(probes.best.labels)
    if setting.images <= ranked:
        return advice
    text = (
        f"The error of {spoken(probes.name)} is {100 * probes.error:.1f} % on the {ranked} images "
        f"on which probes are ranked and about {100 * setting.probe_error:.1f} % where it learns "
        f"from all {setting.images}: what tuning may gain is told by the latter"
    )
    return beside_prior(advice, Reason("headroom", text))


def at(images: int, fewer: tuple[int, float], more: tuple[int, float]) -> float:
    """Error with so many images, from (images, error) at two sizes, by a power law.

    Learning curves follow error = a images^-b (Hestness et al. 2017: b from 0.07 to 0.35). No more
    than `STEEPEST` is believed: from 8 to 26 images of each of 100 classes an error fell so fast
    that rest + slope / sqrt(images), the law of `size.measure_size`, ended at none, where it was
    measured later (docs/log.md, 2026-11-26). An error that did not fall is taken as it is.
    """
    (few, first), (many, last) = fewer, more
    if many <= few or last <= 0 or first <= last:
        return last
    falls = min(STEEPEST, math.log(first / last) / math.log(many / few))
    return float(last * (max(images, many) / many) ** -falls)
