"""Promises of `finetune.metrics.verdict`: what counts as better than always answering one class."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from finetune.metrics import classification, verdict
from finetune.records.metrics import Metrics, Standing

ESTIMATE = "images by leave-one-out cross-validation"


def of(matrix: list[list[int]]) -> Metrics:
    """Metrics of a confusion matrix."""
    counts = np.array(matrix)
    true, answer = np.nonzero(counts)
    labels, called = (np.repeat(side, counts[true, answer]) for side in (true, answer))
    rows = np.eye(len(matrix))[called] * 0.9 + 0.1 / len(matrix)
    return classification.measure(rows, labels, ["ash", "bay", "elm"][: len(matrix)])


def standing(matrix: list[list[int]], estimate: list[list[int]] | None = None) -> Standing:
    more = None if estimate is None else (of(estimate), f"{np.sum(estimate)} {ESTIMATE}")
    return verdict.against_commonest(of(matrix), f"{np.sum(matrix)} test images", more)


def codes(found: Standing) -> list[str]:
    return [f.code for f in found.findings]


@given(n=st.integers(1, 300), share=st.floats(0, 1))
def test_the_tail_is_that_of_the_exact_test(n: int, share: float) -> None:
    """As many heads or more of a fair coin, as scipy has it."""
    k = round(share * n)

    expected = binomtest(k, n, alternative="greater").pvalue
    assert verdict._tail(k, n) == pytest.approx(expected, abs=1e-9)


def test_a_good_model_is_better() -> None:
    """45 of 50 right where the commonest class has 25: said with its figures, and no finding."""
    found = standing([[23, 2], [3, 22]])

    assert found.better is True
    assert found.findings == ()
    assert "45 of 50 right where that has 25, on 50 test images" in found.text


@pytest.mark.parametrize(
    ("matrix", "words"),
    [
        ([[50, 0], [50, 0]], "no better than always answering 'ash'"),
        ([[25, 25], [25, 25]], "no better than always answering 'ash'"),
        ([[26, 24], [22, 28]], "not distinguishable from always answering 'ash'"),
        ([[90, 0], [10, 0]], "no better than"),
        ([[0, 90], [0, 10]], "no better than"),
        ([[10, 12, 11], [11, 12, 10], [12, 10, 11]], "no better than"),
    ],
)
def test_no_better_than_the_commonest_class_is_a_warning(
    matrix: list[list[int]], words: str
) -> None:
    """One answer for all, answers by chance, or a lead that chance gives: FT210."""
    found = standing(matrix)

    assert found.better is False
    assert codes(found) == ["FT210"]
    assert found.findings[0].severity == "warning"
    assert found.findings[0].title == found.text
    assert words in found.text


def test_rarer_classes_found_are_a_note() -> None:
    """No more answers right than 90 of 100, but most of the rare class is found: FT211."""
    found = standing([[81, 9], [2, 8]])

    assert found.better is False
    assert codes(found) == ["FT211"]
    assert found.findings[0].severity == "note"
    assert "balanced accuracy 85.0%, where one answer for all has 50.0%" in found.text


def test_few_test_images_are_not_judged_alone() -> None:
    """Ten right of ten cannot show a lead; with what cross-validation has seen they do."""
    alone, both = standing([[5, 0], [0, 5]]), standing([[5, 0], [0, 5]], [[20, 1], [2, 19]])

    assert alone.better is False
    assert "not distinguishable" in alone.text
    assert both.better is True
    assert "10 test images (few by themselves) and 42 images by leave-one-out" in both.text


def test_a_test_that_is_large_enough_decides_alone() -> None:
    """An estimate that was too good does not outvote a hundred test images at chance."""
    assert standing([[25, 25], [25, 25]], [[400, 0], [0, 400]]).better is False


def test_images_of_one_class_are_no_comparison() -> None:
    """Where only one class was looked at nothing is said to be better or worse."""
    found = standing([[8, 2], [0, 0]])

    assert found.better is None
    assert found.findings == ()
    assert "all 10 test images are of 'ash'" in found.text


def test_answers_by_chance_are_hardly_ever_better() -> None:
    """Of forty models that guess, at most three pass for better than the commonest class."""
    rng = np.random.default_rng(0)
    passed = 0
    for _ in range(40):
        counts = np.zeros((2, 2), int)
        np.add.at(counts, (rng.integers(0, 2, 60), rng.integers(0, 2, 60)), 1)
        passed += standing(counts.tolist()).better is True

    assert passed <= 3


def test_many_images_are_judged_soon() -> None:
    """Of a hundred thousand answers by chance, some are shuffled; the verdict is the same."""
    found = standing([[30_000, 30_000], [20_000, 20_000]])

    assert codes(found) == ["FT210"]
