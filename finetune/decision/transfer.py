"""How far what tuning gained with one backbone is believed of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from finetune.backbones import registry
from finetune.decision.explain import beside_prior
from finetune.decision.prior import Belief
from finetune.records.analysis import Reason
from finetune.records.backbone import BackboneFacts
from finetune.records.choices import FAMILY_NAMES, Strategy
from finetune.records.decision import Recommendation

# The beliefs are of lite0 with ImageNet's weights; lite1 and lite2 are the same design, larger.
FITTED_ON = "EfficientNet-Lite"
# By how much the spread of a belief grows for other backbones, and the least it has then, a share
# of what tuning may gain. No other pretrained network could be measured (docs/limits.md): at twice
# the spread, and at least all there is to gain, one trial outweighs the prior whatever it says.
WIDER, LEAST_SPREAD = 2.0, 1.0


def fitted_on(facts: BackboneFacts) -> bool:
    """Whether the beliefs were fitted on such a backbone, with weights published for ImageNet."""
    embedded = registry.BACKBONES.get(facts.name)
    own = facts.weights == registry.RANDOM or facts.weights.startswith(("file ", "run "))
    return embedded is not None and not own


def beliefs_for(
    beliefs: Mapping[Strategy, Belief], facts: BackboneFacts
) -> Mapping[Strategy, Belief]:
    """The beliefs as far as they hold for a backbone: for others wide, and without a trial bias.

    How far a short trial falls short was measured on one family, too, so that others get no points
    for it.
    """
    if fitted_on(facts):
        return beliefs
    return {
        name: replace(b, spread=max(WIDER * b.spread, LEAST_SPREAD), trial_bias=0.0)
        for name, b in beliefs.items()
    }


def told(advice: Recommendation, facts: BackboneFacts) -> Recommendation:
    """The recommendation with a reason, beside the prior's, where beliefs are stretched."""
    if fitted_on(facts):
        return advice
    if facts.name in registry.BACKBONES:
        other = f"its weights are not ImageNet's ({facts.weights})"
    else:
        other = f"it is {FAMILY_NAMES[facts.family]}" if facts.family else "it is another network"
    text = (
        f"What tuning gained was measured with {FITTED_ON} and ImageNet's weights alone. For "
        f"{facts.name} that is a guess ({other}): its spread is wide, trials get no allowance for "
        "being short, and what they measure decides"
    )
    return beside_prior(advice, Reason("family", text))
