"""What tuning gained on other data sets, and how trials change that belief."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from finetune.records.choices import Similarity, Strategy
from finetune.records.decision import Gain, TrialResult


@dataclass(frozen=True)
class Belief:
    """What other data sets have shown of one way of tuning, as shares of the probe's `stake`.

    `lead` is the mean lead over the best probe at 100 training images, `slope` how much more it is
    with ten times as many, `spread` the standard deviation around that. `handicap` is
    what a short tuning on half of the images falls short of it, and `trial_spread` how far its word
    may be off beside its own noise.
    """

    lead: float
    slope: float
    spread: float
    trial_bias: float
    trial_sd: float


# Fitted by `python benchmarks/regret.py --report` on twelve data sets (docs/log.md).
BELIEFS: dict[Similarity, dict[Strategy, Belief]] = {
    "similar": {
        "partial": Belief(0.01, 0.09, 0.13, 0.14, 0.19),
        "deep": Belief(0.08, 0.18, 0.13, 0.43, 0.18),
    },
    "different": {
        "partial": Belief(0.19, -0.37, 0.54, 0.14, 0.29),
        "deep": Belief(0.25, 0.05, 0.40, 0.30, 0.50),
    },
}
SURE = 2.0  # spreads; about one chance in forty beyond
# Spreads. Beyond, a second half changed no choice; below, tuning is not taken: where it was, it was
# as often worse than the probe as better (docs/log.md, 2026-11-25).
SETTLED = 0.5
LEAST_HEADROOM = 0.03  # below this a share is a share of one or two images


def weigh(belief: Belief, images: int, probe_error: float, trials: Sequence[TrialResult]) -> Gain:
    """What to believe of tuning's lead over the best probe: a prior, and trials counted in.

    Prior and trials are taken as normal, so the result is their mean weighted by precision.

    Args:
        belief: What other data sets of this column have shown.
        images: How many there are to learn from.
        probe_error: Cross-validated error of the best probe, a fraction of 1.
        trials: Short tunings, each judged on other images.
    """
    share = belief.lead + belief.slope * math.log10(max(images, 1) / 100)
    scale = headroom(probe_error)
    prior, spread = share * scale, belief.spread * scale
    if not trials:
        return Gain(prior, spread, prior, spread)
    trial_bias = belief.trial_bias * scale
    gain, noise = pooled(trials)
    off = math.hypot(noise, belief.trial_sd * scale)
    precision = 1 / spread**2 + 1 / off**2
    mean = (prior / spread**2 + (gain + trial_bias) / off**2) / precision
    allowed = trial_bias + off
    return Gain(prior, spread, mean, math.sqrt(1 / precision), allowed, gain < -allowed)


def headroom(probe_error: float) -> float:
    """What tuning may gain over a probe of this error: error times accuracy, but never nothing.

    Of a small error tuning removes a share; an error beyond one half tells of classes that vary too
    much for the images there are, and of that it removes less (docs/log.md, 2026-11-23).
    """
    return max(probe_error * (1 - probe_error), LEAST_HEADROOM)


def pooled(trials: Sequence[TrialResult]) -> tuple[float, float]:
    """Gain of all trials together, weighted by precision, and its noise."""
    # one image more or less is never beyond noise, even where all happened to agree
    weights = [1 / max(t.noise, 1 / t.judged_on) ** 2 for t in trials]
    gain = sum(w * t.gain for w, t in zip(weights, trials, strict=True)) / sum(weights)
    return gain, 1 / math.sqrt(sum(weights))


def wins(lead: Gain) -> bool:
    """Whether tuning is to be preferred: that it leads is settled, and it was not seen behind.

    Behind means by more than a short trial falls short and its word may be off, on images that it
    did not learn from: the floor. In doubt the cheap probe is kept.
    """
    return lead.mean > 0 and settled(lead) and not lead.behind


def candidate(beliefs: Mapping[Strategy, Belief], images: int, probe_error: float) -> Strategy:
    """The way of tuning that is expected to do best, before any trial: the only one tried."""
    return max(beliefs, key=lambda name: weigh(beliefs[name], images, probe_error, ()).prior)


def worth_trying(lead: Gain, probe_error: float) -> bool:
    """Whether tuning may win at all: the probe makes errors, and the lead could be above zero."""
    return probe_error > 0 and lead.mean + SURE * lead.spread > 0


def settled(lead: Gain) -> bool:
    """Whether the sign of the lead is beyond reasonable doubt, so that no more need be tried."""
    return abs(lead.mean) > SETTLED * lead.spread
