from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.analysis import similarity, size
from finetune.analysis.similarity import (
    AGREEMENT,
    APPEARANCE,
    FEWEST_IMAGES,
    LEADS,
    NARROW,
    OVERLAP_IMAGES,
)
from finetune.analysis.size import LARGE_FROM, LARGE_RAREST, SMALL_BELOW
from finetune.data import symbols
from finetune.records.analysis import Part
from finetune.records.choices import Similarity, Verdict

FALLING = ((200, 0.4), (400, 0.3), (800, 0.2))
RESTING = ((200, 0.22), (400, 0.21), (800, 0.2))
SIZES = [
    (SMALL_BELOW - 1, LARGE_RAREST, RESTING, "small"),
    (SMALL_BELOW, LARGE_RAREST, RESTING, "large"),
    (SMALL_BELOW, LARGE_RAREST, FALLING, "small"),
    (SMALL_BELOW, LARGE_RAREST, (), "small"),
    (SMALL_BELOW, LARGE_RAREST - 1, RESTING, "small"),
    (LARGE_FROM - 1, LARGE_RAREST, FALLING, "small"),
    (LARGE_FROM - 1, LARGE_RAREST, (), "small"),
    (LARGE_FROM - 1, LARGE_RAREST, RESTING, "large"),
    (LARGE_FROM, LARGE_RAREST, FALLING, "large"),
    (LARGE_FROM, LARGE_RAREST, (), "large"),
    (LARGE_FROM, LARGE_RAREST - 1, RESTING, "small"),
    (20 * LARGE_FROM, LARGE_RAREST - 1, (), "small"),
]
Curve = tuple[tuple[int, float], ...]


def counts_of(*counts: int) -> np.ndarray:
    """Images of each class."""
    return np.array(counts)


def labels_of(*counts: int) -> np.ndarray:
    """So many labels of each class in turn."""
    return np.repeat(np.arange(len(counts)), counts)


# --- size -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "rarest", "curve", "verdict"), SIZES)
def test_size_needs_enough_images_and_enough_of_the_rarest(
    images: int, rarest: int, curve: Curve, verdict: str
) -> None:
    """Below one limit small, from the other on large, between as the curve says; never if rare."""
    found = size.measure_size(counts_of(images - rarest, rarest), curve)

    assert found.verdict == verdict
    assert (found.images, found.rarest_class, found.classes) == (images, rarest, 2)
    assert tuple((p.images, p.error) for p in found.curve) == curve


def test_size_counts_a_class_without_images_as_the_rarest() -> None:
    """A class without images makes any data small, however many the others have."""
    found = size.measure_size(counts_of(5000, 5000, 0))

    assert found.rarest_class == 0
    assert found.verdict == "small"


def test_the_sizes_reason_has_the_numbers() -> None:
    """The reason gives the images, the rarest class, all limits and every point of the curve."""
    text = size.measure_size(counts_of(300, 12), FALLING).reason.text

    for number in (312, 12, SMALL_BELOW, LARGE_FROM, LARGE_RAREST):
        assert str(number) in text
    assert "40.0 % with 200 images, 30.0 % with 400 images, 20.0 % with 800" in text


@pytest.mark.parametrize(
    ("rest", "slope", "limit"),
    [(0.0, 4.0, "data"), (0.2, 0.0, "representation"), (0.2, 1.0, "representation")],
)
def test_the_limit_is_what_more_images_would_not_remove(
    rest: float, slope: float, limit: str
) -> None:
    """Error that falls to nothing is limited by data; error that stays, by the features."""
    curve = tuple((n, rest + slope / np.sqrt(n)) for n in (100, 200, 400))

    found = size.measure_size(counts_of(600, 600), curve)

    assert found.limit == limit
    says = "More images would help the probe most" if limit == "data" else "other features would"
    assert says in found.reason.text


@pytest.mark.parametrize(("share", "limit"), [(0.49, "data"), (0.51, "representation")])
def test_half_of_the_error_is_the_border(share: float, limit: str) -> None:
    """Just below and just above half of the last error as what would remain."""
    curve = tuple((n, share + (1 - share) * np.sqrt(400 / n)) for n in (100, 200, 400))

    assert size.measure_size(counts_of(20, 20), curve).limit == limit


def test_the_curve_speaks_of_all_images_though_it_ends_before() -> None:
    """An error that half of is left at 800 images has more of it left at 4,000: the features' part.

    2 % stay for good; at 800 images 4.6 % are wrong, at 4,000 3.2 %.
    """
    curve = tuple((n, 0.02 + 0.735 / np.sqrt(n)) for n in (200, 400, 800))

    few, many = (size.measure_size(counts_of(n, n), curve) for n in (400, 2000))

    assert (few.limit, few.verdict) == ("data", "small")
    assert (many.limit, many.verdict) == ("representation", "large")


def test_a_size_in_between_without_a_curve_says_so() -> None:
    """Where the curve would decide and there is none, the reason says what was done instead."""
    found = size.measure_size(counts_of(1000, 1000))

    assert found.verdict == "small"
    assert "for a learning curve: counted as small" in found.reason.text


def test_an_error_that_rises_is_not_for_want_of_images() -> None:
    """Where more images made it no better the features limit it."""
    curve = ((100, 0.2), (200, 0.21), (400, 0.22))

    assert size.measure_size(counts_of(20, 20), curve).limit == "representation"


@pytest.mark.parametrize(
    "curve", [(), ((100, 0.5), (200, 0.4)), ((100, 0.1), (200, 0.05), (400, 0.0))]
)
def test_too_little_to_tell_is_no_limit(curve: Curve) -> None:
    """Without a curve, with two points, or without an error at the end nothing is said of it."""
    found = size.measure_size(counts_of(20, 20), curve)

    assert found.limit is None
    assert "error" not in found.reason.text


# --- the parts ------------------------------------------------------------------------------------


def test_images_like_imagenets_appear_near_and_noise_far() -> None:
    """No drift is one and similar, the drift of noise is zero and different."""
    near, far = similarity.appearance(0.0, 0.5), similarity.appearance(0.5, 0.5)

    assert (near.value, near.verdict) == (1.0, "similar")
    assert (far.value, far.verdict) == (0.0, "different")
    assert similarity.appearance(1.0, 0.5).value == -1.0


@pytest.mark.parametrize(("drift", "noise"), [(None, None), (None, 0.5), (0.5, None), (0.5, 0.0)])
def test_without_batchnorm_the_appearance_is_not_measured(
    drift: float | None, noise: float | None
) -> None:
    """Nothing to compare, or noise that does not drift: no value and no vote."""
    found = similarity.appearance(drift, noise)

    assert (found.value, found.verdict) == (None, "uncertain")


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (APPEARANCE[0] + 0.01, "similar"),
        (APPEARANCE[0], "similar"),
        (APPEARANCE[0] - 0.01, "uncertain"),
        (APPEARANCE[1] + 0.01, "uncertain"),
        (APPEARANCE[1], "different"),
        (APPEARANCE[1] - 0.01, "different"),
    ],
)
def test_the_appearances_thresholds_belong_to_their_verdicts(value: float, verdict: str) -> None:
    """Larger is nearer: from the upper threshold on similar, up to the lower one different."""
    found = similarity._part("BatchNorm drift", value, *APPEARANCE, "")

    assert found.verdict == verdict
    assert (found.similar, found.different) == APPEARANCE
    drawn = similarity.appearance(1 - value, 1.0)
    assert (drawn.similar, drawn.different) == APPEARANCE
    assert drawn.name == "BatchNorm drift"
    assert drawn.value == pytest.approx(value)


@pytest.mark.parametrize(
    ("value", "verdict"),
    [
        (AGREEMENT[0] + 0.001, "similar"),
        (AGREEMENT[0], "similar"),
        (AGREEMENT[0] - 0.001, "uncertain"),
        (AGREEMENT[1] + 0.001, "uncertain"),
        (AGREEMENT[1], "different"),
        (AGREEMENT[1] - 0.001, "different"),
    ],
)
def test_the_agreements_thresholds_belong_to_their_verdicts(
    monkeypatch: pytest.MonkeyPatch, value: float, verdict: str
) -> None:
    """Larger is nearer here as well, with thresholds of its own."""
    monkeypatch.setattr(similarity, "_told", lambda *_: value)

    found = similarity.agreement(np.ones((2, 1000), np.float32), np.arange(2), np.arange(2))

    assert (found.value, found.verdict) == (value, verdict)
    assert (found.similar, found.different) == AGREEMENT


@pytest.mark.parametrize(
    ("value", "verdict"),
    [(0.9, "similar"), (1.0, "similar"), (1.5, "uncertain"), (2.0, "different"), (9, "different")],
)
def test_a_part_may_grow_with_the_distance(value: float, verdict: str) -> None:
    """With the threshold of different above that of similar the comparison turns around."""
    assert similarity._part("x", value, 1.0, 2.0, "").verdict == verdict


def classified(labels: np.ndarray, sure: float, seed: int = 0) -> np.ndarray:
    """Softmax of an ImageNet classifier that calls class k of ours 10 k, float32[N, 1000]."""
    rng = np.random.default_rng(seed)
    rows = rng.exponential(size=(len(labels), 1000))
    rows *= (1 - sure) / rows.sum(axis=1, keepdims=True)
    rows[np.arange(len(labels)), 10 * labels] += sure
    return rows.astype(np.float32)


def in_folds(n: int) -> np.ndarray:
    """Five folds without any order."""
    return np.random.default_rng(9).permutation(np.arange(n) % 5)


@pytest.mark.parametrize("classes", [2, 10])
def test_classes_that_imagenet_has_agree_nearly_wholly(classes: int) -> None:
    """Where each class is one ImageNet class the labels are told from these."""
    labels = np.arange(400) % classes

    found = similarity.agreement(classified(labels, 0.99), labels, in_folds(400))

    assert found.value == pytest.approx(1, abs=0.05)
    assert found.verdict == "similar"


@pytest.mark.parametrize("classes", [2, 10])
def test_labels_independent_of_imagenets_classes_do_not_agree(classes: int) -> None:
    """Where the ImageNet class says nothing of the label the agreement is about zero."""
    other = np.random.default_rng(1).integers(0, 10, 2000)
    labels = np.random.default_rng(2).integers(0, classes, 2000)

    found = similarity.agreement(classified(other, 0.9), labels, in_folds(2000))

    assert found.value == pytest.approx(0, abs=0.05)
    assert found.verdict == "different"


def test_the_agreement_is_out_of_fold() -> None:
    """Each image called by an ImageNet class of its own: told where seen, not where held out."""
    called = np.arange(90)
    labels = np.random.default_rng(0).integers(0, 2, 90)
    probabilities = classified(called, 0.99)

    apart = similarity.agreement(probabilities, labels, in_folds(90)).value
    together = similarity.agreement(
        np.tile(probabilities, (2, 1)), np.tile(labels, 2), np.repeat([0, 1], 90)
    ).value

    assert apart is not None
    assert apart < 0.05
    assert together is not None
    assert together > 0.8


def test_the_agreement_equals_a_count_by_hand() -> None:
    """p(y|z) from the other folds and p(z|x) of the image, summed; against the labels' entropy."""
    labels, fold = labels_of(30, 18, 12), in_folds(60)
    probabilities = classified(np.arange(60) % 5, 0.6)
    surprise = 0.0
    for i in range(60):
        rest = fold != fold[i]
        hot = np.eye(3)[labels[rest]]
        prior = (hot.sum(axis=0) + 1) / (rest.sum() + 3)
        joint = probabilities[rest].astype(np.float64).T @ hot + similarity.SMOOTHING * prior
        given = joint / joint.sum(axis=1, keepdims=True)
        surprise -= np.log((probabilities[i] @ given)[labels[i]]) / 60
    entropy = -sum(p * np.log(p) for p in (0.5, 0.3, 0.2))

    found = similarity.agreement(probabilities, labels, fold)

    assert found.value == pytest.approx(1 - surprise / entropy, abs=1e-5)


def test_half_of_the_labels_told_is_half_an_agreement() -> None:
    """One half of the images told for sure and the other not at all is a value of one half."""
    labels = np.arange(2000) % 2
    seen = np.where(np.arange(2000) < 1000, labels, 7)
    order = np.random.default_rng(3).permutation(2000)

    found = similarity.agreement(classified(seen, 0.999)[order], labels[order], in_folds(2000))

    assert found.value == pytest.approx(0.5, abs=0.05)


def test_a_fold_that_holds_everything_or_a_class_breaks_nothing() -> None:
    """With one fold, or a class in one fold only, there is a finite value."""
    labels = labels_of(10, 10, 2)
    probabilities = classified(labels, 0.9)
    alone = in_folds(22)
    alone[labels == 2] = 4

    for fold in (np.zeros(22, np.int64), alone):
        value = similarity.agreement(probabilities, labels, fold).value
        assert value is not None
        assert np.isfinite(value)


def test_without_a_classifier_there_is_no_agreement_and_no_confidence() -> None:
    """Random weights or another head: neither is measured."""
    agreement = similarity.agreement(None, np.arange(4) % 2, np.arange(4))
    confidence = similarity.confidence(None)

    assert (agreement.value, agreement.verdict) == (None, "uncertain")
    assert (confidence.value, confidence.verdict) == (None, "uncertain")


def test_confidence_is_shown_without_a_vote() -> None:
    """The mean of the likeliest class's probability, held against nothing."""
    rows = np.zeros((2, 1000), np.float32)
    rows[0, :2], rows[1, :4] = (0.75, 0.25), 0.25

    found = similarity.confidence(rows)

    assert found.value == pytest.approx(0.5)
    assert (found.similar, found.different, found.verdict) == (None, None, "uncertain")


def answers(both: int, better: int, worse: int, neither: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Right answers (top, lower): both right, only the lower, only the top, none."""
    top = [True] * both + [False] * better + [True] * worse + [False] * neither
    lower = [True] * both + [True] * better + [False] * worse + [False] * neither
    return np.array(top), np.array(lower)


@pytest.mark.parametrize(
    ("better", "worse", "verdict"),
    # Of 100 images, in standard errors of the mean of the differences:
    # 4 and 0 → 2.03; 3 and 0 → 1.75; 9 and 2 → 2.15; 8 and 2 → 1.92.
    [
        *((4, 0, "different"), (3, 0, "uncertain"), (9, 2, "different"), (8, 2, "uncertain")),
        *((0, 4, "uncertain"), (0, 40, "uncertain"), (4, 4, "uncertain")),
    ],
)
def test_depth_needs_a_lead_of_two_standard_errors(better: int, worse: int, verdict: str) -> None:
    """Different just where a lower stage leads by twice the paired error; similar never."""
    top, lower = answers(50, better, worse, neither=50 - better - worse)

    found = similarity.depth(top, {"stage 4": lower})

    gain = (better - worse) / 100
    noise = np.sqrt(((better + worse) / 100 - gain**2) / 99)
    assert found.value == pytest.approx(gain / noise)
    assert found.verdict == verdict
    assert (found.similar, found.different) == (None, LEADS)


@pytest.mark.parametrize(("value", "verdict"), [(1.999, "uncertain"), (2.0, "different")])
def test_a_lead_of_just_two_is_different(value: float, verdict: str) -> None:
    """The threshold itself belongs to different; no value below it says similar."""
    assert similarity._part("stage profile", value, None, LEADS, "").verdict == verdict
    assert similarity._part("stage profile", -100.0, None, LEADS, "").verdict == "uncertain"


@pytest.mark.parametrize("n", range(FEWEST_IMAGES, 60))
def test_one_image_is_never_more_than_noise(n: int) -> None:
    """A lead of one image is at most one standard error, so it decides nothing at any number."""
    top, lower = answers(n - 1, 1, 0)

    found = similarity.depth(top, {"stage 4": lower})

    assert found.value is not None
    assert found.value <= 1
    assert found.verdict == "uncertain"


@pytest.mark.parametrize(("n", "told"), [(FEWEST_IMAGES - 1, False), (FEWEST_IMAGES, True)])
def test_few_images_tell_no_depth(n: int, told: bool) -> None:
    """Below the least number of images even a lead of all of them is not measured."""
    found = similarity.depth(np.zeros(n, bool), {"stage 4": np.ones(n, bool)})

    assert (found.value is not None) == told
    assert (found.verdict == "different") == told


def test_the_best_lower_stage_is_compared() -> None:
    """Of several lower stages the one with the highest accuracy counts and is named."""
    top, good = answers(60, 20, 2, neither=18)
    bad = np.zeros(100, bool)

    found = similarity.depth(top, {"stem": bad, "stage 3": good, "stage 4": bad})

    assert found.verdict == "different"
    assert "(stage 3: +18.0 ± 4.4 points)" in found.text


def test_without_lower_stages_depth_is_not_measured() -> None:
    """Where only the top was probed there is no value and no vote."""
    found = similarity.depth(np.ones(100, bool), {})

    assert (found.value, found.verdict) == (None, "uncertain")


# --- what they say together -----------------------------------------------------------------------

VALUES: dict[Verdict, float] = {"similar": 0.9, "uncertain": 0.51, "different": 0.1}


def voter(verdict: Verdict, name: str = "a", value: float | None = None) -> Part:
    """A part with two thresholds that says so."""
    return similarity._part(name, VALUES[verdict] if value is None else value, 0.6, 0.4, "")


def deeper(value: float | None = 3.0) -> Part:
    """The stage profile: different from two on."""
    return similarity._part("stage profile", value, None, LEADS, "")


@pytest.mark.parametrize(
    ("one", "two", "verdict"),
    [
        ("similar", "similar", "similar"),
        ("similar", "uncertain", "similar"),
        ("uncertain", "similar", "similar"),
        ("similar", "different", "uncertain"),
        ("different", "similar", "uncertain"),
        ("uncertain", "uncertain", "uncertain"),
        ("uncertain", "different", "different"),
        ("different", "uncertain", "different"),
        ("different", "different", "different"),
    ],
)
def test_parts_vote(one: Verdict, two: Verdict, verdict: Verdict) -> None:
    """More votes decide; with as many on either side the verdict is uncertain."""
    found = similarity.similarity([voter(one), voter(two)], 100, {}, None)

    assert found.verdict == verdict
    if verdict != "uncertain":
        assert found.column == verdict


@pytest.mark.parametrize("pair", [("similar", "different"), ("uncertain", "uncertain")])
def test_the_stage_profile_settles_a_tie(pair: tuple[Verdict, Verdict]) -> None:
    """With as many votes on either side a lower stage in the lead makes it different."""
    parts = [voter(v) for v in pair]

    settled = similarity.similarity([*parts, deeper()], 100, {}, None)
    open_still = similarity.similarity([*parts, deeper(1.0)], 100, {}, None)

    assert (settled.verdict, settled.column) == ("different", "different")
    assert open_still.verdict == "uncertain"


def test_the_stage_profile_outvotes_nothing() -> None:
    """Where the others say similar a lower stage in the lead does not change it."""
    found = similarity.similarity([voter("similar"), voter("uncertain"), deeper()], 100, {}, None)

    assert (found.verdict, found.column) == ("similar", "similar")


@pytest.mark.parametrize(
    ("one", "two", "column"),
    [(0.95, 0.3, "similar"), (0.65, 0.1, "different"), (0.51, 0.5, "similar"), (0.49, 0.5, None)],
)
def test_an_uncertain_verdict_leans_by_how_far_each_part_is(
    one: float, two: float, column: Similarity | None
) -> None:
    """The column of the table is the one whose part is farther beyond the middle."""
    found = similarity.similarity(
        [voter("similar", "a", one), voter("similar", "b", two)], 50, {}, 1
    )

    assert found.verdict == "uncertain"
    assert found.column == (column or "different")
    assert f"the parts do not agree); taken as {found.column}" in found.reason.text


@pytest.mark.parametrize(
    ("images", "verdict"),
    [(FEWEST_IMAGES - 1, "uncertain"), (FEWEST_IMAGES, "different"), (1000, "different")],
)
def test_few_images_leave_it_uncertain(images: int, verdict: str) -> None:
    """Too few make any verdict uncertain and say so; the column is where the parts lean."""
    found = similarity.similarity([voter("different"), voter("different")], images, {}, None)

    assert (found.verdict, found.column) == (verdict, "different")
    assert (f"only {images} images" in found.reason.text) == (verdict == "uncertain")


def test_nothing_measured_is_uncertain_and_taken_as_similar() -> None:
    """Random weights, and nothing but the top probed: the table's column is still one."""
    parts = [
        similarity.appearance(None, None),
        similarity.agreement(None, np.arange(2), np.arange(2)),
        similarity.confidence(None),
        similarity.depth(np.ones(50, bool), {}),
    ]

    found = similarity.similarity(parts, 50, {}, None)

    assert (found.verdict, found.column) == ("uncertain", "similar")
    assert "nothing could be measured" in found.reason.text


@given(
    values=st.tuples(*[st.none() | st.floats(-1, 2)] * 2),
    lead=st.none() | st.floats(-5, 5),
    images=st.integers(1, 100),
)
def test_the_column_is_always_one_of_the_tables(
    values: tuple[float | None, float | None], lead: float | None, images: int
) -> None:
    """Similar or different, whatever was measured, and the verdict where there is one."""
    parts = [similarity._part("a", v, 0.6, 0.4, "") for v in values]

    found = similarity.similarity([*parts, deeper(lead)], images, {}, None)

    assert found.column in ("similar", "different")
    if found.verdict != "uncertain":
        assert found.column == found.verdict
    assert images >= FEWEST_IMAGES or found.verdict == "uncertain"


@pytest.mark.parametrize(("diversity", "narrow"), [(NARROW - 0.001, True), (NARROW, False)])
def test_images_that_are_all_alike_are_told(diversity: float, narrow: bool) -> None:
    """Below the limit of diversity the reason warns that narrowness looks like distance."""
    found = similarity.similarity([voter("different")], 100, {"stem": 0.5}, diversity)

    assert ("differ little from each other" in found.reason.text) == narrow
    assert found.diversity == diversity
    assert found.drift == {"stem": 0.5}


def test_the_reason_has_what_each_voter_says() -> None:
    """Name, value and verdict of every part with a vote; what is shown only is not counted."""
    shown = Part("ImageNet confidence", 0.77, None, None, "uncertain", "")
    unknown = similarity.appearance(None, None)

    text = similarity.similarity(
        [voter("similar", "first"), unknown, shown, deeper(0.5)], 100, {}, None
    ).reason.text

    said, _, missing = text.partition(". ")
    assert said == "Similar to ImageNet: first 0.90 says similar, stage profile 0.50 says uncertain"
    assert missing.startswith("BatchNorm drift could not be measured")


@pytest.mark.parametrize("order", [*itertools.permutations(range(3))])
def test_the_order_of_the_parts_does_not_matter(order: tuple[int, ...]) -> None:
    """The verdict is the same in whatever order the parts are given, and all are kept."""
    parts = [voter("similar", "a"), voter("different", "b"), deeper()]

    found = similarity.similarity([parts[i] for i in order], 100, {}, None)

    assert found.verdict == "different"
    assert found.parts == tuple(parts[i] for i in order)


# --- classes that are ImageNet's ------------------------------------------------------------------


KNOWN = [f"thing{i}" for i in range(1000)]


def called(*numbers: int, sure: float = 0.8) -> np.ndarray:
    """Softmax whose likeliest class is given, float32[N, 1000]."""
    rows = np.full((len(numbers), 1000), (1 - sure) / 999, np.float32)
    rows[np.arange(len(numbers)), numbers] = sure
    return rows


def test_a_class_under_another_name_is_found() -> None:
    """A class nearly all of which is called by one ImageNet class is that class; others are not."""
    seen = called(*[985] * 9, 3, *range(100, 110))

    assert similarity.overlap(
        seen, labels_of(10, 10), ("gänseblümchen", "other"), KNOWN, photographs=True
    ) == {"gänseblümchen": 985}


@pytest.mark.parametrize(
    ("own", "other", "found"),
    [
        ([7] * 5 + [1, 2, 3, 4, 5], [20] * 10, True),  # just half, just five
        ([7] * 5 + [1, 2, 3, 4, 5, 6], [20] * 10, False),  # less than half
        ([7] * 4, [20] * 10, False),  # all, but four images prove nothing
        ([7] * 5, [20] * 10, True),
        ([7] * 10, [7] * 9 + [20], True),  # 10 of 19 calls are its own
        ([7] * 10, [7] * 10, False),  # the call says nothing of the class
    ],
)
def test_an_overlap_takes_half_of_the_class_and_of_the_calls(
    own: list[int], other: list[int], found: bool
) -> None:
    """At least half and five of the images, and more than half of all that are called so."""
    labels = labels_of(len(own), len(other))

    overlaps = similarity.overlap(
        called(*own, *other), labels, ("own", "other"), KNOWN, photographs=True
    )

    assert ("own" in overlaps) == found
    assert OVERLAP_IMAGES == 5


def test_two_classes_are_not_one_of_imagenets() -> None:
    """Where ImageNet has one name for two classes neither overlaps with it."""
    seen = called(*[7] * 20)

    assert (
        similarity.overlap(seen, labels_of(10, 10), ("red", "blue"), KNOWN, photographs=True) == {}
    )


def test_a_class_without_images_overlaps_with_nothing() -> None:
    """No image, no call, no overlap."""
    names = ("own", "none")

    assert similarity.overlap(called(*[7] * 10), labels_of(10), names, KNOWN, photographs=True) == {
        "own": 7
    }


@pytest.mark.parametrize(
    ("sure", "name", "photographs", "found"),
    [
        (0.13, "own", True, False),  # noise and blank pictures
        (0.24, "own", False, False),  # drawn shapes, called "face powder"
        (0.61, "own", False, False),  # strokes of a pen, called "corkscrew"
        (0.32, "own", True, True),  # crops of a palace
        (0.72, "own", True, True),  # photographs of trousers, called "jean"
        (0.78, "daisy", True, True),
        (0.47, "daisy", False, True),  # the name says that it is no accident
        (0.31, "bottle", False, False),  # line drawings of bottles
    ],
)
def test_an_imagenet_class_has_to_be_in_the_pictures(
    sure: float, name: str, photographs: bool, found: bool
) -> None:
    """All images called by one class say little; its certainty does, with its name or without."""
    known = [*KNOWN[:7], "daisy" if name != "bottle" else "pop bottle, soda bottle", *KNOWN[8:]]
    seen, labels = called(*[7] * 10, *[20] * 10, sure=sure), labels_of(10, 10)

    overlaps = similarity.overlap(seen, labels, (name, "x"), known, photographs=photographs)

    assert (name in overlaps) == found


def test_a_named_class_may_share_its_name_with_others() -> None:
    """Daisies are daisies though sunflowers are called so as well; sunflowers are none."""
    known = [*KNOWN[:7], "daisy", *KNOWN[8:]]

    seen, labels = called(*[7] * 20), labels_of(10, 10)

    found = similarity.overlap(seen, labels, ("Daisies", "sun"), known, photographs=True)

    assert found == {"Daisies": 7}


@pytest.mark.parametrize(
    ("name", "synonyms", "same"),
    [
        *(("t-shirt", "jersey, T-shirt, tee shirt", True), ("tshirt", "jersey, T-shirt", True)),
        *(("bananas", "banana", True), ("Bottle", "pop bottle, soda bottle", True)),
        *(("sea", "sea lion", False), ("7", "daisy", False), ("glass", "hourglas", False)),
    ],
)
def test_names_are_compared_by_their_nouns(name: str, synonyms: str, same: bool) -> None:
    """Case, hyphens and a plural s do not count, and the last word of a name is what it is."""
    assert similarity._same_name(name, synonyms) == same


# --- symbols --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "classes",
    [
        ("0", "1", "2"),
        ("00", "01", "10"),
        ("a", "b", "c"),
        ("A", "B"),
        ("digit_3", "digit_4"),
        ("sym_12", "sym_13"),
        ("character01", "character02"),
        ("Class 1", "Class 2"),
        ("letter-x", "letter-y"),
        ("left_hand", "right_hand"),
        ("turn right", "straight", "stop"),
        ("anticlockwise", "still"),
        ("turnLeft", "turnRight"),
        ("あ", "い"),
        ("A_upper", "a_lower"),
    ],
)
def test_letters_digits_and_directions_are_symbols(classes: tuple[str, ...]) -> None:
    """Names that a mirror image would change are recognised, and the reason quotes one."""
    found, why = symbols.look_like_symbols(classes)

    assert found
    assert any(f"'{name}'" in why for name in classes)


@pytest.mark.parametrize(
    "classes",
    [
        ("dog", "cat"),
        ("oak", "maple", "birch"),
        ("copyright", "bright"),
        ("classic", "numbering", "signature"),
        ("t-shirt", "x-ray", "jeans"),
        ("type_2b", "b52"),
        ("1234", "5678"),
        *((word, f"{word}s") for word in ("charm", "chart", "letter", "number", "sign", "label")),
    ],
)
def test_ordinary_words_are_no_symbols(classes: tuple[str, ...]) -> None:
    """Names that only contain such letters or words are left alone."""
    found, why = symbols.look_like_symbols(classes)

    assert not found
    assert "do not" in why


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(("a", "dog", "cat"), False), (("a", "b", "cat", "dog"), False), (("a", "b", "dog"), True)],
)
def test_letters_decide_only_in_the_majority(classes: tuple[str, ...], expected: bool) -> None:
    """A few one-letter names among words are no alphabet; more than half are."""
    found, _ = symbols.look_like_symbols(classes)

    assert found is expected


def test_the_reason_quotes_the_name_that_decided() -> None:
    """A direction decides alone, so it is the one quoted."""
    found, why = symbols.look_like_symbols(("a", "turn left", "dog", "cat"))

    assert found
    assert "'turn left'" in why


@pytest.mark.parametrize("lacking", ["BatchNorm drift", "label agreement"])
def test_what_could_not_be_measured_is_said(lacking: str) -> None:
    """A ViT has no BatchNorm, own weights no ImageNet classes: the reason names what is missing."""
    whole = [
        Part("BatchNorm drift", 0.7, 0.6, 0.4, "similar", ""),
        Part("label agreement", 0.3, 0.22, 0.17, "similar", ""),
    ]
    less = [replace(p, value=None, verdict="uncertain") if p.name == lacking else p for p in whole]

    said = similarity.similarity(less, 100, {}, None)

    assert f"{lacking} could not be measured with this backbone" in said.reason.text
    assert said.verdict == "similar"
    assert "could not be measured" not in similarity.similarity(whole, 100, {}, None).reason.text
