from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.decision import full_size, table
from finetune.decision.explain import by_evidence, recommend
from finetune.decision.prior import (
    BELIEFS,
    CROWDING,
    EXPECTED,
    LEAST_HEADROOM,
    PER_DECADE,
    SETTLED,
    Belief,
    Setting,
    candidate,
    headroom,
    settled,
    weigh,
    wins,
    worth_trying,
)
from finetune.decision.table import RULES, rule_for
from finetune.records import option_table
from finetune.records.analysis import Part, Reason, SimilarityProfile, SizeProfile, Upright
from finetune.records.choices import (
    SINGLE,
    STRATEGIES,
    TUNED,
    Family,
    Similarity,
    Size,
    Strategy,
    spoken,
)
from finetune.records.decision import Augment, Gain, Plan, TrialResult
from finetune.records.errors import UsageError
from finetune.training import recipe
from finetune.training.recipe import (
    LOW_RESOLUTION_PX,
    TUNE_SIDE_PX,
    Facts,
    resolve,
    short,
)

CELLS: dict[tuple[Size, Similarity], Strategy] = {
    ("small", "similar"): "linear-probe",
    ("small", "different"): "stage-probe",
    ("large", "similar"): "partial",
    ("large", "different"): "deep",
}
PROBES: tuple[Strategy, ...] = ("linear-probe", "stage-probe")
PLAN_FIELDS = {f.name for f in fields(Plan)} - {"augment", "why"}
AUGMENT_FIELDS = {f.name for f in fields(Augment)}

PARTS = (
    Part("near part", 0.75, 0.6, 0.4, "similar", "of two thresholds"),
    Part("far part", 3.0, None, 2.0, "different", "of one"),
    Part("shown part", 0.5, None, None, "uncertain", "of none"),
)
BELIEF = Belief(lead=0.2, slope=0.1, spread=0.3, trial_bias=0.1, trial_sd=0.2)

# A value for each option of the command line that no rule would choose.
USER: dict[str, Any] = {
    "side_px": 96,
    "epochs": 7,
    "batch_size": 12,
    "optimiser": "sgd",
    "lr": 0.0123,
    "patience": 4,
    "refit": True,
    "precision": "bf16",
    "label_smoothing": 0.07,
    "dropout": 0.33,
    "weight_decay": 0.044,
    "class_weights": True,
    "crop": 0.91,
    "vflip": 0.25,
    "zoom_out": 0.5,
    "flip": 0.13,
    "rotation_deg": 3.5,
    "translation": 0.011,
    "stretch": 0.022,
    "colour": 0.055,
}
RANGES = {n: option_table.NAMED[n].ends for n in USER if option_table.NAMED[n].ends}
OPTIMISERS = option_table.NAMED["optimiser"].choices
RANGE_ENDS = [(name, *ends) for name, ends in RANGES.items()]


def facts(**changes: Any) -> Facts:
    """A middling data set: 400 images like ImageNet's."""
    return Facts(**{"images": 400, "similarity": "similar", **changes})


def value_of(plan: Plan, name: str) -> Any:
    """A setting of the plan or of its augmentation."""
    return getattr(plan.augment if name in AUGMENT_FIELDS else plan, name)


def measured(size: Size, similarity: Similarity) -> tuple[SizeProfile, SimilarityProfile]:
    """Profiles as `profile` would give them."""
    return (
        SizeProfile(size, 123, 7, 3, (), None, Reason("size", "counted 123 images")),
        SimilarityProfile(
            "uncertain", similarity, PARTS, {}, None, Reason("similarity", "measured parts")
        ),
    )


@pytest.mark.parametrize(("cell", "expected"), CELLS.items())
def test_each_cell_of_the_table_has_one_rule_with_the_classic_strategy(
    cell: tuple[Size, Similarity], expected: Strategy
) -> None:
    """Every combination of size and similarity has exactly one rule, the classic one."""
    found = [r for r in RULES if (r.size, r.similarity) == cell]

    assert len(found) == 1
    assert found[0].strategy == expected
    assert rule_for(*cell) is found[0]


def test_the_table_has_no_rule_beside_its_four_cells() -> None:
    """There are four rules with four identifiers, and every one has an action and a reason."""
    assert len(RULES) == len({r.id for r in RULES}) == len(CELLS)
    assert all(r.action and r.reason for r in RULES)


def test_the_strategies_are_those_of_the_record() -> None:
    """The module's list of strategies equals the type in `records`, and tuned ones are in it."""
    assert set(STRATEGIES) == set(get_args(Strategy))
    assert set(TUNED) == set(SINGLE) - set(PROBES)
    assert set(STRATEGIES) == {*SINGLE, "blend"}  # of two of the others, without a plan of its own


@pytest.mark.parametrize("cell", CELLS)
def test_recommend_follows_the_measured_cell_and_passes_its_reasons_on(
    cell: tuple[Size, Similarity],
) -> None:
    """The strategy is the cell's; the reasons are the two measurements and the rule."""
    size, similarity = measured(*cell)
    plan = resolve(CELLS[cell], facts(), {})

    advice = recommend(size, similarity, plan)

    rule = rule_for(*cell)
    assert advice.strategy == CELLS[cell]
    assert (advice.size, advice.similarity) == cell
    assert advice.reasons[:2] == (size.reason, similarity.reason)
    assert advice.reasons[2].rule == rule.id
    assert rule.action in advice.reasons[2].text
    assert advice.plan is plan


@pytest.mark.parametrize("cell", CELLS)
def test_flips_name_the_strategies_of_the_neighbouring_cells(
    cell: tuple[Size, Similarity],
) -> None:
    """What would flip the choice: the other size's strategy, and the other similarity's."""
    size, similarity = cell
    other_size: Size = "small" if size == "large" else "large"
    other_kind: Similarity = "similar" if similarity == "different" else "different"

    advice = recommend(size, similarity, resolve(CELLS[cell], facts(), {}))

    by_size, by_similarity = advice.flips
    assert other_size in by_size
    assert f" {spoken(CELLS[other_size, similarity])} (" in by_size
    assert other_kind in by_similarity
    assert f" {spoken(CELLS[size, other_kind])} (" in by_similarity


def test_only_little_data_unlike_imagenet_is_warned_of() -> None:
    """The cell of little and different data warns of trouble, the others do not warn."""
    warnings = {cell: recommend(*cell, resolve(CELLS[cell], facts(), {})).warning for cell in CELLS}

    assert "in trouble" in str(warnings.pop(("small", "different")))
    assert set(warnings.values()) == {None}


def test_an_axis_given_by_hand_has_the_user_as_its_reason() -> None:
    """Where the user says the size or the similarity, the reason repeats the option."""
    advice = recommend("large", "different", resolve("deep", facts(), {}))

    assert advice.reasons[0] == Reason("user", "--size large")
    assert advice.reasons[1] == Reason("user", "--similarity different")


def test_a_forced_strategy_is_taken_and_the_tables_choice_is_named() -> None:
    """With a strategy named by the user the reason says so and what the table would have done."""
    advice = recommend("small", "similar", resolve("deep", facts(), {}), forced="deep")

    assert advice.strategy == "deep"
    assert advice.reasons[2].rule == "user"
    assert advice.reasons[2].text.startswith("Chosen: deep fine-tuning, because you asked for it")
    assert "the linear probe (T1)" in advice.reasons[2].text


def trial(gain: float, noise: float = 0.03) -> TrialResult:
    """A trial of deep tuning on one half of 200 images."""
    return TrialResult(
        strategy="deep",
        learnt_from=100,
        judged_on=100,
        side_px=128,
        epochs=14,
        gain=gain,
        noise=noise,
        seconds=30.0,
    )


def at(images: int, probe_error: float) -> Setting:
    """What a belief is asked of."""
    return Setting(images=images, classes=10, probe_error=probe_error)


def test_flips_name_how_far_each_threshold_is() -> None:
    """A part that votes otherwise is shown with its value and the threshold it would have to pass.

    Parts without a threshold that way, or past it already, are not.
    """
    advice = recommend(*measured("small", "similar"), resolve("linear-probe", facts(), {}))

    assert "near part 0.75, different from 0.40 on" in advice.flips[1]
    assert "far part" not in advice.flips[1]
    assert "shown part" not in advice.flips[1]
    assert "123 images now" in advice.flips[0]


def test_without_trials_the_prior_is_believed() -> None:
    """Before any trial the lead is other data sets' share of this probe's error."""
    prior, spread = 0.2 * 0.25 * 0.75, 0.3 * 0.25 * 0.75

    lead = weigh(BELIEF, at(100, 0.25), ())

    assert (lead.prior, lead.prior_spread) == pytest.approx((prior, spread))
    assert (lead.mean, lead.spread, lead.behind) == (lead.prior, lead.prior_spread, False)


def test_more_images_speak_for_tuning() -> None:
    """The prior lead grows by the slope with every ten times as many images."""
    few, many = (weigh(BELIEF, at(n, 0.2), ()).prior for n in (10, 1000))

    assert many - few == pytest.approx(2 * BELIEF.slope * headroom(0.2))


def test_the_way_of_tuning_expected_to_do_best_is_the_candidate() -> None:
    """Few images speak for few layers where the slopes say so, many for more."""
    beliefs = {"partial": Belief(0.2, 0.0, 1, 1, 1), "deep": Belief(0.3, 0.4, 1, 1, 1)}

    assert candidate(beliefs, at(20, 0.3), blends=False)[0] == "partial"
    assert candidate(beliefs, at(1000, 0.3), blends=False)[0] == "deep"


def test_deep_tuning_is_believed_in_as_what_becomes_of_it() -> None:
    """Where a blend may be returned, its belief stands for deep tuning's; with --single, not."""
    beliefs = {"partial": Belief(0.2, 0, 1, 1, 1), "deep": Belief(0.1, 0, 1, 1, 1)}
    beliefs["blend"] = Belief(0.3, 0.0, 1, 1, 1)

    assert candidate(beliefs, at(20, 0.3), blends=True) == ("deep", beliefs["blend"])
    assert candidate(beliefs, at(20, 0.3), blends=False) == ("partial", beliefs["partial"])


@pytest.mark.parametrize("column", ["similar", "different"])
def test_one_sure_trial_overrules_any_prior(column: Similarity) -> None:
    """A trial far beyond its noise decides, for tuning and against it."""
    error = 0.3

    assert weigh(BELIEFS[column]["deep"], at(200, error), [trial(0.3, 0.005)]).mean > 0
    assert weigh(BELIEFS[column]["deep"], at(200, error), [trial(-0.5, 0.005)]).mean < 0


@given(
    gains=st.lists(st.floats(-0.9, 0.9), min_size=1, max_size=2),
    noise=st.floats(0.0, 0.3),
    error=st.floats(0.0, 1.0),
)
def test_belief_lies_between_prior_and_trials_and_is_surer(
    gains: list[float], noise: float, error: float
) -> None:
    """Counting trials in moves the mean toward them, never past, and never widens the spread."""
    lead = weigh(BELIEF, at(100, error), [trial(g, noise) for g in gains])
    told = sum(gains) / len(gains) + BELIEF.trial_bias * headroom(error)

    low, high = sorted((lead.prior, told))
    assert low - 1e-9 <= lead.mean <= high + 1e-9
    assert lead.spread <= lead.prior_spread + 1e-12


def test_a_second_trial_counts_by_its_noise() -> None:
    """Of two trials the less noisy one weighs more."""
    noisy_good = weigh(BELIEF, at(100, 0.3), [trial(0.2, 0.2), trial(-0.2, 0.02)])
    noisy_bad = weigh(BELIEF, at(100, 0.3), [trial(0.2, 0.02), trial(-0.2, 0.2)])

    assert noisy_good.mean < 0 < noisy_bad.mean


@given(error=st.floats(0.0, 1.0))
def test_there_is_most_to_gain_in_the_middle(error: float) -> None:
    """What tuning may gain is least at no error and at no accuracy, and never nothing."""
    assert LEAST_HEADROOM <= headroom(error) <= headroom(0.5) == 0.25


def test_tuning_seen_behind_by_more_than_a_trial_may_be_off_never_wins() -> None:
    """However good the prior, held-out images on which it is clearly worse veto it."""
    hopeful = replace(BELIEF, lead=3.0, spread=0.01)
    off = math.hypot(0.03, hopeful.trial_sd * headroom(0.2))
    allowed = hopeful.trial_bias * headroom(0.2) + off

    assert wins(weigh(hopeful, at(100, 0.2), ()))
    assert wins(weigh(hopeful, at(100, 0.2), [trial(0.001 - allowed, 0.03)]))
    assert not wins(weigh(hopeful, at(100, 0.2), [trial(-0.001 - allowed, 0.03)]))


def test_in_doubt_the_probe_is_kept() -> None:
    """A gain that is less than what is needed, none, or a veto: not worth a training."""
    lead = Gain(0.1, 0.1, 0.06, 0.1, needed=0.05)

    assert wins(lead)
    assert not wins(replace(lead, mean=0.04))
    assert not wins(replace(lead, mean=-0.06))
    assert not wins(replace(lead, behind=True))


def test_doubt_is_told() -> None:
    """A lead too small to be sure is named with what would be enough."""
    size, similarity = measured("small", "different")

    advice = by_evidence(
        *(size, similarity, resolve("stage-probe", facts(), {})),
        probed="stage-probe",
        tuning="deep",
        lead=Gain(0.1, 0.1, 0.02, 0.1, needed=0.05),
        trials=(trial(-0.1, 0.03),),
        untried=None,
    )

    assert "+2.0 ± 10.0 points, too little to be sure" in advice.reasons[-1].text
    assert (
        advice.flips[0]
        == "if the gain expected of deep fine-tuning were more than 5.0 points: deep fine-tuning"
    )


def test_a_veto_is_told() -> None:
    """Where tuning is expected to lead but was seen behind, the reason says just that."""
    size, similarity = measured("small", "different")

    advice = by_evidence(
        *(size, similarity, resolve("stage-probe", facts(), {})),
        probed="stage-probe",
        tuning="deep",
        lead=Gain(0.1, 0.1, 0.02, 0.05, 0.01, behind=True),
        trials=(trial(-0.1, 0.03),),
        untried=None,
    )

    assert (
        "was further behind it in the trial than the error of a short trial explains"
        in advice.reasons[-1].text
    )


def test_a_trial_where_all_agree_is_no_surer_than_one_image() -> None:
    """No noise among ten images is not certainty: one image more is a tenth."""
    agreed = replace(trial(0.0, 0.0), learnt_from=10, judged_on=10, seconds=1.0)

    assert weigh(BELIEF, at(100, 0.5), [agreed]).spread > 0.05


def test_tuning_is_tried_unless_it_hardly_ever_wins() -> None:
    """Two spreads below zero, or without an error to mend, no trial is worth its time."""
    assert worth_trying(Gain(-0.19, 0.1, -0.19, 0.1), 0.1)
    assert not worth_trying(Gain(-0.21, 0.1, -0.21, 0.1), 0.1)
    assert not worth_trying(Gain(0.1, 0.1, 0.1, 0.1), 0.0)


def test_a_choice_is_settled_beyond_a_share_of_its_standard_deviation() -> None:
    """Near zero another half judges, beyond it the choice is made; before a trial less will do."""
    assert settled(Gain(0, 1, 0.07, 0.1))
    assert settled(Gain(0, 1, -0.07, 0.1))
    assert not settled(Gain(0, 1, 0.06, 0.1))
    before, after = (weigh(BELIEF, at(100, 0.2), some) for some in ((), (trial(0.1, 0.03),)))
    assert before.needed == pytest.approx(EXPECTED * before.spread)
    assert after.needed == pytest.approx(SETTLED * after.spread)


RANGED = replace(BELIEF, least_images=10, most_images=2000, most_classes=24)


@pytest.mark.parametrize(
    ("images", "classes", "of", "times"),
    [(48_000, 10, "images", 24), (1, 2, "images", 10), (1000, 240, "classes", 10)],
)
def test_beyond_what_was_measured_less_is_sure(
    images: int, classes: int, of: str, times: float
) -> None:
    """The line goes on, less a share for classes; its standard deviation grows by a share."""
    edge = Setting(images=min(max(images, 10), 2000), classes=min(classes, 24), probe_error=0.2)
    there = replace(edge, images=images, classes=classes)

    inside, outside = (weigh(RANGED, s, ()) for s in (edge, there))

    (beyond,) = outside.beyond
    assert inside.beyond == ()
    assert (beyond.of, beyond.times) == (of, pytest.approx(times))
    less = CROWDING * math.log10(times) * headroom(0.2) if of == "classes" else 0.0
    assert beyond.less == pytest.approx(less)
    further = RANGED.slope * math.log10(images / edge.images) * headroom(0.2)
    assert outside.prior == pytest.approx(inside.prior + further - less)
    added = PER_DECADE * math.log10(times) * headroom(0.2)
    assert beyond.spread == pytest.approx(added)
    assert outside.prior_spread == pytest.approx(math.hypot(inside.prior_spread, added))
    tried = [trial(0.0, 0.001)]
    assert weigh(RANGED, there, tried).spread > weigh(RANGED, edge, tried).spread


def test_tuning_mends_no_more_than_the_probes_errors() -> None:
    """However many images, the gain expected before a trial is at most the probe's error."""
    steep = replace(RANGED, slope=1.0)

    assert weigh(steep, at(10**9, 0.3), ()).prior == 0.3


def test_many_classes_with_few_images_are_probed_before_any_trial() -> None:
    """104 classes of ten images (tuning lost 8 points there, measured) are not for tuning."""
    crowd = Setting(images=1031, classes=104, probe_error=0.24)

    lead = weigh(BELIEFS["similar"]["deep"], crowd, ())

    assert not wins(lead)
    assert wins(weigh(BELIEFS["similar"]["deep"], replace(crowd, classes=10), ()))


def test_how_far_beyond_is_told() -> None:
    """The reason names how many times more images there are, and what that adds."""
    size, similarity = measured("large", "similar")
    lead = weigh(RANGED, Setting(images=48_000, classes=10, probe_error=0.2), ())

    advice = by_evidence(
        *(size, similarity, resolve("stage-probe", facts(), {})),
        probed="stage-probe",
        tuning="deep",
        lead=lead,
        trials=(),
        untried="No trial here",
    )

    (told,) = (r.text for r in advice.reasons if r.rule == "beyond")
    assert told.startswith("This data has 24 times more images than the data sets on which")
    assert "48000 instead of 2000" in told
    assert f"{100 * lead.beyond[0].spread:.1f} points" in told
    assert advice.lead == lead


@pytest.mark.parametrize(("gain", "contradicted"), [(-0.081, True), (-0.059, False)])
def test_trials_that_contradict_are_no_proof(gain: float, contradicted: bool) -> None:
    """Behind by more than two standard errors is said, though the trial bias may explain it."""
    lead = weigh(replace(BELIEF, lead=2.0, trial_bias=1.0), at(100, 0.2), [trial(gain, 0.03)])

    assert lead.contradicted is contradicted
    assert not lead.behind


def test_the_error_with_all_images_follows_the_learning_curve() -> None:
    """Measured on 800 and 3,200 images of 12,800: a power law; one that rises or is none stands."""
    few, more, every = ((n, 2.0 * n**-0.3) for n in (800, 3200, 12_800))

    assert full_size.at(12_800, few, more) == pytest.approx(every[1])
    assert full_size.at(12_800, (800, 0.4), (3200, 0.1)) == pytest.approx(0.05)  # not faster
    assert full_size.at(12_800, (800, 0.4), (3200, 0.0)) == 0.0
    assert full_size.at(12_800, (800, 0.1), (3200, 0.12)) == 0.12
    assert full_size.at(900, (800, 0.1), (800, 0.1)) == 0.1


@given(images=st.integers(2, 5000), epochs=st.integers(1, 60))
def test_a_trial_is_short_and_small(images: int, epochs: int) -> None:
    """It has at most as many epochs and pixels as the plan, and about a hundred steps."""
    plan = resolve("deep", facts(images=images), {"epochs": epochs})

    trial_plan = short(plan, images, 2 * images)

    assert 1 <= trial_plan.epochs <= plan.epochs
    assert trial_plan.side_px <= min(plan.side_px, TUNE_SIDE_PX)
    steps = trial_plan.epochs * math.ceil(images / plan.batch_size)
    most = recipe.trial_steps(plan, 2 * images)
    assert steps <= max(1.5 * most, math.ceil(images / plan.batch_size))


def test_a_trial_keeps_the_one_size_a_backbone_takes() -> None:
    """A ViT of 224 px is tried at 224 px: it takes no other pictures."""
    plan = resolve("deep", facts(fixed_side=True), {})

    assert short(plan, 100, 200, one_size=True).side_px == plan.side_px == 224
    assert short(plan, 100, 200).side_px == TUNE_SIDE_PX


def test_a_trial_warms_up_for_as_many_steps_as_the_training() -> None:
    """A third of the steps has three times the share: the rate rises as slowly."""
    plan = resolve("deep", facts(images=200), {})
    steps = plan.epochs * math.ceil(200 / plan.batch_size)
    tried = short(plan, 200, 400)
    short_steps = tried.epochs * math.ceil(200 / tried.batch_size)

    assert tried.warmup * short_steps == pytest.approx(plan.warmup * steps, rel=0.1)


def test_evidence_that_overrules_the_table_says_so() -> None:
    """What the table said, what was measured, and by how much it was overruled are all told."""
    size, similarity = measured("small", "different")
    trials = (trial(0.12),)
    lead = weigh(BELIEF, at(100, 0.2), trials)

    advice = by_evidence(
        *(size, similarity, resolve("deep", facts(), {})),
        probed="stage-probe",
        tuning="deep",
        lead=lead,
        trials=trials,
        untried=None,
    )

    assert (advice.policy, advice.rule, advice.table) == ("measured", "T2", "stage-probe")
    assert (advice.strategy, advice.trials, advice.lead) == ("deep", trials, lead)
    told = {r.rule: r.text for r in advice.reasons}
    assert "The classic table says the stage probe" in told["T2"]
    assert "beat the stage probe by 12.0 ± 3.0 points on 100 held-out images" in told["trial"]
    assert "overrules the classic table, which says the stage probe" in told["evidence"]
    assert f"{100 * lead.mean:+.1f} ± {100 * lead.spread:.1f} points" in told["evidence"]
    assert "the stage probe" in advice.flips[0]


def test_evidence_that_agrees_with_the_table_says_so_too() -> None:
    """Where the probe is chosen as the table has it, the reason says so; untried has a reason."""
    size, similarity = measured("small", "different")

    advice = by_evidence(
        *(size, similarity, resolve("stage-probe", facts(), {})),
        probed="stage-probe",
        tuning="deep",
        lead=Gain(0, 1, -0.1, 0.1),
        trials=(),
        untried="not tried: no time",
    )

    assert "The classic table agrees" in advice.reasons[-1].text
    assert any(r.text == "not tried: no time" for r in advice.reasons)
    assert advice.flips[0].endswith("deep fine-tuning")


def test_a_strategy_is_found_by_its_name_or_refused() -> None:
    """Every strategy has its name; another name is a usage fault that lists them."""
    assert [table.named(s) for s in STRATEGIES] == list(STRATEGIES)
    with pytest.raises(UsageError, match="magic"):
        table.named("magic")


@given(
    name=st.sampled_from(SINGLE),
    look=st.builds(
        Facts,
        images=st.integers(1, 200_000),
        similarity=st.sampled_from(get_args(Similarity)),
        median_side_px=st.none() | st.integers(1, 5000),
        fixed_side=st.booleans(),
        symbols=st.booleans(),
        rarest=st.integers(1, 1000),
        commonest=st.integers(1000, 10_000),
    ),
)
def test_no_plan_leaves_anything_open_or_unexplained(name: Strategy, look: Facts) -> None:
    """Whatever the data, no field of a plan is None and each has a reason that says something."""
    plan = resolve(name, look, {})

    assert all(value_of(plan, f) is not None for f in PLAN_FIELDS | AUGMENT_FIELDS)
    assert set(plan.why) == PLAN_FIELDS | AUGMENT_FIELDS
    assert all(isinstance(text, str) and len(text) > 5 for text in plan.why.values())
    assert "user" not in plan.why.values()


@pytest.mark.parametrize("name", SINGLE)
def test_a_plan_names_its_strategy_and_taps(name: Strategy) -> None:
    """Strategy and taps of the plan are those asked for."""
    plan = resolve(name, facts(), {}, taps=("3", "top"))

    assert plan.strategy == name
    assert plan.taps == ("3", "top")


def test_every_plan_option_of_the_command_line_is_tried_below() -> None:
    """The overrides tested here are exactly the options that `train` offers."""
    assert set(USER) == option_table.OVERRIDES


@pytest.mark.parametrize(("name", "value"), USER.items())
def test_a_users_value_overrides_the_rule_and_says_so(name: str, value: Any) -> None:
    """A value given by hand is in the plan, its reason is `user`, and no other reason is."""
    default = resolve("deep", facts(), {})

    plan = resolve("deep", facts(), {name: value})

    assert value_of(default, name) != value
    assert value_of(plan, name) == value
    assert [f for f, why in plan.why.items() if why == "user"] == [name]


def test_all_overrides_hold_together() -> None:
    """Given all at once, every value of the user is in the plan."""
    plan = resolve("partial", facts(), USER)

    assert {name: value_of(plan, name) for name in USER} == USER


def test_flips_are_off_for_symbols_and_the_reason_says_why() -> None:
    """Class names that a mirror would change switch the flip off, naming the reason."""
    on = resolve("deep", facts(symbols=False, symbols_reason="ordinary names"), {})
    off = resolve("deep", facts(symbols=True, symbols_reason="names such as 'b'"), {})

    assert on.augment.flip > 0
    assert on.why["flip"] == "on: ordinary names"
    assert off.augment.flip == 0
    assert off.why["flip"] == "off: names such as 'b'"


@pytest.mark.parametrize(
    ("changes", "on", "why"),
    [
        ({"images": 800}, True, "80 images a class, fewer than 100: each one counts"),
        ({"images": 1000}, False, "100 images a class, 100 or more"),
        ({"images": 800, "validation": 99}, False, "not used"),
        ({"images": 800, "refit": False}, False, "a second training would not fit the budget"),
    ],
)
def test_a_proved_model_is_trained_again_where_images_of_a_class_are_few(
    changes: dict[str, Any], on: bool, why: str
) -> None:
    """With fewer than 100 images a class, where validation images judge and the budget allows."""
    plan = resolve("deep", facts(**{"classes": 10, "validation": 100, **changes}), {})

    assert plan.refit == on
    assert plan.why["refit"].startswith(why)
    assert not resolve("scratch", facts(classes=10, validation=100, images=500), {}).refit


@pytest.mark.parametrize(
    ("changes", "on", "why"),
    [
        ({}, False, "off: not measured here"),
        ({"upright": Upright(True, "told at 90%")}, False, "off: told at 90%"),
        ({"upright": Upright(False, "x")}, True, "on: up and down mean nothing: x"),
        ({"upright": Upright(False, "x"), "symbols": True, "symbols_reason": "6"}, False, "off: 6"),
    ],
)
def test_images_are_turned_upside_down_where_that_means_nothing(
    changes: dict[str, Any], on: bool, why: str
) -> None:
    """Vertical flips are on where up and down mean nothing, never for 6 and 9."""
    plan = resolve("deep", facts(**changes), {})

    assert (plan.augment.vflip > 0) == on
    assert plan.why["vflip"] == why


@pytest.mark.parametrize(
    ("median", "expected"),
    [
        (LOW_RESOLUTION_PX - 1, TUNE_SIDE_PX),
        (LOW_RESOLUTION_PX, TUNE_SIDE_PX),
        (LOW_RESOLUTION_PX + 1, 224),
        (None, 224),
    ],
)
@pytest.mark.parametrize("name", TUNED)
def test_small_pictures_are_tuned_small(name: Strategy, median: int | None, expected: int) -> None:
    """Up to the low-resolution limit tuning takes the smaller side, above it the backbone's."""
    plan = resolve(name, facts(median_side_px=median), {})

    assert plan.side_px == expected


def test_tuning_never_enlarges_beyond_the_backbones_input() -> None:
    """A backbone with a smaller input than the low-resolution side keeps its own."""
    plan = resolve("deep", facts(median_side_px=40, side_px=96), {})

    assert plan.side_px == 96


def test_a_backbone_that_takes_one_size_keeps_it() -> None:
    """Where only one size fits, small pictures do not change it, and the reason says so."""
    plan = resolve("deep", facts(median_side_px=40, fixed_side=True), {})

    assert plan.side_px == 224
    assert "one size" in plan.why["side_px"]


@pytest.mark.parametrize("name", PROBES)
def test_probes_read_features_at_the_backbones_input_size(name: Strategy) -> None:
    """Small pictures do not change the resolution of a probe's features."""
    plan = resolve(name, facts(median_side_px=40), {})

    assert plan.side_px == 224


@pytest.mark.parametrize(
    ("images", "batch"), [(1, 16), (999, 16), (1000, 32), (9_999, 32), (10_000, 64)]
)
def test_batches_grow_with_the_data(images: int, batch: int) -> None:
    """16 images below a thousand, 32 below ten thousand, 64 from there; the reason counts."""
    plan = resolve("deep", facts(images=images), {})

    assert plan.batch_size == batch
    assert f"{images} images" in plan.why["batch_size"]


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize("end", ["most", "fewest"])
def test_epochs_aim_at_a_number_of_steps_within_bounds(end: str, beyond: int) -> None:
    """Epochs times steps reaches the target and no more, except at the fewest and most epochs."""
    bound = recipe.EPOCHS[end]
    steps = recipe.TARGET_STEPS // bound + beyond  # beyond 0: exactly at the bound

    plan = resolve("deep", facts(images=16 * steps), {})

    unbounded = math.ceil(recipe.TARGET_STEPS / steps)
    assert plan.epochs == min(recipe.EPOCHS["most"], max(recipe.EPOCHS["fewest"], unbounded))
    assert (plan.epochs == bound) == (beyond <= 0 if end == "most" else beyond >= 0)


def test_the_last_short_batch_counts_as_a_step() -> None:
    """One image more than whole batches makes one step more, so never more epochs."""
    whole = resolve("deep", facts(images=160), {})
    more = resolve("deep", facts(images=161), {})

    assert whole.epochs == math.ceil(recipe.TARGET_STEPS / 10)
    assert more.epochs == math.ceil(recipe.TARGET_STEPS / 11)


def test_epochs_follow_the_users_batch_size() -> None:
    """A larger batch by hand means fewer steps in an epoch and more epochs."""
    plan = resolve("deep", facts(images=320), {"batch_size": 32})

    assert plan.epochs == math.ceil(recipe.TARGET_STEPS / 10)


def test_scratch_takes_its_own_number_of_epochs() -> None:
    """From scratch the number of epochs does not depend on the data."""
    epochs = {resolve("scratch", facts(images=n), {}).epochs for n in (10, 1000, 100_000)}

    assert epochs == {recipe.EPOCHS["scratch"]}


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_trains_no_epoch(name: Strategy) -> None:
    """A probe's plan has no epochs, no rates and no tuned stage."""
    plan = resolve(name, facts(), {})

    assert plan.epochs == 0
    assert plan.lr == plan.head_lr == 0.0
    assert plan.tuned_stages == ()
    assert not plan.class_weights


@pytest.mark.parametrize("name", PROBES)
def test_a_probe_says_of_all_that_tunes_that_it_is_not_used(name: Strategy) -> None:
    """Only strategy, features and side have a reason of their own; the rest is not used."""
    plan = resolve(name, facts(symbols=True), {})

    unused = {f for f, why in plan.why.items() if why.startswith("not used")}
    assert unused == (PLAN_FIELDS | AUGMENT_FIELDS) - {"strategy", "taps", "side_px"}
    assert set(vars(plan.augment).values()) == {0.0, 1.0}


@pytest.mark.parametrize("name", PROBES)
@pytest.mark.parametrize("options", [{"epochs": 5}, {"lr": 0.1}, {"side_px": 64}, {"flip": 0.1}])
def test_options_of_tuning_are_not_taken_silently_by_a_probe(
    name: Strategy, options: dict[str, Any]
) -> None:
    """A probe's plan never claims epochs, a rate or a side that will not be used."""
    assert resolve(name, facts(), options) == resolve(name, facts(), {})


@pytest.mark.parametrize("name", SINGLE)
def test_a_plan_for_no_training_image_is_no_crash(name: Strategy) -> None:
    """Every image of train/ unreadable: a plan comes out for whoever tells the user."""
    assert resolve(name, facts(images=0, rarest=0, commonest=0), {}).strategy == name


def test_a_side_that_the_backbone_does_not_take_is_refused() -> None:
    """Where only one size fits, another one by hand is a usage error; the one that fits is fine."""
    fixed = facts(fixed_side=True)

    with pytest.raises(UsageError, match="--image-size is 96"):
        resolve("deep", fixed, {"side_px": 96})
    assert resolve("deep", fixed, {"side_px": 224}).side_px == 224


@pytest.mark.parametrize("stages", [("stem", "1", "2", "3", "4", "5"), ("stem", "1")])
def test_each_strategy_tunes_its_share_of_the_stages(stages: tuple[str, ...]) -> None:
    """Partial tunes the last stage, deep all but the stem, scratch all, probes none."""
    tuned = {s: resolve(s, facts(stages=stages), {}).tuned_stages for s in SINGLE}

    assert tuned == {
        "linear-probe": (),
        "stage-probe": (),
        "partial": stages[-1:],
        "deep": stages[1:],
        "scratch": stages,
    }


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", ["partial", "deep"])
def test_rates_are_smaller_on_similar_data(name: Strategy, optimiser: str) -> None:
    """Data like ImageNet's is tuned at a smaller rate than other data, head included."""
    user = {"optimiser": optimiser}
    near = resolve(name, facts(similarity="similar"), user)
    far = resolve(name, facts(similarity="different"), user)

    assert 0 < near.lr < far.lr
    assert 0 < near.head_lr < far.head_lr


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_rates_scale_with_the_batch(optimiser: str) -> None:
    """Four times the batch: four times the rate with SGD, twice with the adaptive methods."""
    small = resolve("deep", facts(), {"optimiser": optimiser, "batch_size": 16})
    large = resolve("deep", facts(), {"optimiser": optimiser, "batch_size": 64})

    factor = 4.0 if optimiser == "sgd" else 2.0
    assert large.lr == pytest.approx(factor * small.lr)
    assert large.head_lr == pytest.approx(factor * small.head_lr)


@pytest.mark.parametrize("family", list(recipe.FAMILY_FACTORS))
@pytest.mark.parametrize("name", ["partial", "deep"])
def test_rates_follow_the_family_and_say_whose_practice_that_is(
    name: Strategy, family: Family
) -> None:
    """Body and head alike go by the family's factor; other families' source is in the reason."""
    usual = resolve(name, facts(), {})
    other = resolve(name, facts(family=family), {})
    factor, source = recipe.FAMILY_FACTORS[family]

    assert other.lr == pytest.approx(factor * usual.lr)
    assert other.head_lr == pytest.approx(factor * usual.head_lr)
    assert (source in other.why["lr"]) is (factor != 1.0)
    assert (factor == 1.0) is (family == "batchnorm-convnet")


@pytest.mark.parametrize("name", ["partial", "deep"])
def test_the_heads_rate_follows_the_users_rate(name: Strategy) -> None:
    """A rate given by hand moves the head's rate along, which stays the larger one."""
    plan = resolve(name, facts(), {"lr": 0.01})

    assert plan.head_lr == pytest.approx(recipe.HEAD_FACTOR * 0.01)


def test_from_scratch_everything_learns_at_one_rate() -> None:
    """Nothing is to be preserved: one rate for head and body, larger than for tuning."""
    plan = resolve("scratch", facts(), {})

    assert plan.head_lr == plan.lr > resolve("deep", facts(), {}).lr
    assert plan.stage_decay == 1.0
    assert "times the body's" not in plan.why["head_lr"]
    assert "smaller learning rates" not in plan.why["stage_decay"]


@pytest.mark.parametrize("batch", [16, 64])
def test_sgd_from_scratch_takes_large_steps(batch: int) -> None:
    """There is nothing to preserve: many times the rate of tuning, linear in the batch."""
    user = {"optimiser": "sgd", "batch_size": batch}
    plan = resolve("scratch", facts(), user)

    assert plan.lr == pytest.approx(recipe.SCRATCH_SGD * batch / 16)
    assert plan.lr > 4 * resolve("deep", facts(similarity="different"), user).lr


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_attention_starts_from_scratch_more_gently(optimiser: str) -> None:
    """ViTs and hybrids get a tenth; convolutions share a rate, whatever they are normalized by."""
    rates = {
        family: resolve("scratch", facts(family=family), {"optimiser": optimiser}).lr
        for family in recipe.FAMILY_FACTORS
    }

    assert len({rates[f] for f in ("batchnorm-convnet", "layernorm-convnet", "plain-convnet")}) == 1
    assert rates["vit"] == rates["hybrid"] == pytest.approx(0.1 * rates["plain-convnet"])


@pytest.mark.parametrize(("commonest", "expected"), [(29, False), (30, True), (4000, True)])
def test_classes_are_weighed_from_three_times_imbalance_on(commonest: int, expected: bool) -> None:
    """Class weights come on where the largest class has three times the smallest, not before."""
    skewed = facts(rarest=10, commonest=commonest)

    plan = resolve("deep", skewed, {})

    assert plan.class_weights is expected
    assert f"{commonest / 10:.1f} times" in plan.why["class_weights"]
    assert ("docs/log.md" in plan.why["class_weights"]) is expected
    other = resolve("deep", skewed, {"class_weights": not expected})
    assert other.class_weights is not expected
    assert other.why["class_weights"] == "user"


def test_patience_is_half_of_the_epochs_but_at_least_six() -> None:
    """Patience follows the epochs, the user's too, down to six."""
    patience = {n: resolve("deep", facts(), {"epochs": n}).patience for n in (1, 12, 21, 60)}

    assert patience == {1: 6, 12: 6, 21: 10, 60: 30}


@pytest.mark.parametrize(("name", "low", "high"), RANGE_ENDS)
@pytest.mark.parametrize("side", ["below", "above"])
def test_a_value_just_out_of_range_is_refused(
    name: str, low: float, high: float, side: str
) -> None:
    """Just below or above its range an option is a usage error that names option and value."""
    end, way = (low, -1) if side == "below" else (high, 1)
    value = end + way if isinstance(end, int) else math.nextafter(end, way * math.inf)

    with pytest.raises(UsageError) as caught:
        resolve("deep", facts(), {name: value})

    assert f"{option_table.flag(name)} " in caught.value.message
    assert str(value) in caught.value.message
    assert f"{low:g}" in caught.value.hint
    assert f"{high:g}" in caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "low", "high"), RANGE_ENDS)
def test_both_ends_of_a_range_are_allowed(name: str, low: float, high: float) -> None:
    """The ends themselves belong to the range."""
    plans = [resolve("deep", facts(), {name: end}) for end in (low, high)]

    assert [value_of(p, name) for p in plans] == [low, high]


@pytest.mark.parametrize("name", sorted(set(RANGES) - {"epochs", "batch_size"}))
def test_a_value_that_is_no_number_is_refused(name: str) -> None:
    """NaN lies in no range."""
    with pytest.raises(UsageError, match="nan"):
        resolve("deep", facts(), {name: math.nan})


@pytest.mark.parametrize("name", SINGLE)
def test_an_unknown_optimiser_is_refused_with_the_known_ones(name: Strategy) -> None:
    """The error names the value, the hint every optimiser there is."""
    with pytest.raises(UsageError, match="'rmsprop'") as caught:
        resolve(name, facts(), {"optimiser": "rmsprop"})

    assert all(known in caught.value.hint for known in OPTIMISERS)


def test_every_optimiser_has_a_rate_and_a_decay() -> None:
    """The tables by optimiser cover the list of optimisers, no more and no less."""
    assert set(recipe.RATES) == set(recipe.WEIGHT_DECAY) == set(OPTIMISERS)
