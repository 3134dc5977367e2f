"""Promises of doubt: what held-out images vouch for, or a refusal with the reason."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from examples import CLASSES, DOUBT, FACTS
from helpers import small_run

from finetune.backbones import inference
from finetune.deploy import doubt, predictor
from finetune.heads import selective, unknown
from finetune.heads.selective import HeldOut
from finetune.records.errors import RunError, UsageError
from finetune.records.events import Silent
from finetune.records.run import RunFacts
from finetune.records.unsure import Doubt, DoubtOptions, UnknownFacts
from finetune.runs import run_folder, run_tensors


@pytest.fixture(scope="module")
def facts() -> RunFacts:
    """A run that knows 200 held-out images of two classes, and 150 distances."""
    rng = np.random.default_rng(0)
    sure = rng.uniform(0.5, 1, 200)
    right = rng.random(200) < sure
    likely = np.stack([sure, 1 - sure], axis=1)
    held = HeldOut(likely=likely, labels=np.where(right, 0, 1))
    return replace(
        FACTS,
        doubt=Doubt(
            images=200,
            source="200 validation images",
            confidence=selective.confidence_rows(held),
            sets=selective.set_rows(held),
            unknown=UnknownFacts(
                start=0, stop=4, images=150, rows=unknown.rows(rng.uniform(0, 0.5, 150))
            ),
        ),
    )


def test_the_target_is_met_at_the_lowest_threshold_that_does(facts: RunFacts) -> None:
    """The row before it answers more and misses the target; the reason tells its figures."""
    policy = doubt.resolve(facts, DoubtOptions(target_error=0.15))

    rows = facts.doubt.confidence if facts.doubt else ()
    number = [r.min_confidence for r in rows].index(policy.min_confidence)
    assert rows[number].bound <= 0.15 < rows[number - 1].bound
    assert f"{rows[number].error:.1%} of them wrong" in policy.reasons[0]


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (DoubtOptions(target_error=0.0001), "no threshold keeps it on the 200 held-out images"),
        (DoubtOptions(coverage=0.999), "200 held-out images vouch for 0.995 at most"),
        (DoubtOptions(unknown=0.001), "150 held-out images vouch for 0.0067 at least"),
        (DoubtOptions(min_confidence=0.5, target_error=0.1), "--min-confidence and"),
    ],
)
def test_what_images_cannot_vouch_for_is_refused(
    facts: RunFacts, asked: DoubtOptions, told: str
) -> None:
    """The message has the number that they can vouch for."""
    with pytest.raises(UsageError) as caught:
        doubt.resolve(facts, asked)

    assert told in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "asked", [DoubtOptions(target_error=0.1), DoubtOptions(coverage=0.9), DoubtOptions(unknown=0.1)]
)
def test_runs_of_older_versions_say_what_they_lack(asked: DoubtOptions) -> None:
    """They have no such figures; answers without, or with a threshold of the user's own, work."""
    old = replace(FACTS, doubt=None)

    with pytest.raises(UsageError, match="an older version made it"):
        doubt.resolve(old, asked)
    for possible in (DoubtOptions(), DoubtOptions(min_confidence=0.9), DoubtOptions(unknown=0)):
        policy = doubt.resolve(old, possible)
        assert policy.prediction("x", np.array([0.95, 0.05]), None, 2).standing == "answered"


def test_a_run_that_cannot_tell_unknown_pictures_says_why() -> None:
    """Its own reason is in the message."""
    kept = replace(FACTS, doubt=replace(DOUBT, unknown=None, why_not="nothing was held out"))

    with pytest.raises(UsageError, match="nothing was held out"):
        doubt.resolve(kept, DoubtOptions(unknown=0.1))
    assert doubt.resolve(kept).least_known == 0


@pytest.mark.parametrize(
    ("likely", "distance", "standing"),
    [
        ([0.9, 0.1], 0.2, "answered"),
        ([0.6, 0.4], 0.2, "unsure"),
        ([0.6, 0.4], 1.0, "unknown"),
        ([0.9, 0.1], 1.0, "unknown"),
        ([0.9, 0.1], None, "answered"),
    ],
)
def test_an_answer_keeps_its_label_whatever_its_standing(
    facts: RunFacts, likely: list[float], distance: float | None, standing: str
) -> None:
    """Label, probability and the likeliest classes are as without any doubt."""
    policy = doubt.resolve(facts, DoubtOptions(min_confidence=0.8))

    found = policy.prediction("x", np.array(likely), distance, 2)

    assert found.standing == standing
    assert (found.label, found.probability) == (CLASSES[0], likely[0])
    assert [c.label for c in found.top] == list(CLASSES)
    assert found.set is None


def test_by_default_one_known_picture_in_a_hundred_may_be_marked(facts: RunFacts) -> None:
    """Where fewer than 99 images were held out, what is farther than all of them; 0 marks none."""
    assert doubt.resolve(facts).least_known == doubt.UNKNOWN == 0.01
    assert doubt.resolve(facts, DoubtOptions(unknown=0)).least_known == 0
    assert facts.doubt is not None
    few = UnknownFacts(start=0, stop=4, images=9, rows=unknown.rows(np.linspace(0, 1, 9)))
    least = doubt.resolve(replace(facts, doubt=replace(facts.doubt, unknown=few)))
    assert least.least_known == pytest.approx(0.1)
    assert least.prediction("x", np.array([1.0, 0.0]), 1.01, 1).standing == "unknown"
    assert least.prediction("x", np.array([1.0, 0.0]), 0.99, 1).standing == "answered"


def test_the_set_has_every_label_that_is_probable_enough(facts: RunFacts) -> None:
    """The likeliest first; never none, and more of them for a larger coverage."""
    policy = replace(doubt.resolve(facts, DoubtOptions(coverage=0.9)), min_probability=0.3)

    assert policy.prediction("x", np.array([0.4, 0.6]), None, 1).set == CLASSES[::-1]
    assert policy.prediction("x", np.array([0.2, 0.8]), None, 1).set == CLASSES[1:]
    sure = replace(policy, min_probability=0.9)
    assert sure.prediction("x", np.array([0.45, 0.55]), None, 1).set == CLASSES[1:]
    least = [
        doubt.resolve(facts, DoubtOptions(coverage=c)).min_probability or 0.0
        for c in (0.8, 0.9, 0.99)
    ]
    assert least == sorted(least, reverse=True)


def test_what_is_measured_is_what_single_answers_are(facts: RunFacts) -> None:
    """Shares, accuracy, coverage and size of sets are those of the answers one by one."""
    rng = np.random.default_rng(3)
    likely = rng.dirichlet([1, 1], 60)
    labels, far = rng.integers(0, 2, 60), rng.uniform(0, 0.6, 60)
    policy = doubt.resolve(facts, DoubtOptions(min_confidence=0.8, coverage=0.9, unknown=0.1))

    found = doubt.measure(policy, [likely[:25], likely[25:]], far, labels, None)

    one = [policy.prediction("", p, d, 1) for p, d in zip(likely, far.tolist(), strict=True)]
    truth = [CLASSES[i] for i in labels]
    for name in ("answered", "unsure", "unknown"):
        assert getattr(found, name) == pytest.approx(np.mean([a.standing == name for a in one]))
        assert getattr(found, name) > 0
    told = [a.label == t for a, t in zip(one, truth, strict=True) if a.standing == "answered"]
    assert found.accuracy == pytest.approx(np.mean(told))
    sets = [(a.set or (), t) for a, t in zip(one, truth, strict=True)]
    assert found.covered == pytest.approx(np.mean([t in s for s, t in sets]))
    assert found.set_size == pytest.approx(np.mean([len(s) for s, _ in sets]))


def test_nothing_answered_has_no_accuracy(facts: RunFacts) -> None:
    """A threshold that no image reaches leaves the rate open instead of inventing one."""
    policy = doubt.resolve(facts, DoubtOptions(min_confidence=1.0, unknown=0))

    found = doubt.measure(policy, [np.array([[0.9, 0.1]])], None, np.array([0]), None)

    assert (found.answered, found.unsure, found.accuracy, found.interval) == (0, 1, None, None)


@pytest.mark.parametrize("network", [True, False], ids=["openvino", "torch"])
def test_distances_are_those_of_the_features_either_way(tmp_path: Path, *, network: bool) -> None:
    """From the inference file, in the same pass as the logits, as with torch; both unchanged."""
    run = small_run(tmp_path / "run", network=network)
    facts = run_folder.load_facts(run)
    pixels = inference.noise(facts.preprocess.side_px, 3)
    model = predictor.of_run(run, facts, device="cpu", images=3, listener=Silent())

    logits, far = model.answers(pixels)

    detector = predictor.detector_of(run, facts)
    assert detector is not None
    features = predictor.features_of_run(run, facts, "cpu", Silent())(pixels)
    assert far == pytest.approx(detector.distances(features), abs=1e-4)
    assert np.array_equal(logits, model.logits(pixels))
    assert logits.shape == (3, len(CLASSES))


def test_a_run_whose_features_are_gone_is_refused(tmp_path: Path) -> None:
    """`run.json` promises features of training images that `model.safetensors` has not."""
    run = small_run(tmp_path / "run")
    facts = run_folder.load_facts(run)
    assert facts.doubt is not None
    assert facts.doubt.unknown is not None
    wide = replace(facts.doubt.unknown, stop=85)

    with pytest.raises(RunError, match="no features of training images"):
        run_tensors.load_reference(run, replace(facts, doubt=replace(facts.doubt, unknown=wide)))
