"""What tuning gained on other data sets, and how trials change that belief."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from finetune.records.choices import Similarity, Strategy
from finetune.records.decision import Beyond, Gain, TrialResult


@dataclass(frozen=True)
class Belief:
    """What other data sets have shown of one way of tuning, as shares of the probe's `headroom`.

    `lead` is the mean lead over the best probe at 100 training images, `slope` how much more it is
    with ten times as many, `spread` the standard deviation around that. `trial_bias` is what a
    short tuning on half of the images falls short of it, and `trial_sd` how far its word may be off
    beside its own noise. These data sets had `least_images` to `most_images` training images and at
    most `most_classes` classes.
    """

    lead: float
    slope: float
    spread: float
    trial_bias: float
    trial_sd: float
    least_images: float = 0.0
    most_images: float = math.inf
    most_classes: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a belief is asked of: images to learn from, classes, and the best probe's error.

    `probe_error` is a fraction of 1, held out, where the probe has learnt from all `images`.
    """

    images: int
    classes: int
    probe_error: float


# Fitted by `python benchmarks/regret.py --report` on twelve data sets (docs/log.md). `blend` is
# what deep tuning and the probe gained together; the trials before it are of deep tuning alone.
BELIEFS: dict[Similarity, dict[Strategy, Belief]] = {
    "similar": {
        "partial": Belief(0.01, 0.09, 0.14, 0.15, 0.19, 15, 1431, 24),
        "deep": Belief(0.09, 0.17, 0.18, 0.37, 0.07, 15, 1431, 24),
        "blend": Belief(0.13, 0.10, 0.13, 0.39, 0.04, 15, 1431, 24),
    },
    "different": {
        "partial": Belief(0.20, -0.36, 0.55, 0.15, 0.29, 10, 2000, 24),
        "deep": Belief(0.29, -0.05, 0.46, 0.34, 0.51, 10, 2000, 24),
        "blend": Belief(0.40, 0.01, 0.36, 0.47, 0.52, 10, 2000, 24),
    },
}
SURE = 2.0  # standard deviations; about one chance in forty beyond
# Standard deviations. Beyond, a second half changed no choice; below, tuning is not taken: where it
# was, it was as often worse than the probe as better (docs/log.md, 2026-11-26).
SETTLED = 0.65
# The same before any trial: `train` proves what `recommend` expects, so it need be less sure.
EXPECTED = 0.5
# Standard deviation, as a share of the headroom, that a factor of ten beyond the measured data sets
# adds: by so much data sets differ in how their lead changes with ten times as many images
# (`regret.per_decade` has it from the rows; docs/log.md, 2026-11-26).
PER_DECADE = 0.21
# Share of the headroom by which the lead is less with ten times as many classes as the data sets of
# the beliefs had (2 to 24, which is too few to tell images from images of a class): measured on
# many classes with few images each (`crowding.py --report`; docs/log.md, 2026-11-26).
CROWDING = 0.35
LEAST_HEADROOM = 0.03  # below this a share is a share of one or two images


def weigh(belief: Belief, setting: Setting, trials: Sequence[TrialResult]) -> Gain:
    """What to believe of tuning's lead over the best probe: a prior, and trials counted in.

    Prior and trials are taken as normal, so the result is their mean weighted by precision. Beyond
    the data sets that were measured the prior's line goes on, up to all of the probe's error, less
    what many classes cost; both the prior and what a trial tells are the less sure the farther away
    the data is.

    Args:
        belief: What other data sets of this column have shown.
        setting: The data at hand.
        trials: Short tunings, each judged on other images.
    """
    scale = headroom(setting.probe_error)
    beyond = outside(belief, setting, scale)
    line = belief.lead + belief.slope * math.log10(max(setting.images, 1) / 100)
    prior = min(line * scale - sum(b.less for b in beyond), max(setting.probe_error, scale))
    far = math.hypot(*(b.spread for b in beyond))
    spread = math.hypot(belief.spread * scale, far)
    known = Gain(
        prior=prior,
        prior_spread=spread,
        mean=prior,
        spread=spread,
        needed=EXPECTED * spread,
        probe_error=setting.probe_error,
        beyond=beyond,
    )
    if not trials:
        return known
    trial_bias = belief.trial_bias * scale
    gain, noise = pooled(trials)
    off = math.hypot(noise, belief.trial_sd * scale, far)
    precision = 1 / spread**2 + 1 / off**2
    mean = (prior / spread**2 + (gain + trial_bias) / off**2) / precision
    allowed = trial_bias + off
    return replace(
        known,
        mean=mean,
        spread=math.sqrt(1 / precision),
        needed=SETTLED * math.sqrt(1 / precision),
        allowed=allowed,
        behind=gain < -allowed,
        contradicted=gain < -SURE * noise,
    )


def outside(belief: Belief, setting: Setting, scale: float) -> tuple[Beyond, ...]:
    """How far beyond the measured data sets the data lies, and what standard deviation that adds.

    Args:
        belief: With the range of the data sets that it was fitted on.
        setting: The data at hand.
        scale: The headroom, a fraction of 1.
    """
    found = []
    for of, value, least, most in (
        ("images", setting.images, belief.least_images, belief.most_images),
        ("classes", setting.classes, 0.0, belief.most_classes),
    ):
        limit = min(max(value, least), most)
        if value > 0 and limit != value:
            times = max(value / limit, limit / value)
            decades = math.log10(times) * scale
            less = CROWDING * decades if of == "classes" else 0.0
            edge, more = round(limit), PER_DECADE * decades
            found.append(
                Beyond(of=of, value=value, measured=edge, times=times, spread=more, less=less)
            )
    return tuple(found)


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
    return lead.mean > lead.needed and not lead.behind


def candidate(
    beliefs: Mapping[Strategy, Belief], setting: Setting, *, blends: bool
) -> tuple[Strategy, Belief]:
    """The way of tuning that is expected to do best, before any trial: the only one tried.

    With it what is believed of the model that comes of it: of deep tuning a blend with the probe,
    where that may be. Blends were measured with deep tuning only.
    """
    alone = {name: belief for name, belief in beliefs.items() if name != "blend"}
    if blends and "blend" in beliefs:
        alone["deep"] = beliefs["blend"]
    return max(alone.items(), key=lambda kind: weigh(kind[1], setting, ()).prior)


def worth_trying(lead: Gain, probe_error: float) -> bool:
    """Whether tuning may win at all: the probe makes errors, and the lead could be above zero."""
    return probe_error > 0 and lead.mean + SURE * lead.spread > 0


def settled(lead: Gain) -> bool:
    """Whether the sign of the lead is beyond reasonable doubt, so that no more need be tried."""
    return abs(lead.mean) > SETTLED * lead.spread
