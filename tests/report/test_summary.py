"""Promises of the summary: a result in a few sentences, the same wherever it is shown."""

from __future__ import annotations

from dataclasses import replace

from examples import FINDING, FLOOR, METRICS, RECOMMENDATION, RESULT

from finetune.records.analysis import Reason
from finetune.records.metrics import ClassMetrics
from finetune.records.robustness import Fall
from finetune.report import summary

CHOSEN = Reason("evidence", "Chosen: deep fine-tuning, because it wins")
TRIAL = Reason("trial", "In a short trial it won by 9 points (17 epochs on 96 images, 93 s)")
UNTRIED = Reason("trial", "No trial: it does not fit (about 11 min: 300 steps (two timed))")


def test_accuracy_comes_with_its_interval_and_the_simplest_answer() -> None:
    """On how many images of what, how sure, and what the commonest class would have."""
    assert summary.accuracy(METRICS, "test images") == (
        "accuracy on 8 test images (95 % interval 52.9% to 97.8%; commonest class 62.5%)"
    )


def test_a_choice_is_told_with_its_trial() -> None:
    """The last reason, then what the trials have shown; a proof on held-out images instead."""
    advice = replace(RECOMMENDATION, reasons=(*RECOMMENDATION.reasons, TRIAL, CHOSEN))
    proved = replace(RESULT, recommendation=advice)

    told = [CHOSEN.text, "In a short trial it won by 9 points"]
    assert summary.choice(advice) == told
    assert summary.choice(replace(advice, reasons=(UNTRIED, CHOSEN))) == [
        CHOSEN.text,
        "No trial: it does not fit (about 11 min)",
    ]
    assert summary.reasons(replace(proved, floor=None)) == told
    assert summary.reasons(proved) == [CHOSEN.text, summary.against_probe(FLOOR)]


def test_the_probe_beside_the_tuned_model() -> None:
    """Both accuracies, on how many images, and why the probe is kept where it is ahead or near."""
    behind = replace(FLOOR, kept="probe", tuned_accuracy=0.7)
    near = replace(FLOOR, kept="probe", tuned_accuracy=0.825)

    assert summary.against_probe(FLOOR) == (
        "Before the test: 90.0% on 40 held-out images, the best probe 80.0%"
    )
    assert summary.against_probe(behind) == (
        "The best probe is kept: 80.0% on 40 held-out images, the tuned model 70.0%"
    )
    assert summary.against_probe(near).endswith("the tuned model 82.5%, too little to be sure")


def test_mistakes_in_a_sentence() -> None:
    """The most confused pair, and the classes of which the fewest are recognized."""
    right = ClassMetrics("ash", 5, 1.0, 1.0, 1.0)
    none = replace(METRICS, per_class=(right, replace(right, name="oak")), confusion=((5, 0),) * 1)

    assert summary.most_confused(METRICS) == "'ash' taken for 'bäy & co' most often (1 of 5)"
    assert summary.weakest(METRICS) == "least recognized: 'bäy & co' 0% of 3, 'ash' 80% of 5"
    assert summary.most_confused(none) is None
    assert summary.weakest(none) is None


def test_the_worst_finding_comes_first() -> None:
    """Errors, then warnings, then notes; equal ones as they were found."""
    error, warning = replace(FINDING, severity="error"), replace(FINDING, severity="warning")
    other = replace(FINDING, code="FT999")

    assert summary.worst_first([FINDING, warning, other, error]) == [error, warning, FINDING, other]


def test_where_a_model_is_fragile_in_a_sentence() -> None:
    """The three kinds that cost most at medium strength, less what may be chance."""
    fall = Fall(kind="x", strength=2, what="x", images=8, accuracy=0.5, lost=0.01, error=0.02)
    falls = [
        replace(fall, kind=k, what=k, lost=points)
        for k, points in zip("abcd", (0.1, 0.3, 0.2, 0.4), strict=True)
    ]

    assert summary.fragile(()) is None
    assert summary.fragile([fall]) == "no medium change costs more than its standard error"
    assert summary.fragile([*falls, replace(fall, strength=3, lost=0.9)]) == (
        "loses most by 40.0 ± 2.0 points (d), 30.0 ± 2.0 points (b), 20.0 ± 2.0 points (c)"
    )
