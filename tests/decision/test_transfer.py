"""Promises of `decision.transfer`: beliefs know the backbone that they were fitted on."""

from __future__ import annotations

from dataclasses import replace

import pytest
from examples import BACKBONE, RESULT, TRIAL

from finetune.decision import prior, transfer
from finetune.records.analysis import Reason
from finetune.records.backbone import BackboneFacts
from finetune.records.choices import Similarity

LITE2 = replace(BACKBONE, name="tf_efficientnet_lite2", family="batchnorm-convnet")
VIT = replace(BACKBONE, name="vit_small_patch14_dinov2", family="vit", batchnorm=False)
UNTRAINED = replace(LITE2, weights="random")
OWN = replace(LITE2, weights="file mine.pth")


@pytest.mark.parametrize("kind", list(prior.BELIEFS))
def test_beliefs_hold_as_they_are_for_the_family_they_were_fitted_on(kind: Similarity) -> None:
    """EfficientNet-Lite with ImageNet's weights is what was measured: nothing is changed."""
    assert transfer.beliefs_for(prior.BELIEFS[kind], LITE2) == prior.BELIEFS[kind]


@pytest.mark.parametrize("facts", [VIT, UNTRAINED, OWN], ids=["vit", "untrained", "own weights"])
@pytest.mark.parametrize("kind", list(prior.BELIEFS))
def test_beliefs_are_wide_for_others_and_trials_get_no_points(
    kind: Similarity, facts: BackboneFacts
) -> None:
    """At least twice the spread, no bias of a trial; what was expected stays the first guess."""
    known = prior.BELIEFS[kind]
    for name, belief in transfer.beliefs_for(known, facts).items():
        assert belief.spread >= max(2 * known[name].spread, 1.0)
        assert belief.trial_bias == 0.0
        assert (belief.lead, belief.slope) == (known[name].lead, known[name].slope)


@pytest.mark.parametrize("gain", [-0.1, 0.1])
def test_a_clear_trial_decides_for_another_family(gain: float) -> None:
    """Ten points on a thousand images outweigh what was learnt of another network, both ways."""
    trial = replace(TRIAL, gain=gain, noise=0.01)
    belief = transfer.beliefs_for(prior.BELIEFS["different"], VIT)["deep"]

    setting = prior.Setting(images=800, classes=10, probe_error=0.3)
    lead = prior.weigh(belief, setting, [trial])

    assert prior.settled(lead)
    assert (lead.mean > 0) is (gain > 0)
    assert prior.wins(lead) is (gain > 0)


@pytest.mark.parametrize(
    ("facts", "word"), [(VIT, "a vision transformer"), (UNTRAINED, "random"), (OWN, "mine.pth")]
)
def test_one_reason_says_that_the_prior_is_a_guess(facts: BackboneFacts, word: str) -> None:
    """It stands beside the prior and names the backbone and why; the fitted family has none."""
    before = Reason("prior", "On other data sets deep fine-tuning gained +1")
    advice = replace(RESULT.recommendation, reasons=(before, Reason("evidence", "Chosen: deep")))

    said = transfer.told(advice, facts).reasons

    assert [r.rule for r in said] == ["prior", "family", "evidence"]
    assert facts.name in said[1].text
    assert word in said[1].text
    assert transfer.told(advice, LITE2) == advice
